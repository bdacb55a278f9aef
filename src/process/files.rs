//! Who else may write or read a file, and how a file of the gateway's own is written.
//!
//! *Others* are all users but the file's owner and the members of a group that is not others: one of this
//! process's groups, or the owner's private group, which has the owner's number. The owner is whom the
//! operator chose, and root may do everything. In a folder that only its owner may enter, nothing is open
//! to others. A folder that others may write lets them replace what is in it, unless it is sticky (`/tmp`,
//! a Secret that Kubernetes mounts). On a read-only mount (a `ConfigMap` of Kubernetes) nobody writes.
//!
//! A file that the operator names may be a link, as Kubernetes (`..data`) and certificate tools make them:
//! its target is judged, and the folders of both. One that must be private ([`open_private`]) may be a link only in
//! a volume of Kubernetes. In the gateway's own folders no link is followed.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, StatVfsMountFlags, statvfs},
    io::Errno,
    process::{getegid, getgroups},
};
use zeroize::Zeroizing;

/// Checks that others cannot write the file or folder, or replace it. What is not there is not judged.
pub fn keep_writers_out(path: &Path) -> Result<(), WritableByOthers> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(()) };
    let groups = Groups::own();
    let folders = [path.parent(), target.parent()].into_iter().flatten();
    for folder in folders.filter(|folder| !folder.as_os_str().is_empty()) {
        groups.check(folder, Stickiness::Protects)?;
    }
    groups.check(&target, Stickiness::Protects).map_err(|error| error.named(path))
}

/// Checks a folder whose every file is used: that others cannot put one there either. What is not there is
/// not judged.
pub fn keep_writers_out_of_folder(path: &Path) -> Result<(), WritableByOthers> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(()) };
    Groups::own().check(&target, Stickiness::Ignored).map_err(|error| error.named(path))
}

/// Checks that others cannot read the file. What is not there is not judged.
pub fn keep_readers_out(path: &Path) -> Result<(), ReadableByOthers> {
    let Ok(target) = fs::canonicalize(path) else { return Ok(()) };
    let Ok(metadata) = fs::metadata(&target) else { return Ok(()) };
    if Groups::own().may(&metadata, READ) && !is_closed_above(&target) {
        let mode = metadata.mode() & MODE;
        return Err(ReadableByOthers { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Opens a file that the operator names, through links. What is neither a file nor a folder is refused
/// ([`NoRegularFile`]), without waiting for it.
pub fn open_named(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(no_wait()).open(path);
    // Of a socket, and of a device that is not there.
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::other(NoRegularFile),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() { Ok(file) } else { Err(io::Error::other(NoRegularFile)) }
}

/// Reads such a file.
pub fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    read_whole(open_named(path)?)
}

/// Checks that it is a file or a folder. What is not there is not judged.
pub fn keep_to_regular(path: &Path) -> Result<(), NoRegularFile> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    if metadata.is_file() || metadata.is_dir() { Ok(()) } else { Err(NoRegularFile) }
}

/// It is a pipe, a socket or a device, which may never answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is a pipe, a socket or a device, not a regular file")]
pub struct NoRegularFile;

impl NoRegularFile {
    /// Whether that is why a file was not opened.
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).is_some()
    }
}

/// Opens a secret that the operator wrote for the gateway: a file, no link, of mode 0600 or less.
///
/// A Secret that Kubernetes mounts belongs to root and is a link. It is opened if only groups of this process may
/// read it besides: `defaultMode: 0440`, and the pod's `fsGroup`.
pub fn open_private(path: &Path) -> Result<File, PrivateFileError> {
    let failed = |source| PrivateFileError::Unreadable { path: path.to_owned(), source };
    keep_writers_out(path)?;
    let mounted = in_kubernetes_volume(path);
    let itself = mounted.as_deref().unwrap_or(path);
    let file = OpenOptions::new().read(true).custom_flags(no_follow() | no_wait()).open(itself);
    let file = file.map_err(|source| match fs::symlink_metadata(itself) {
        Ok(metadata) if metadata.is_symlink() => PrivateFileError::NoFile { path: path.to_owned() },
        _ => failed(source),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NoFile { path: path.to_owned() });
    }
    let others_read = match mounted {
        Some(_) => Groups::own().may(&metadata, READ),
        None => metadata.mode() & OF_OTHERS != 0,
    };
    if others_read {
        let mode = metadata.mode() & MODE;
        return Err(ReadableByOthers { path: path.to_owned(), mode }.into());
    }
    Ok(file)
}

