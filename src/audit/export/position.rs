//! How far the collector has the trail, kept beside it.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::ExportError;
use crate::audit::directory::private;

#[derive(Debug)]
pub(super) struct Position {
    place: PathBuf,
    kept: Kept,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The last line that the collector has.
    seq: u64,
}

impl Position {
    /// Where the last process was; the beginning of the trail if there was none.
    pub(super) fn open(directory: &Path) -> Result<Self, ExportError> {
        let place = directory.join("export.json");
        let kept = match fs::read(&place) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| ExportError::Position(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept { seq: 0 },
            Err(error) => return Err(ExportError::Position(error)),
        };
        Ok(Self { place, kept })
    }

    pub(super) fn seq(&self) -> u64 {
        self.kept.seq
    }

    pub(super) fn keep(&mut self, seq: u64) -> io::Result<()> {
        self.kept.seq = seq;
        let new = self.place.with_extension("json.new");
        let mut file = private().create(true).truncate(true).open(&new)?;
        serde_json::to_writer(&mut file, &self.kept)?;
        file.write_all(b"\n")?;
        file.sync_data()?;
        fs::rename(new, &self.place)
    }
}
