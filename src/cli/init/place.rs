//! The target folder of `init`.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{CONFIGURATION, File, shown};
use crate::{cli::Failure, config};

/// A folder, and whether its files may be overwritten.
pub(super) struct Place {
    folder: PathBuf,
    force: bool,
    /// Whether the folder existed.
    existed: bool,
}

impl Place {
    pub(super) fn new(folder: &Path, force: bool) -> Self {
        Self { folder: folder.to_owned(), force, existed: folder.exists() }
    }

    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of a file in it, for display.
    pub(super) fn path(&self, name: &str) -> String {
        shown(&self.file(name))
    }

    /// Finds existing files before anything is written.
    pub(super) fn refuse_to_overwrite<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        if self.force {
            return Ok(());
        }
        let there: Vec<_> = names
            .filter(|name| self.file(name).symlink_metadata().is_ok())
            .map(|name| self.path(name))
            .collect();
        if there.is_empty() {
            return Ok(());
        }
        let are = if there.len() == 1 { "exists" } else { "exist" };
        Err(Failure::failed(format!("{} {are} already; nothing was written", there.join(", ")))
            .hint(
                "choose another folder with `--directory DIR`, or write over everything but a \
                 sealed store and its key with `--force`",
            ))
    }

    /// Creates the folder. The gateway's user must be able to read the configuration.
    pub(super) fn make(&self) -> Result<(), Failure> {
        make_folder(&self.folder, 0o755)
    }

    /// Creates a private folder in it.
    pub(super) fn make_private(&self, name: &str) -> Result<(), Failure> {
        make_folder(&self.file(name), 0o700)
    }

    /// Whether the folder is there, or can be made.
    pub(super) fn can_be_made(&self) -> Result<(), Failure> {
        let there = self.folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        let there = there.unwrap_or(&self.folder);
        if !there.is_dir() {
            return Err(Failure::failed(format!("{} is no folder", shown(there))));
        }
        access(there, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|_| Failure::failed(format!("you may not write into {}", shown(there))))
    }

    /// Writes the files, the configuration first. If one fails, or the configuration is invalid, those that
    /// were not there before are removed.
    pub(super) fn write_all(&self, files: &[File]) -> Result<(), Failure> {
        let mut new = Vec::new();
        let done = files.iter().try_for_each(|file| {
            if self.file(file.name).symlink_metadata().is_err() {
                new.push(file.name);
            }
            self.write(file.name, file.mode, &file.text)?;
            if file.name == CONFIGURATION {
                // Without the environment, whose variables are not in the file.
                let loaded = config::load(&[self.file(file.name)], std::iter::empty());
                loaded.and_then(config::Loaded::for_serving)?;
            }
            Ok(())
        });
        if done.is_err() {
            self.take_back(&new);
        }
        done
    }

    /// Writes one file with this mode.
    pub(super) fn write(&self, name: &str, mode: u32, text: &str) -> Result<(), Failure> {
        let path = self.file(name);
        let failed = |error| Failure::failed(format!("cannot write {}: {error}", shown(&path)));
        let mut options = OpenOptions::new();
        options.write(true).mode(mode);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let mut there = options.open(&path).map_err(failed)?;
        // An existing file would keep its mode.
        there.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        there.write_all(text.as_bytes()).map_err(failed)
    }

    fn take_back(&self, names: &[&str]) {
        // The error to report is the one that led here.
        for name in names {
            drop(fs::remove_file(self.file(name)));
        }
        if !self.existed {
            drop(fs::remove_dir(&self.folder));
        }
    }
}

fn make_folder(folder: &Path, mode: u32) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.map_err(|error| Failure::failed(format!("cannot make {}: {error}", shown(folder))))
}

/// The sealed store.
pub(super) const STORE: &str = "credentials.sealed";
/// The key of the store.
pub(super) const KEY: &str = "credentials.key";
