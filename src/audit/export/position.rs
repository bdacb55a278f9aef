//! The position of the export, in a file beside the audit log.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::process::files;

/// The last line that the collector took.
#[derive(Debug)]
pub(super) struct Position {
    file: PathBuf,
    written: ExportedUpTo,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct ExportedUpTo {
    seq: u64,
}

impl Position {
    /// The position of the last process; the beginning of the log if there was none.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let file = directory.join("export.json");
        let written = match files::read_own(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => ExportedUpTo { seq: 0 },
            Err(error) => return Err(error),
        };
        Ok(Self { file, written })
    }

    pub(super) fn seq(&self) -> u64 {
        self.written.seq
    }

    /// Replaces the file, so that a crash leaves the old position or the new one.
    pub(super) fn write(&mut self, seq: u64) -> io::Result<()> {
        self.written.seq = seq;
        let mut line = serde_json::to_vec(&self.written)?;
        line.push(b'\n');
        files::replace(&self.file, &line)
    }
}
