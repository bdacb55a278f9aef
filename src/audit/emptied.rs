//! The names of files that were deleted before there was room for their `retention` line: empty files whose
//! name tells what the line will tell.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{chain::Hash, encode::Removal};

/// The name that a file of the trail gets when its content goes.
pub(super) fn emptied_path(file: &Path, removal: &Removal) -> PathBuf {
    let Removal { from, to, last_hash } = removal;
    file.with_file_name(format!("{PREFIX}{from:020}-{to:020}-{last_hash}"))
}

/// The emptied files in a directory, oldest first.
pub(super) fn emptied(directory: &Path) -> io::Result<Vec<(PathBuf, Removal)>> {
    let mut emptied = Vec::new();
    for entry in directory.read_dir()? {
        let entry = entry?;
        let removal = entry.file_name().to_str().and_then(removal_of);
        emptied.extend(removal.map(|removal| (entry.path(), removal)));
    }
    emptied.sort_by_key(|(_, removal)| removal.from);
    Ok(emptied)
}

fn removal_of(name: &str) -> Option<Removal> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (from, to, last_hash) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Removal {
        from: from.parse().ok()?,
        to: to.parse().ok()?,
        last_hash: Hash::parse(last_hash.as_bytes())?,
    })
}

const PREFIX: &str = "deleted-";