/// Reads a secret that nobody else may read or write. It may be a link, as in a folder that Kubernetes mounts.
pub fn read_closed(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    keep_writers_out(path)?;
    keep_readers_out(path)?;
    let unreadable = |source| PrivateFileError::Unreadable { path: path.to_owned(), source };
    read_named(path).map(Zeroizing::new).map_err(unreadable)
}

/// The file that a name in a mounted volume of Kubernetes stands for. The name is a link into `..data`, and that is one
/// to a folder beside it, so that the kubelet can swap all files at once.
fn in_kubernetes_volume(path: &Path) -> Option<PathBuf> {
    let (volume, name) = (path.parent()?, path.file_name()?);
    let is_link = fs::read_link(path).is_ok_and(|target| target == Path::new(DATA).join(name));
    let version = fs::read_link(volume.join(DATA)).ok().filter(|_| is_link)?;
    let is_beside = version.file_name() == Some(version.as_os_str());
    is_beside.then(|| volume.join(version).join(name))
}

/// Options that open a file of the gateway's own folder for reading and writing, with mode 0600 if it is
/// created. A link is an error (`ELOOP`).
pub fn own() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(no_follow());
    options
}

/// Opens a file of the gateway's own folder for reading. A link, a pipe, a folder or a device is an error.
pub fn open_own(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(no_follow() | no_wait()).open(path);
    let is_file = match &file {
        Ok(file) => file.metadata()?.is_file(),
        Err(_) => !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()),
    };
    if is_file { file } else { Err(no_plain_file()) }
}

/// The error of [`open_own`] for what is no file.
fn no_plain_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file (a link, perhaps)")
}

/// Reads a file of the gateway's own folder; see [`open_own`].
pub fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    read_whole(open_own(path)?)
}

fn read_whole(mut file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces a file in one step, with mode 0600: a reader or a crash finds the old file or the new one. A
/// link at `path` is replaced, not followed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    new.file.write_all(bytes)?;
    new.finish()
}

/// The same with mode 0644, for what holds no secret and no data of persons.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = NewFile::create(path)?;
    open_to_readers(&new.file)?;
    new.file.write_all(bytes)?;
    new.finish()
}

/// Gives a file mode 0644, whatever the umask.
pub fn open_to_readers(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o644))
}

/// A file that takes its name when it is finished. Until then it is called `NAME.new`, and it is removed if
/// it is dropped: a full disk is not filled with halves.
#[derive(Debug)]
pub struct NewFile {
    /// The open file, of mode 0600.
    pub file: File,
    unfinished: Unfinished,
    path: PathBuf,
}

impl NewFile {
    /// Creates it. One called `NAME.new`, which a crash left or somebody planted, is removed.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let unfinished = Unfinished(path.with_file_name(name));
        match fs::remove_file(&unfinished.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = own().create_new(true).open(&unfinished.0)?;
        Ok(Self { file, unfinished, path: path.to_owned() })
    }

    /// Its path until it is finished.
    pub fn unfinished(&self) -> &Path {
        &self.unfinished.0
    }

    /// Gives it its name, in place of a file that has it, and makes both durable.
    pub fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.unfinished.0, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// A file that is removed on drop, unless it was renamed.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Fails after the rename, as it should.
        fs::remove_file(&self.0).ok();
    }
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// A pipe without a writer is no reason to wait.
fn no_wait() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// The groups of this process.
struct Groups(Vec<u32>);

