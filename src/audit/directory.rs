//! The trail's directory: its lock, and the names of its files. Nobody else may write into it, and no file
//! in it is opened through a link.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use uuid::Uuid;

use super::readers::Readers;
use crate::process::files::{
    WritableByOthers, keep_writers_out_of_folder, open_own, own, read_own,
};

/// The directory of a trail, locked for this process.
#[derive(Debug)]
pub(super) struct TrailDirectory {
    path: PathBuf,
    /// The kernel releases the lock when the process ends, even if it is killed.
    lock: File,
    /// What this process has written into the file of the lock.
    token: String,
    readers: Readers,
    /// Whether a path names an open file. Tests have a file system on which no path seems to.
    pub(super) is_same: fn(&Path, &File) -> bool,
}

impl TrailDirectory {
    /// Creates the directory if it does not exist, and locks it. New files can be read by `readers`.
    pub(super) fn lock(path: &Path, readers: Readers) -> Result<Self, TrailDirectoryError> {
        let at = |source| TrailDirectoryError::Unusable { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at)?;
        keep_writers_out_of_folder(path)?;
        let lock = own().create(true).open(path.join(LOCK)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(TrailDirectoryError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let token = format!("{}\n", Uuid::new_v4());
        // On a full disk there may be no room for it. Then the number of the file has to do.
        let written = lock.set_len(0).and_then(|()| lock.write_all_at(token.as_bytes(), 0));
        let token = written.map_or_else(|_| String::new(), |()| token);
        Ok(Self { path: path.to_owned(), lock, token, readers, is_same: same_file })
    }

    /// Who may read the files.
    pub(super) fn readers(&self) -> Readers {
        self.readers
    }

    /// Lets the readers read what is there, too.
    pub(super) fn admit_readers(&self) -> Result<(), TrailDirectoryError> {
        let failed = |source| TrailDirectoryError::Group { path: self.path.clone(), source };
        self.readers.admit_to(&self.path).map_err(failed)
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates and locks the directory again if it was removed.
    pub(super) fn restore(&mut self) -> io::Result<()> {
        if !self.is_locked() {
            let again = Self::lock(&self.path, self.readers).map_err(io::Error::other)?;
            *self = Self { is_same: self.is_same, ..again };
            self.admit_readers().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Whether the lock is the one in the directory. A file system may give its file another number at each
    /// look; then what is in the file tells.
    fn is_locked(&self) -> bool {
        let path = self.path.join(LOCK);
        (self.is_same)(&path, &self.lock)
            || (!self.token.is_empty()
                && read_own(&path).is_ok_and(|text| text == self.token.as_bytes()))
    }

    /// A path for a file that was found under the name of the current file.
    pub(super) fn foreign_path(&self) -> PathBuf {
        self.path.join(format!("foreign-{}.bin", Timestamp::now().strftime(MICROS)))
    }

    /// Creates an empty segment whose first line will be `first_seq`.
    pub(super) fn create_segment(&self, first_seq: u64) -> io::Result<TrailSegment> {
        let begun = Timestamp::now();
        let name = format!("{PREFIX}{first_seq:020}-{}{PLAIN}", begun.strftime("%Y%m%dT%H%M%SZ"));
        let path = self.path.join(name);
        let file = own().create_new(true).open(&path)?;
        if let Err(error) = self.readers.admit(&file).and_then(|()| self.sync()) {
            // A file without a line would stand in the way of the next attempt.
            fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(TrailSegment { path, first_seq, begun, compressed: false })
    }

    /// Makes the names of the files durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Creates a file for a damaged end of the trail, and returns it with its name.
    pub(super) fn create_damaged(&self, first_seq: u64) -> io::Result<(String, File)> {
        let name = format!("damaged-{first_seq:020}-{}.bin", Timestamp::now().strftime(MICROS));
        let file = own().create_new(true).open(self.path.join(&name))?;
        self.readers.admit(&file)?;
        Ok((name, file))
    }
}

/// One file of the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailSegment {
    /// The path of the file.
    pub path: PathBuf,
    /// The `seq` of its first line, from its name.
    pub first_seq: u64,
    /// When it was created, to the second, from its name. A name can be changed: nothing old or new is told by it.
    pub begun: Timestamp,
    /// Whether it is compressed (zstd).
    pub compressed: bool,
}

impl TrailSegment {
    /// The files of a trail, in the order of writing.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in directory.read_dir()? {
            segments.extend(Self::from_path(entry?.path()));
        }
        // During its compression a file exists twice; the plain one is the original.
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

    /// The compressed form of the same file.
    pub(super) fn compressed(&self) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(".zst");
        Self { path: path.into(), compressed: true, ..self.clone() }
    }

    /// Opens the file for appending.
    pub(super) fn append(&self) -> io::Result<File> {
        let file = own().append(true).open(&self.path)?;
        // A pipe would never be read to its end.
        open_own(&self.path)?;
        Ok(file)
    }
}

/// Whether a file of the trail has the same number at each look; `None` if there is no file. Nothing is written.
pub fn has_steady_numbers(directory: &Path) -> Option<bool> {
    let file = TrailSegment::list(directory).ok()?.pop()?;
    let open = open_own(&file.path).ok()?;
    Some((0..3).all(|_| same_file(&file.path, &open)))
}

/// Whether a path still names an open file.
fn same_file(path: &Path, open: &File) -> bool {
    match (path.metadata(), open.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        _ => false,
    }
}

/// UTC with microseconds, in the names of files that are set aside.
const MICROS: &str = "%Y%m%dT%H%M%S.%6fZ";
const LOCK: &str = ".lock";
const PREFIX: &str = "audit-";
const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.zst";

/// Why a directory cannot hold a trail.
#[derive(Debug, thiserror::Error)]
pub enum TrailDirectoryError {
    /// The directory cannot be created or written.
    #[error("the audit directory {} cannot be used", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Others may put files into the directory, or take some away.
    #[error("the audit directory {0}")]
    Exposed(#[from] WritableByOthers),
    /// The group cannot be let in.
    #[error("the group of `audit.group` cannot be given the audit directory {}", path.display())]
    Group {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Another gateway has locked the directory.
    #[error(
        "the audit directory {} is in use by another gateway; give each its own [audit].directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}
