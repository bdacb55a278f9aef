//! Reads the trail from a position on, a batch at a time.

use std::path::{Path, PathBuf};

use crate::audit::{
    directory::Segment,
    line,
    read::{self, Lines, TrailReadError},
};

#[derive(Debug)]
pub(super) struct Source {
    directory: PathBuf,
    /// The last line that was read.
    after: u64,
    /// The file, and how far its text was read.
    current: Option<(Segment, u64)>,
}

impl Source {
    /// Begins behind a line.
    pub(super) fn new(directory: &Path, after: u64) -> Self {
        Self { directory: directory.to_owned(), after, current: None }
    }

    /// The last line that was read.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// The next lines, at most so many, and none behind `stable`.
    pub(super) fn next(
        &mut self,
        most: usize,
        stable: u64,
    ) -> Result<Vec<Vec<u8>>, TrailReadError> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let (file, position) = match self.current.take() {
                Some(current) => current,
                None => match self.file_of(self.after + 1)? {
                    Some(file) => (file, 0),
                    None => break,
                },
            };
            // Looked up before reading: when a later file is there, this one does not grow any more.
            let later = self.file_behind(&file)?;
            let end = self.read(&file, position, most, stable, &mut batch)?;
            self.current = match (end, later) {
                (End::OfFile(_), Some(later)) => Some((later, 0)),
                (End::OfFile(at) | End::Early(at), _) => Some((file, at)),
            };
            if !matches!(end, End::OfFile(_)) || self.current.as_ref().is_some_and(|c| c.1 > 0) {
                break;
            }
        }
        Ok(batch)
    }

    fn read(
        &mut self,
        file: &Segment,
        position: u64,
        most: usize,
        stable: u64,
        batch: &mut Vec<Vec<u8>>,
    ) -> Result<End, TrailReadError> {
        let mut lines = Lines::open(file, position)?;
        loop {
            let before = lines.position();
            if batch.len() == most {
                return Ok(End::Early(before));
            }
            let Some(text) = lines.next()? else { return Ok(End::OfFile(before)) };
            let Some(place) = line::line_head(text) else { continue };
            if place.seq > stable {
                return Ok(End::Early(before));
            }
            if place.seq > self.after {
                self.after = place.seq;
                batch.push(text.to_owned());
            }
        }
    }

    /// The file with that line; the first one if that line is gone already.
    fn file_of(&self, seq: u64) -> Result<Option<Segment>, TrailReadError> {
        let files = read::files(&self.directory)?;
        let begun = files.iter().rposition(|file| file.first_seq <= seq).unwrap_or(0);
        Ok(files.into_iter().nth(begun))
    }

    fn file_behind(&self, file: &Segment) -> Result<Option<Segment>, TrailReadError> {
        let files = read::files(&self.directory)?;
        Ok(files.into_iter().find(|later| later.first_seq > file.first_seq))
    }
}

#[derive(Clone, Copy)]
enum End {
    OfFile(u64),
    Early(u64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Settings, Trail, testing::record};

    #[test]
    fn every_line_is_read_once_whatever_the_batches() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings { segment_bytes: 5_000, ..Settings::new(home.path()) };
        let trail = Trail::open(&settings).unwrap();
        for _ in 0..30 {
            trail.submit(record());
            while trail.stats().queued > 0 {
                std::thread::yield_now();
            }
        }
        let last = trail.close().unwrap();
        for most in [1, 7, 1000] {
            let mut source = Source::new(home.path(), 0);
            let mut seen = Vec::new();
            for _ in 0..200 {
                let lines = source.next(most, last).unwrap();
                assert!(lines.len() <= most);
                seen.extend(lines.iter().map(|text| line::line_head(text).unwrap().seq));
            }
            assert_eq!(seen, (1..=last).collect::<Vec<_>>(), "batches of {most}");
        }
        let mut source = Source::new(home.path(), 10);
        let lines = source.next(1000, 20).unwrap();
        assert_eq!(line::line_head(&lines[0]).unwrap().seq, 11);
        assert_eq!(source.after(), 20, "not behind what is in stable storage");
    }
}
