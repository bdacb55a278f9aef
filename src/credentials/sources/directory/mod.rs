//! Source `directory`: a folder with one file for each value.
//!
//! Kubernetes and its CSI driver mount such folders, systemd makes them for credentials, and a vault's
//! agent renders them. All seven values are read from one generation of the folder, so that a set never
//! mixes two rotations or holds half a value. Where there is a link `..data`, which Kubernetes swaps as
//! a whole, its target is the generation. Elsewhere a read waits until no file is being written and all
//! files have been unchanged for a quiet time.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
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

use super::{stamp::FileStamp, write_tracker::WriteTracker};
use crate::{
    credentials::set::{
        CredentialSet, Identifiers, SetBuilder, SetVersion, ValueName, ValueProblems, ValueTrouble,
    },
    domain::Span,
    process::files::{self, WritableByOthers},
    secret::{SecretBuffer, SecretText},
};

/// The link to the present generation in a folder that Kubernetes mounts.
const GENERATION_LINK: &str = "..data";
/// The variable that systemd sets for a unit with credentials. In a path it stands for that folder.
const SYSTEMD_VARIABLE: &str = "$CREDENTIALS_DIRECTORY";
/// How a folder is opened to find files in it. On Linux that needs no permission to list them.
#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::RDONLY;
/// How often the link may be swapped during a read before the read fails.
const SWAPS_PER_READ: usize = 5;
/// How often files may change during a read before the read fails: two seconds of writing without a
/// pause, by default.
const SETTLE_ROUNDS: usize = 20;

/// Reads the seven values from a folder.
#[derive(Debug)]
pub(super) struct DirectorySource {
    path: PathBuf,
    quiet: Duration,
    writers: WriteTracker,
}

impl DirectorySource {
    pub(super) fn new(path: &Path, quiet: Duration) -> Self {
        Self { path: expanded(path), quiet, writers: WriteTracker::default() }
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are being written, as far as a watch tells.
    pub(super) fn writers(&self) -> &WriteTracker {
        &self.writers
    }

    /// Reads all seven values. Blocks, and waits for a quiet time.
    pub(super) fn read(&self, fixed: &Identifiers) -> Result<CredentialSet, DirectoryError> {
        let (version, builder) = self.collect()?;
        builder
            .into_set(version, fixed)
            .map_err(|problems| DirectoryError::Values { path: self.path.clone(), problems })
    }

    /// Reads the values that are there.
    pub(super) fn collect(&self) -> Result<(SetVersion, SetBuilder), DirectoryError> {
        let mut last = None;
        for _ in 0..SETTLE_ROUNDS {
            let generation = self.read_once()?;
            let settled = generation.is_atomic
                || generation.stamps.quiet_for(Timestamp::now(), self.quiet)
                // After a jump of the clock the files may look new for ever: being unchanged since
                // the last look is enough.
                || last.as_ref() == Some(&generation.stamps);
            if settled {
                return Ok((generation.version, generation.builder));
            }
            last = Some(generation.stamps);
            thread::sleep(self.quiet);
        }
        Err(DirectoryError::Restless { path: self.path.clone(), quiet: Span(self.quiet) })
    }

    fn read_once(&self) -> Result<FolderGeneration, DirectoryError> {
        files::keep_writers_out(&self.path)?;
        let open_error = |errno: Errno| match errno {
            Errno::NOENT if self.lacks_parent() => {
                DirectoryError::ParentAbsent { path: self.path.clone() }
            }
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
                // Swapped and removed since the link was read.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(open_error(errno)),
            }
        }
        Err(DirectoryError::Dangling { path: self.path.join(GENERATION_LINK) })
    }

    /// Whether the folder above is not there either: not mounted, perhaps.
    fn lacks_parent(&self) -> bool {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.is_some_and(|parent| matches!(parent.try_exists(), Ok(false)))
    }

    fn read_files(
        &self,
        folder: BorrowedFd<'_>,
        generation: Option<&Path>,
    ) -> Result<FolderGeneration, DirectoryError> {
        let mut builder = SetBuilder::default();
        let mut stamps = FileStamps::default();
        for name in ValueName::ALL {
            files::keep_writers_out(&self.path.join(name.key()))?;
            match read_value(folder, name.key()) {
                Ok((value, stamp)) => {
                    builder.offer(name, &value);
                    stamps.0.push((name, stamp));
                }
                Err(ValueReadError::Absent) => {}
                Err(ValueReadError::Trouble(trouble)) => builder.refuse(name, trouble),
                Err(ValueReadError::Io(source)) => {
                    return Err(DirectoryError::Read { path: self.path.join(name.key()), source });
                }
            }
        }
        let version = match generation.and_then(Path::file_name) {
            Some(target) => target.to_string_lossy().into_owned(),
            None => stamps.version(),
        };
        let version = SetVersion::new(version);
        Ok(FolderGeneration { version, builder, stamps, is_atomic: generation.is_some() })
    }
}

