//! The position of the export, in a file beside the audit log.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::source::LineSource;
use crate::{audit::readers::Readers, process::files};

/// The last line that the collector took.
#[derive(Debug)]
pub(super) struct Position {
    file: PathBuf,
    readers: Readers,
    written: ExportedUpTo,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct ExportedUpTo {
    seq: u64,
    #[serde(flatten)]
    source: LineSource,
}

impl Position {
    /// The position of the last process; the beginning of the log if there was none.
    pub(super) fn open(directory: &Path, readers: Readers) -> io::Result<Self> {
        let file = directory.join("export.json");
        let written = match files::read_own(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ExportedUpTo { seq: 0, source: LineSource::default() }
            }
            Err(error) => return Err(error),
        };
        Ok(Self { file, readers, written })
    }

    pub(super) fn seq(&self) -> u64 {
        self.written.seq
    }

    /// The source of that line.
    pub(super) fn source(&self) -> &LineSource {
        &self.written.source
    }

    /// Replaces the file, so that a crash leaves the old position or the new one.
    pub(super) fn write(&mut self, seq: u64, source: &LineSource) -> io::Result<()> {
        let up_to = ExportedUpTo { seq, source: source.clone() };
        let mut line = serde_json::to_vec(&up_to)?;
        line.push(b'\n');
        self.readers.replace(&self.file, &line)?;
        self.written = up_to;
        Ok(())
    }
}
