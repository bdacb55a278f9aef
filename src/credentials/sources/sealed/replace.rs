//! Replaces a file in one step: a reader or a crash finds the old file or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// Writes `bytes` to `path`, mode 0600: writes a new file, syncs it, renames it to `path`, and syncs
/// the folder. On an error `path` is unchanged.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Of a link, the target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or(folder);
    let temporary = Temporary(folder.join(format!(".{}.tmp", Uuid::new_v4().simple())));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary.0, &target)?;
    drop(temporary);
    File::open(folder)?.sync_all()
}

/// A file that is removed on drop, unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Fails after the rename, as it should.
        fs::remove_file(&self.0).ok();
    }
}
