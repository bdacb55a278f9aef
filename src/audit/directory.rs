//! The trail's directory: its lock, its files and their names.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A trail's directory that this process alone writes to.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The kernel gives the lock back when the process ends, however it ends.
    lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let at = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        let lock = private().create(true).open(path.join(LOCK)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(at(source)),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the directory and its lock back, if someone took them away.
    pub(super) fn restore(&mut self) -> io::Result<()> {
        if !same_file(&self.path.join(LOCK), &self.lock) {
            *self = Self::lock(&self.path).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// A name for something that was found where the trail's own file should be.
    pub(super) fn name_for_foreign(&self) -> PathBuf {
        let now = jiff::Timestamp::now();
        self.path.join(format!("foreign-{}.bin", now.strftime("%Y%m%dT%H%M%S.%6fZ")))
    }

    /// A new, empty segment whose first line will have that number.
    pub(super) fn create_segment(&self, first_seq: u64) -> io::Result<Segment> {
        let begun = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let name = format!("{PREFIX}{first_seq:020}-{}{PLAIN}", begun.strftime("%Y%m%dT%H%M%SZ"));
        let path = self.path.join(name);
        drop(private().create_new(true).open(&path)?);
        self.sync()?;
        Ok(Segment { path, first_seq, begun, compressed: false })
    }

    /// Returns when the names of the files would survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
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
    /// When it was begun, to the second, as its name says.
    pub begun: jiff::Timestamp,
    /// Whether it is compressed (zstd).
    pub compressed: bool,
}

impl Segment {
    /// The trail's files, in the order they were written.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in directory.read_dir()? {
            segments.extend(Self::from_path(entry?.path()));
        }
        // While a file is being compressed it is there twice; the plain one is the original.
        segments.sort_by(|a, b| {
            (a.first_seq, a.begun, a.compressed).cmp(&(b.first_seq, b.begun, b.compressed))
        });
        segments.dedup_by(|later, earlier| {
            later.first_seq == earlier.first_seq && later.begun == earlier.begun
        });
        Ok(segments)
    }

    fn from_path(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        let (name, compressed) = match name.strip_suffix(COMPRESSED) {
            Some(name) => (name, true),
            None => (name.strip_suffix(PLAIN)?, false),
        };
        let (first_seq, begun) = name.split_once('-')?;
        Some(Self {
            first_seq: first_seq.parse().ok()?,
            begun: begun.parse().ok()?,
            compressed,
            path,
        })
    }

    /// The same file once it is compressed.
    pub(super) fn compressed(&self) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(".zst");
        Self { path: path.into(), compressed: true, ..self.clone() }
    }

    /// Opens it to go on at its end.
    pub(super) fn append(&self) -> io::Result<File> {
        private().append(true).open(&self.path)
    }
}

/// Files of the trail are for the gateway's own user.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Whether a path still leads to an open file.
pub(super) fn same_file(path: &Path, open: &File) -> bool {
    match (path.metadata(), open.metadata()) {
        (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
        _ => false,
    }
}

const LOCK: &str = ".lock";
const PREFIX: &str = "audit-";
const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.zst";

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
