//! Credential sets whose values tell whose they are and which version: `a-17-client_secret`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use pigello_gateway::credentials::ValueName;

/// Whose set it is: `a` or `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    A,
    B,
}

impl Mark {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub const fn text(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    pub const fn index(self) -> usize {
        self as usize
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|mark| mark.text() == text)
    }
}

/// One of the seven values of a version.
pub fn value(mark: Mark, version: u64, name: ValueName) -> String {
    format!("{}-{version}-{}", mark.text(), name.key())
}

/// What a value says of the set it belongs to.
pub fn read(value: &str, name: ValueName) -> Option<(Mark, u64)> {
    let (mark, rest) = value.split_once('-')?;
    let (version, key) = rest.split_once('-')?;
    (key == name.key()).then_some(())?;
    Some((Mark::from_text(mark)?, version.parse().ok()?))
}

/// A folder as Kubernetes mounts a secret: the files are links into `..data`, which is a link to
/// the folder of the current version and is exchanged in one step.
#[derive(Clone, Debug)]
pub struct Mounted {
    folder: PathBuf,
    mark: Mark,
}

impl Mounted {
    /// Makes it, with a first version.
    pub fn make(folder: PathBuf, mark: Mark, version: u64) -> Self {
        fs::create_dir(&folder).unwrap();
        let mounted = Self { folder, mark };
        mounted.write(version);
        for name in ValueName::ALL {
            symlink(Path::new("..data").join(name.key()), mounted.folder.join(name.key())).unwrap();
        }
        mounted
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Puts a version in the place of the one before, and removes that.
    pub fn write(&self, version: u64) {
        let aside = self.folder.join(format!("..{version}"));
        fs::create_dir(&aside).unwrap();
        for name in ValueName::ALL {
            fs::write(aside.join(name.key()), value(self.mark, version, name)).unwrap();
        }
        let (link, current) = (self.folder.join("..data_tmp"), self.folder.join("..data"));
        let before = fs::read_link(&current).ok();
        symlink(format!("..{version}"), &link).unwrap();
        fs::rename(&link, &current).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(self.folder.join(before)).unwrap();
        }
    }
}
