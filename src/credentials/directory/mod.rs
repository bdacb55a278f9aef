//! Source `directory`: a folder with one file a value.
//!
//! It covers secrets mounted by Kubernetes and its CSI driver, systemd credentials, and files that
//! a vault's agent renders. All seven are read from one generation of the folder: through the
//! target of `..data` where there is one (Kubernetes swaps that link as a whole), and otherwise
//! once nobody has touched the files for a quiet moment and nobody is known to be writing one, so
//! that neither half a value nor a mix of two rotations gets out.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use super::{
    CredentialSet, SetVersion, ValueName,
    set_builder::{SetBuilder, ValueProblems, ValueTrouble},
    settings::Identifiers,
    write_tracker::WriteTracker,
};
use crate::{
    domain::Span,
    secret::{SecretBuffer, SecretText},
};

/// How Kubernetes names the link to the present generation.
const GENERATION_LINK: &str = "..data";
/// What systemd sets for a unit with credentials; in a path, it stands for that folder.
const SYSTEMD_VARIABLE: &str = "$CREDENTIALS_DIRECTORY";
/// A folder is opened to find files in it; on Linux that needs no permission to list them.
#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::RDONLY;
/// How often the link may be swapped away under a read before it is an error.
const SWAPS_PER_READ: usize = 5;
/// How often files may change under a read before it is an error: two seconds of writing without
/// a pause.
const SETTLE_ROUNDS: usize = 20;

/// Reads the seven from a folder.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    quiet: Duration,
    writers: WriteTracker,
}

impl Directory {
    pub(super) fn new(path: &Path, quiet: Duration) -> Self {
        let systemd = env::var_os("CREDENTIALS_DIRECTORY");
        let writers = WriteTracker::default();
        Self { path: expand(path, systemd.as_deref()), quiet, writers }
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that somebody is writing, as far as a watch tells.
    pub(super) fn writers(&self) -> &WriteTracker {
        &self.writers
    }

    /// Reads all seven. Waits for a quiet moment, so it must not run where others wait.
    pub(super) fn read(&self, fixed: &Identifiers) -> Result<CredentialSet, DirectoryError> {
        let (version, gathered) = self.gather()?;
        gathered
            .into_set(version, fixed)
            .map_err(|problems| DirectoryError::Values { path: self.path.clone(), problems })
    }

    /// Reads what is there, whole or not.
    pub(super) fn gather(&self) -> Result<(SetVersion, SetBuilder), DirectoryError> {
        let mut last = None;
        for _ in 0..SETTLE_ROUNDS {
            let generation = self.read_once()?;
            let settled = generation.is_atomic
                || generation.stamps.quiet_for(Timestamp::now(), self.quiet)
                // A clock that jumped may never call them old: unchanged twice will do.
                || last.as_ref() == Some(&generation.stamps);
            if settled {
                return Ok((generation.version, generation.gathered));
            }
            last = Some(generation.stamps);
            thread::sleep(self.quiet);
        }
        Err(DirectoryError::Restless { path: self.path.clone(), quiet: Span(self.quiet) })
    }

    fn read_once(&self) -> Result<Generation, DirectoryError> {
        let open_error = |errno: Errno| match errno {
            Errno::NOENT => DirectoryError::Absent { path: self.path.clone() },
            _ => DirectoryError::Open { path: self.path.clone(), source: errno.into() },
        };
        let root = open_folder(fs::CWD, &self.path).map_err(open_error)?;
        for _ in 0..SWAPS_PER_READ {
            let Some(target) = generation_link(root.as_fd()).map_err(open_error)? else {
                return self.read_files(root.as_fd(), None);
            };
            match open_folder(root.as_fd(), &target) {
                Ok(folder) => return self.read_files(folder.as_fd(), Some(&target)),
                // Swapped and removed between the two looks.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(open_error(errno)),
            }
        }
        Err(DirectoryError::Dangling { path: self.path.join(GENERATION_LINK) })
    }

    fn read_files(
        &self,
        folder: BorrowedFd<'_>,
        generation: Option<&Path>,
    ) -> Result<Generation, DirectoryError> {
        let mut gathered = SetBuilder::default();
        let mut stamps = Stamps::default();
        for name in ValueName::ALL {
            match read_value(folder, name.key()) {
                Ok((value, stamp)) => {
                    gathered.offer(name, &value);
                    stamps.0.push((name, stamp));
                }
                Err(ReadError::Absent) => {}
                Err(ReadError::Trouble(trouble)) => gathered.refuse(name, trouble),
                Err(ReadError::Io(source)) => {
                    return Err(DirectoryError::Read { path: self.path.join(name.key()), source });
                }
            }
        }
        let version = match generation.and_then(Path::file_name) {
            Some(target) => target.to_string_lossy().into_owned(),
            None => stamps.version(),
        };
        let version = SetVersion::new(version);
        Ok(Generation { version, gathered, stamps, is_atomic: generation.is_some() })
    }
}

/// Puts systemd's folder where the path names its variable. What stands before it is what a
/// relative path was resolved against, and means nothing here.
fn expand(path: &Path, systemd: Option<&OsStr>) -> PathBuf {
    let mut rest = path.components();
    let named = rest.any(|component| component.as_os_str() == SYSTEMD_VARIABLE);
    match systemd {
        Some(folder) if named => Path::new(folder).join(rest.as_path()),
        _ => path.to_owned(),
    }
}

/// What one look at the folder found.
struct Generation {
    version: SetVersion,
    gathered: SetBuilder,
    stamps: Stamps,
    is_atomic: bool,
}

/// When and how the files were last touched.
#[derive(Default, PartialEq, Eq)]
struct Stamps(Vec<(ValueName, Stamp)>);

#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Timestamp,
    /// Also moves when a file is renamed into place with an old date, and cannot be set back.
    changed: Timestamp,
}