/// Replaces systemd's variable in a path, and all before it, which a relative path was resolved
/// against.
/// The folder of a configuration: a leading `$CREDENTIALS_DIRECTORY` stands for the one that systemd names.
pub fn expanded(path: &Path) -> PathBuf {
    expand(path, env::var_os("CREDENTIALS_DIRECTORY").as_deref())
}

fn expand(path: &Path, systemd: Option<&OsStr>) -> PathBuf {
    let mut rest = path.components();
    let named = rest.any(|component| component.as_os_str() == SYSTEMD_VARIABLE);
    match systemd {
        Some(folder) if named => Path::new(folder).join(rest.as_path()),
        _ => path.to_owned(),
    }
}

/// The values of one look at the folder.
struct FolderGeneration {
    version: SetVersion,
    builder: SetBuilder,
    stamps: FileStamps,
    is_atomic: bool,
}

/// The last changes of the files.
#[derive(Default, PartialEq, Eq)]
struct FileStamps(Vec<(ValueName, FileStamp)>);

impl FileStamps {
    fn quiet_for(&self, now: Timestamp, quiet: Duration) -> bool {
        let newest = self.0.iter().map(|(_, stamp)| stamp.changed).max();
        let Some(newest) = newest else { return true };
        Duration::try_from(now.duration_since(newest)).is_ok_and(|age| age >= quiet)
    }

    /// The newest modification, with fractions of a second, so that two writes within a second are two
    /// versions.
    fn version(&self) -> String {
        let newest = self.0.iter().map(|(_, stamp)| stamp.modified).max();
        newest.map_or_else(|| "none".to_owned(), |time| time.to_string())
    }
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    fs::openat(at, path, FOLDER | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The target of `..data`, if the folder has such a link.
fn generation_link(root: BorrowedFd<'_>) -> Result<Option<PathBuf>, Errno> {
    match fs::readlinkat(root, GENERATION_LINK, Vec::new()) {
        Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
        // It is absent, or not a link.
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

enum ValueReadError {
    Absent,
    Trouble(ValueTrouble),
    Io(io::Error),
}

fn read_value(
    folder: BorrowedFd<'_>,
    key: &str,
) -> Result<(SecretBuffer, FileStamp), ValueReadError> {
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(folder, key, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Err(ValueReadError::Absent),
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(ValueReadError::Trouble(ValueTrouble::Denied));
        }
        Err(Errno::NXIO) => return Err(ValueReadError::Trouble(ValueTrouble::NotAFile)),
        Err(errno) => return Err(ValueReadError::Io(errno.into())),
    };
    if !file.metadata().map_err(ValueReadError::Io)?.is_file() {
        return Err(ValueReadError::Trouble(ValueTrouble::NotAFile));
    }
    // The longest value, its line end, and one byte that shows that the file is longer.
    let limit = SecretText::MAX_BYTES + 3;
    // Never grown, because a buffer that grows leaves copies behind.
    let mut value = Zeroizing::new(Vec::with_capacity(limit));
    let taken = u64::try_from(limit).unwrap_or(u64::MAX);
    (&file).take(taken).read_to_end(&mut value).map_err(ValueReadError::Io)?;
    // Read after the content, so that a write that began meanwhile shows.
    let metadata = file.metadata().map_err(ValueReadError::Io)?;
    Ok((value, FileStamp::of(&metadata)))
}

/// Why a folder gives no set.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The folder does not exist, and the one above does.
    #[error("{path} does not exist", path = path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
    /// Neither does the folder above, so that this says nothing about the one folder.
    #[error("{path} does not exist, and nor does the folder above it", path = path.display())]
    ParentAbsent {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be opened.
    #[error("cannot open {path}", path = path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The target of `..data` does not exist.
    #[error("{path} leads to a folder that does not exist", path = path.display())]
    Dangling {
        /// The link.
        path: PathBuf,
    },
    /// Others can write the folder, or a file in it.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
    /// The files keep changing.
    #[error("{path} was never left alone for {quiet}", path = path.display())]
    Restless {
        /// The folder.
        path: PathBuf,
        /// The quiet time that never came.
        quiet: Span,
    },
    /// The files are not a whole set.
    #[error("{path}: {problems}", path = path.display())]
    Values {
        /// The folder.
        path: PathBuf,
        /// The problems.
        problems: ValueProblems,
    },
}

#[cfg(test)]
mod tests;
