//! The position of the export, in a file beside the audit log.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::audit::directory::private;

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
        let written = match fs::read(&file) {
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
        let new = self.file.with_extension("json.new");
        let mut file = private().create(true).truncate(true).open(&new)?;
        serde_json::to_writer(&mut file, &self.written)?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        fs::rename(new, &self.file)
    }
}
