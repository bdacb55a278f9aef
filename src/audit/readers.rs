//! Who may read the trail besides the gateway's user: `audit.group`, a group of auditors. They cannot write it,
//! and neither read its keys nor hold its lock. The tree over the trail ([`super::tlog`]) is open to whoever may
//! enter the directory.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::Path,
};

use super::keys::PUBLIC_KEY;
use crate::process::{
    files::{NewFile, own},
    users::group_id,
};

/// Who may read the trail besides its owner: the members of a group, or nobody. Nobody else may write it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readers(Option<u32>);

impl Readers {
    /// The members of a group, given by name or as a number.
    pub(super) fn named(group: Option<&str>) -> io::Result<Self> {
        Ok(Self(group.map(group_id).transpose()?))
    }

    /// Lets them read a file.
    pub(super) fn admit(self, file: &File) -> io::Result<()> {
        self.set(file, FOR_READERS)
    }

    /// Replaces a file with one that they may read.
    pub(super) fn replace(self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut new = NewFile::create(path)?;
        self.admit(&new.file)?;
        new.file.write_all(bytes)?;
        new.finish()
    }

    /// Lets them read a directory and what is in it, except keys and whatever else is not of the trail. Whoever
    /// can open the lock could hold it, so that is not theirs either.
    pub(super) fn admit_to(self, directory: &Path) -> io::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        for entry in directory.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_readable = READABLE.iter().any(|prefix| name.starts_with(prefix));
            if is_readable && entry.file_type()?.is_file() {
                self.admit(&own().open(entry.path())?)?;
            }
        }
        self.set(&File::open(directory)?, ENTERED_BY_READERS)
    }

    fn set(self, file: &File, mode: u32) -> io::Result<()> {
        let Self(Some(group)) = self else { return Ok(()) };
        let metadata = file.metadata()?;
        if metadata.gid() != group {
            fchown(file, None, Some(group))?;
        }
        if metadata.mode() & MODE != mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// How the names of files begin that a group may read.
const READABLE: [&str; 6] =
    ["audit-", "damaged-", "foreign-", "checkpoint.json", "export.json", PUBLIC_KEY];
/// The mode of a file that a group may read.
const FOR_READERS: u32 = 0o640;
/// The mode of a directory that a group may read and enter.
const ENTERED_BY_READERS: u32 = 0o750;
/// The permissions in a mode.
const MODE: u32 = 0o7777;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_group_may_read_the_trail_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for name in
            ["audit-1.jsonl", "checkpoint.json", PUBLIC_KEY, "signing-key.pem", "my-key", ".lock"]
        {
            fs::write(path(name), "made up").unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(0o600)).unwrap();
        }
        let own_group = rustix::process::getegid().as_raw().to_string();
        let readers = Readers::named(Some(&own_group)).unwrap();
        readers.admit_to(home.path()).unwrap();
        readers.replace(&path("export.json"), b"{}").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & MODE;
        assert_eq!(mode(home.path()), 0o750);
        for (name, expected) in [
            ("audit-1.jsonl", 0o640),
            ("checkpoint.json", 0o640),
            ("export.json", 0o640),
            (PUBLIC_KEY, 0o640),
            ("signing-key.pem", 0o600),
            ("my-key", 0o600),
            (".lock", 0o600),
        ] {
            assert_eq!(mode(&path(name)), expected, "{name}");
        }
        assert!(Readers::named(Some("no-such-group")).is_err());
    }

    #[test]
    fn without_a_group_no_mode_changes() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        Readers::default().admit_to(home.path()).unwrap();
        Readers::default().replace(&home.path().join("export.json"), b"{}").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & MODE;
        assert_eq!(mode(home.path()), 0o700);
        assert_eq!(mode(&home.path().join("export.json")), 0o600);
    }
}
