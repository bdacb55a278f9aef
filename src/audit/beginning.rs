//! When the files of a trail began, by their first lines.
//!
//! The name of a file says that too. But everyone who can write the directory can change a name, and nobody
//! can change a line unseen. So no file is deleted, compressed or left out of a search by its name.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Read as _},
    path::PathBuf,
};

use jiff::Timestamp;

use super::{
    directory::TrailSegment,
    line::line_head,
    lines::{Lines, TrailReadError},
};

/// What the first line of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// Its `seq`.
    pub(super) seq: u64,
    /// Its `time`. A call arrives before its line is written.
    pub(super) time: Timestamp,
}

impl Beginning {
    /// Reads it. `None` for a file without a complete line, or whose first line is not one of a trail.
    pub(super) fn of(file: &TrailSegment) -> Result<Option<Self>, TrailReadError> {
        let reader = Lines::open_with(file, 0, BUFFER)?.into_reader();
        let mut bytes = Vec::new();
        reader
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| TrailReadError { path: file.path.clone(), source })?;
        let head = bytes.strip_suffix(b"\n").and_then(line_head);
        Ok(head.and_then(|head| Some(Self { seq: head.seq, time: head.time.parse().ok()? })))
    }
}

/// The beginnings of the files that were there at the last look, so that each is read once.
#[derive(Debug, Default)]
pub(super) struct Beginnings(HashMap<PathBuf, Beginning>);

impl Beginnings {
    /// Those of the files, in their order. Fails if the name of a file does not fit its first line: then the
    /// order of the files is in doubt as well.
    pub(super) fn of(&mut self, files: &[TrailSegment]) -> io::Result<Vec<Option<Beginning>>> {
        let mut known = HashMap::with_capacity(files.len());
        let mut beginnings = Vec::with_capacity(files.len());
        for file in files {
            let beginning = match self.0.get(&file.path) {
                Some(known) => Some(*known),
                None => Beginning::of(file).map_err(io::Error::other)?,
            };
            if let Some(beginning) = beginning {
                if beginning.seq != file.first_seq {
                    return Err(io::Error::other(Renamed { file: file.path.clone(), beginning }));
                }
                known.insert(file.path.clone(), beginning);
            }
            beginnings.push(beginning);
        }
        self.0 = known;
        Ok(beginnings)
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "{} begins with record {}, which its name does not say: it was renamed; see `audit verify`",
    file.display(),
    beginning.seq
)]
struct Renamed {
    file: PathBuf,
    beginning: Beginning,
}

/// For a line of the usual length.
const BUFFER: usize = 4096;
/// Above the longest line of a trail.
const LONGEST_LINE: u64 = 1 << 20;
