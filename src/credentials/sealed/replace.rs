//! Replacing a file in one step, so that a reader or a crash sees the old one or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// Writes `bytes` to `path`, mode 0600: a new file beside it, synced, renamed over it, and the
/// folder synced. On any failure `path` is as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A link is followed: what it leads to is replaced, not the link.
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

/// Removed when it goes out of scope and is still there.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing to remove, and that is the good case.
        fs::remove_file(&self.0).ok();
    }
}
