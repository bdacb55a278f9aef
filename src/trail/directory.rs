//! The trail's directory: its lock, its files and their names.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A trail's directory that this process alone writes to.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held, never read: the kernel gives the lock back when the process ends, however it ends.
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let at = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        let lock = private().create(true).open(path.join(LOCK)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(at(source)),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new, empty segment whose first line will have that number.
    pub(super) fn create_segment(&self, first_seq: u64) -> io::Result<Segment> {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let name = format!("{PREFIX}{first_seq:020}-{}{SUFFIX}", now.strftime("%Y%m%dT%H%M%SZ"));
        let path = self.path.join(name);
        let file = private().create_new(true).append(true).open(&path)?;
        // The name must survive a power cut as well as what is behind it.
        File::open(&self.path)?.sync_all()?;
        drop(file);
        Ok(Segment { path, first_seq })
    }

    /// A file for what was found damaged.
    pub(super) fn create_damaged(&self, first_seq: u64) -> io::Result<(String, File)> {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let name = format!("damaged-{first_seq:020}-{}.bin", now.strftime("%Y%m%dT%H%M%S.%6fZ"));
        let file = private().create_new(true).open(self.path.join(&name))?;
        Ok((name, file))
    }
}

/// One file of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The number of its first line, as its name says.
    pub first_seq: u64,
}

impl Segment {
    /// The trail's files, in the order they were written.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in directory.read_dir()? {
            let path = entry?.path();
            let first_seq = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split('-').next())
                .and_then(|digits| digits.parse().ok());
            if let Some(first_seq) = first_seq {
                segments.push(Self { path, first_seq });
            }
        }
        segments.sort_by(|a, b| (a.first_seq, &a.path).cmp(&(b.first_seq, &b.path)));
        Ok(segments)
    }

    /// Opens it to go on at its end.
    pub(super) fn append(&self) -> io::Result<File> {
        private().append(true).open(&self.path)
    }
}

/// Files of the trail are for the gateway's own user.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

const LOCK: &str = ".lock";
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// Why a directory cannot hold a trail.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made, or not written to.
    #[error("the audit directory {} cannot be used", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another gateway writes to it.
    #[error(
        "the audit directory {} is in use by another gateway; give each its own [audit].directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}