/// Whether the sticky bit keeps others from replacing what is in a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stickiness {
    Protects,
    Ignored,
}

impl Groups {
    fn own() -> Self {
        let others = getgroups().unwrap_or_default();
        Self(others.into_iter().chain([getegid()]).map(rustix::fs::Gid::as_raw).collect())
    }

    /// Whether others have a permission, given as its bit for all users.
    fn may(&self, metadata: &Metadata, permission: u32) -> bool {
        let is_strange = !self.0.contains(&metadata.gid()) && metadata.gid() != metadata.uid();
        let of_group = metadata.mode() & permission << 3 != 0;
        metadata.mode() & permission != 0 || (is_strange && of_group)
    }

    fn check(&self, path: &Path, stickiness: Stickiness) -> Result<(), WritableByOthers> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
        let protected = stickiness == Stickiness::Protects
            && metadata.is_dir()
            && metadata.mode() & STICKY != 0;
        if protected
            || !self.may(&metadata, WRITE)
            || is_closed_above(path)
            || is_mounted_read_only(path)
        {
            return Ok(());
        }
        Err(WritableByOthers { path: path.to_owned(), mode: metadata.mode() & MODE })
    }
}

/// Whether a folder above the path can be entered by its owner alone.
fn is_closed_above(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let mut above = path.ancestors().skip(1);
    above.any(|folder| fs::metadata(folder).is_ok_and(|folder| folder.mode() & ENTER_OTHERS == 0))
}

fn is_mounted_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Others than the owner may write a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} may be written by others than its owner (mode {mode:04o})", path = path.display())]
pub struct WritableByOthers {
    path: PathBuf,
    mode: u32,
}

impl WritableByOthers {
    fn named(self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// The remedy: a command.
    pub fn hint(&self) -> String {
        format!("chmod go-w {}", self.path.display())
    }
}

/// Others than the owner may read a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} may be read by others than its owner (mode {mode:04o})", path = path.display())]
pub struct ReadableByOthers {
    path: PathBuf,
    mode: u32,
}

impl ReadableByOthers {
    /// The remedy: a command, or the mode of a Secret that Kubernetes mounts.
    pub fn hint(&self) -> String {
        match in_kubernetes_volume(&self.path) {
            Some(_) => "mount the Secret with `defaultMode: 0440`".to_owned(),
            None => format!("chmod 600 {}", self.path.display()),
        }
    }
}

/// Why a secret that must be private is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// It is a link, a folder or a device.
    #[error("{} is no plain file (a link, perhaps)", path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// Others may write it.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
    /// Others may read it.
    #[error(transparent)]
    Readable(#[from] ReadableByOthers),
}

impl PrivateFileError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The remedy, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => None,
            Self::NoFile { .. } => Some("name the file itself".to_owned()),
            Self::Writable(error) => Some(error.hint()),
            Self::Readable(error) => Some(error.hint()),
        }
    }
}