impl Stamps {
    fn quiet_for(&self, now: Timestamp, quiet: Duration) -> bool {
        let newest = self.0.iter().map(|(_, stamp)| stamp.changed).max();
        let Some(newest) = newest else { return true };
        Duration::try_from(now.duration_since(newest)).is_ok_and(|age| age >= quiet)
    }

    /// The newest modification, with its fraction: two writes within a second are two versions.
    fn version(&self) -> String {
        let newest = self.0.iter().map(|(_, stamp)| stamp.modified).max();
        newest.map_or_else(|| "none".to_owned(), |time| time.to_string())
    }
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    fs::openat(at, path, FOLDER | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Where `..data` leads, if the folder has such a link.
fn generation_link(root: BorrowedFd<'_>) -> Result<Option<PathBuf>, Errno> {
    match fs::readlinkat(root, GENERATION_LINK, Vec::new()) {
        Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
        // Not there, or there and no link.
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

enum ReadError {
    Absent,
    Trouble(ValueTrouble),
    Io(io::Error),
}

fn read_value(folder: BorrowedFd<'_>, key: &str) -> Result<(SecretBuffer, Stamp), ReadError> {
    // Without NONBLOCK, opening a pipe that lies there would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(folder, key, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(ReadError::Absent),
        Err(Errno::ACCESS | Errno::PERM) => return Err(ReadError::Trouble(ValueTrouble::Denied)),
        Err(Errno::NXIO) => return Err(ReadError::Trouble(ValueTrouble::NotAFile)),
        Err(errno) => return Err(ReadError::Io(errno.into())),
    };
    if !file.metadata().map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::Trouble(ValueTrouble::NotAFile));
    }
    // The longest value, its line end, and one byte that shows that there is more.
    let limit = SecretText::MAX_BYTES + 3;
    // Never grown, because growing would leave a copy behind.
    let mut value = Zeroizing::new(Vec::with_capacity(limit));
    let taken = u64::try_from(limit).unwrap_or(u64::MAX);
    (&file).take(taken).read_to_end(&mut value).map_err(ReadError::Io)?;
    // Asked after the reading, so that a write that began before its end shows.
    let metadata = file.metadata().map_err(ReadError::Io)?;
    let stamp = Stamp {
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified: timestamp(metadata.mtime(), metadata.mtime_nsec()),
        changed: timestamp(metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((value, stamp))
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default();
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Why a folder gives no set.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The folder is not there (yet).
    #[error("{path} does not exist", path = path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be opened.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `..data` leads nowhere.
    #[error("{path} leads to a folder that does not exist", path = path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Somebody keeps writing.
    #[error("{path} was never left alone for {quiet}", path = path.display())]
    Restless {
        /// The folder.
        path: PathBuf,
        /// The pause that was waited for.
        quiet: Span,
    },
    /// The files are no whole set.
    #[error("{path}: {problems}", path = path.display())]
    Values {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        problems: ValueProblems,
    },
}

#[cfg(test)]
mod tests;