/// The link to the newest version of a volume, in Kubernetes.
const DATA: &str = "..data";
/// The permissions in a mode.
const MODE: u32 = 0o7777;
const STICKY: u32 = 0o1000;
/// Everything that the group and all other users may do.
const OF_OTHERS: u32 = 0o077;
const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
/// Entering, for the group and for all users.
const ENTER_OTHERS: u32 = 0o011;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn a_named_file_is_a_file_or_a_link_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "made up").unwrap();
        symlink(path("file"), path("link")).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), kind, mode, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        symlink(path("pipe"), path("link to a pipe")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read_named(&path(name)).unwrap(), b"made up");
            assert_eq!(keep_to_regular(&path(name)), Ok(()));
        }
        for special in &["pipe", "socket", "link to a pipe"].map(path) {
            assert!(NoRegularFile::is_cause_of(&open_named(special).unwrap_err()), "{special:?}");
            assert_eq!(keep_to_regular(special), Err(NoRegularFile));
        }
        assert!(NoRegularFile::is_cause_of(&open_named(Path::new("/dev/zero")).unwrap_err()));
        let error = open_named(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    /// A folder that others may enter.
    fn open_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path(), 0o755);
        folder
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "made up").unwrap();
        set(&path, mode);
        path
    }

    #[test]
    fn what_others_may_write_is_refused_and_what_they_may_read_is_told() {
        let folder = open_folder();
        for (mode, writable, readable) in [
            (0o600, false, false),
            (0o640, false, false),
            (0o660, false, false),
            (0o644, false, true),
            (0o602, true, false),
            (0o666, true, true),
        ] {
            let path = file(folder.path(), "value", mode);
            assert_eq!(keep_writers_out(&path).is_err(), writable, "{mode:o}");
            assert_eq!(keep_readers_out(&path).is_err(), readable, "{mode:o}");
        }
        let path = file(folder.path(), "value", 0o666);
        let error = keep_writers_out(&path).unwrap_err();
        let shown = path.display();
        assert_eq!(
            error.to_string(),
            format!("{shown} may be written by others than its owner (mode 0666)")
        );
        assert_eq!(error.hint(), format!("chmod go-w {shown}"));
        assert_eq!(keep_writers_out(&folder.path().join("absent")), Ok(()));
    }

    #[test]
    fn a_private_file_is_open_to_its_owner_alone_and_no_link() {
        let folder = open_folder();
        for (mode, opens) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
            (0o602, false),
            (0o610, false),
        ] {
            let path = file(folder.path(), "private", mode);
            assert_eq!(open_private(&path).is_ok(), opens, "{mode:o}");
            fs::remove_file(path).unwrap();
        }
        let path = file(folder.path(), "private", 0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for no_file in [&link, folder.path()] {
            let error = open_private(no_file).unwrap_err();
            assert!(matches!(error, PrivateFileError::NoFile { .. }), "{error}");
        }
        set(folder.path(), 0o777);
        assert!(matches!(open_private(&path), Err(PrivateFileError::Writable(_))));
    }

    /// A volume as the kubelet makes it, and the file of a secret in it.
    fn volume(secret: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let mount = open_folder();
        set(mount.path(), 0o3777);
        let version = mount.path().join("..2026_03_01_08_00_00.1234567890");
        fs::create_dir(&version).unwrap();
        set(&version, 0o2755);
        let target = file(&version, secret, mode);
        symlink(version.file_name().unwrap(), mount.path().join("..data")).unwrap();
        symlink(Path::new("..data").join(secret), mount.path().join(secret)).unwrap();
        (mount, target)
    }

    #[test]
    fn a_private_file_may_be_a_secret_that_kubernetes_mounts() {
        for (mode, opens) in [
            (0o400, true),
            (0o440, true),
            (0o600, true),
            (0o640, true),
            (0o444, false),
            (0o644, false),
            (0o442, false),
        ] {
            let (mount, target) = volume("tokens", mode);
            let named = mount.path().join("tokens");
            assert_eq!(open_private(&named).is_ok(), opens, "{mode:o}");
            // The kubelet swaps the version.
            let next = mount.path().join("..2026_03_02_08_00_00.1234567890");
            fs::create_dir(&next).unwrap();
            fs::rename(&target, next.join("tokens")).unwrap();
            symlink(next.file_name().unwrap(), mount.path().join("..data_tmp")).unwrap();
            fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
            assert_eq!(open_private(&named).is_ok(), opens, "{mode:o}");
        }
        let (mount, target) = volume("tokens", 0o440);
        if chown(&target, Some(4242), Some(4343)).is_ok() {
            let error = open_private(&mount.path().join("tokens")).unwrap_err();
            assert_eq!(error.hint().unwrap(), "mount the Secret with `defaultMode: 0440`");
        }
    }

    #[test]
    fn no_other_link_is_taken_for_a_volume_of_kubernetes() {
        let no_file = |path: &Path| {
            let error = open_private(path).unwrap_err();
            assert!(matches!(error, PrivateFileError::NoFile { .. }), "{error}");
        };
        // Another name, out of the volume, and a version that is elsewhere.
        let (mount, target) = volume("tokens", 0o600);
        let path = |name: &str| mount.path().join(name);
        symlink("..data/tokens", path("other")).unwrap();
        symlink(path("..data/tokens"), path("absolute")).unwrap();
        symlink(&target, path("direct")).unwrap();
        ["other", "absolute", "direct"].map(path).iter().for_each(|link| no_file(link));
        for elsewhere in
            [target.parent().unwrap(), &Path::new(".").join("..2026_03_01_08_00_00.1234567890")]
        {
            fs::remove_file(path("..data")).unwrap();
            symlink(elsewhere, path("..data")).unwrap();
            no_file(&path("tokens"));
        }
        // The file in the version is a link itself.
        let (mount, target) = volume("tokens", 0o600);
        fs::rename(&target, mount.path().join("moved")).unwrap();
        symlink("../moved", &target).unwrap();
        no_file(&mount.path().join("tokens"));
        // One that is not there is no link either.
        fs::remove_file(&target).unwrap();
        let error = open_private(&mount.path().join("tokens")).unwrap_err();
        assert!(matches!(error, PrivateFileError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn nothing_is_open_in_a_folder_that_only_its_owner_enters() {
        let folder = open_folder();
        let path = file(folder.path(), "value", 0o666);
        set(folder.path(), 0o700);
        assert_eq!((keep_writers_out(&path), keep_readers_out(&path)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_folder_that_others_may_write_lets_them_replace_what_is_in_it() {
        let folder = open_folder();
        let path = file(folder.path(), "value", 0o600);
        for (mode, refused) in [(0o777, true), (0o1777, false), (0o775, false)] {
            set(folder.path(), mode);
            assert_eq!(keep_writers_out(&path).is_err(), refused, "{mode:o}");
        }
        // Where every file counts, others may not even add one.
        for (mode, refused) in [(0o777, true), (0o1777, true), (0o755, false)] {
            set(folder.path(), mode);
            assert_eq!(keep_writers_out_of_folder(folder.path()).is_err(), refused, "{mode:o}");
        }
    }

    /// As Kubernetes mounts a Secret: `..data` in a sticky folder is swapped as a whole.
    #[test]
    fn links_of_the_operator_are_judged_by_their_target() {
        let mount = open_folder();
        set(mount.path(), 0o1777);
        let generation = mount.path().join("..2026_03_01");
        fs::create_dir(&generation).unwrap();
        let target = file(&generation, "client_secret", 0o440);
        symlink("..2026_03_01", mount.path().join("..data")).unwrap();
        let named = mount.path().join("client_secret");
        symlink("..data/client_secret", &named).unwrap();
        assert_eq!((keep_writers_out(&named), keep_readers_out(&named)), (Ok(()), Ok(())));
        set(&target, 0o446);
        assert!(keep_writers_out(&named).is_err() && keep_readers_out(&named).is_err());
        set(&target, 0o440);
        set(&generation, 0o777);
        assert!(keep_writers_out(&named).is_err());
    }

    #[test]
    fn a_strange_group_is_others_and_the_owners_own_group_is_not() {
        let folder = open_folder();
        let path = file(folder.path(), "value", 0o660);
        if chown(&path, Some(4242), Some(4343)).is_err() {
            // Only root may give a file away.
            return;
        }
        assert!(keep_writers_out(&path).is_err() && keep_readers_out(&path).is_err());
        chown(&path, None, Some(4242)).unwrap();
        assert_eq!((keep_writers_out(&path), keep_readers_out(&path)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = open_folder();
        let (target, link) = (file(folder.path(), "target", 0o600), folder.path().join("link"));
        symlink(&target, &link).unwrap();
        assert!(own().open(&link).is_err() && read_own(&link).is_err());
        // Neither is one under the name of the unfinished file.
        symlink(&target, folder.path().join("link.new")).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"made up");
        assert_eq!(read_own(&link).unwrap(), b"new");
        assert_eq!(fs::metadata(&link).unwrap().mode() & MODE, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
