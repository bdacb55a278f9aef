//! Reads the lines of the audit log behind a position, one batch at a time.

use std::path::{Path, PathBuf};

use crate::audit::{
    directory::TrailSegment,
    line,
    lines::{Lines, TrailReadError},
    read,
};

/// A line that is in stable storage.
#[derive(Debug)]
pub(super) struct StableLine {
    pub(super) seq: u64,
    pub(super) text: Vec<u8>,
}

impl StableLine {
    /// Whether it tells of nothing but the trail itself: these lines come also while nothing happens.
    pub(super) fn is_of_housekeeping(&self) -> bool {
        line::line_head(&self.text)
            .is_some_and(|head| matches!(head.kind, "export_rejected" | "checkpoint"))
    }
}

/// Reads batches of lines.
#[derive(Debug)]
pub(super) struct BatchReader {
    directory: PathBuf,
    last_seq: u64,
    /// The file that is read, and the offset of the next line in its text.
    current: Option<(TrailSegment, u64)>,
}

impl BatchReader {
    /// A reader that begins behind the line `last_seq`.
    pub(super) fn new(directory: &Path, last_seq: u64) -> Self {
        Self { directory: directory.to_owned(), last_seq, current: None }
    }

    /// The next lines: at most `most`, and none behind `stable`.
    pub(super) fn next(
        &mut self,
        most: usize,
        stable: u64,
    ) -> Result<Vec<StableLine>, TrailReadError> {
        let mut batch = Vec::new();
        while batch.len() < most {
            let (file, position) = match self.current.take() {
                Some(current) => current,
                None => match self.file_of(self.last_seq + 1)? {
                    Some(file) => (file, 0),
                    None => break,
                },
            };
            // Looked up before reading, because a file stops growing when a later one is created.
            let later = self.next_file(&file)?;
            let stop = self.read(&file, position, most, stable, &mut batch)?;
            self.current = match (stop, later) {
                (Stop::EndOfFile(_), Some(later)) => Some((later, 0)),
                (Stop::EndOfFile(at) | Stop::Early(at), _) => Some((file, at)),
            };
            if !matches!(stop, Stop::EndOfFile(_)) || self.current.as_ref().is_some_and(|c| c.1 > 0)
            {
                break;
            }
        }
        Ok(batch)
    }

    fn read(
        &mut self,
        file: &TrailSegment,
        position: u64,
        most: usize,
        stable: u64,
        batch: &mut Vec<StableLine>,
    ) -> Result<Stop, TrailReadError> {
        let mut lines = Lines::open(file, position)?;
        loop {
            let before = lines.position();
            if batch.len() == most {
                return Ok(Stop::Early(before));
            }
            let Some(text) = lines.next()? else { return Ok(Stop::EndOfFile(before)) };
            let Some(head) = line::line_head(text) else { continue };
            if head.seq > stable {
                return Ok(Stop::Early(before));
            }
            if head.seq > self.last_seq {
                self.last_seq = head.seq;
                batch.push(StableLine { seq: head.seq, text: text.to_owned() });
            }
        }
    }

    /// The file with that line, or the first file if the line was deleted.
    fn file_of(&self, seq: u64) -> Result<Option<TrailSegment>, TrailReadError> {
        let files = read::files(&self.directory)?;
        let index = files.iter().rposition(|file| file.first_seq <= seq).unwrap_or(0);
        Ok(files.into_iter().nth(index))
    }

    fn next_file(&self, file: &TrailSegment) -> Result<Option<TrailSegment>, TrailReadError> {
        let files = read::files(&self.directory)?;
        Ok(files.into_iter().find(|later| later.first_seq > file.first_seq))
    }
}

/// The last line of the log; 0 if there is none.
pub(super) fn last_seq(directory: &Path) -> Result<u64, TrailReadError> {
    let files = read::files(directory)?;
    let Some(file) = files.last() else { return Ok(0) };
    let (mut lines, mut last) = (Lines::open(file, 0)?, file.first_seq.saturating_sub(1));
    while let Some(text) = lines.next()? {
        last = line::line_head(text).map_or(last, |head| head.seq);
    }
    Ok(last)
}

/// Where a read stopped, as an offset.
#[derive(Clone, Copy)]
enum Stop {
    EndOfFile(u64),
    Early(u64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{Settings, Trail, testing::record},
        domain::ByteSize,
    };

    #[test]
    fn every_line_is_read_once_whatever_the_batches() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings { segment_bytes: ByteSize(5_000), ..Settings::new(home.path()) };
        let trail = Trail::open(&settings).unwrap();
        for _ in 0..30 {
            trail.submit(record());
            while trail.stats().queued > 0 {
                std::thread::yield_now();
            }
        }
        let last = trail.close().unwrap();
        for most in [1, 7, 1000] {
            let mut reader = BatchReader::new(home.path(), 0);
            let mut seen = Vec::new();
            for _ in 0..200 {
                let lines = reader.next(most, last).unwrap();
                assert!(lines.len() <= most);
                seen.extend(lines.iter().map(|line| line.seq));
            }
            assert_eq!(seen, (1..=last).collect::<Vec<_>>(), "batches of {most}");
        }
        let mut reader = BatchReader::new(home.path(), 10);
        let lines = reader.next(1000, 20).unwrap();
        let seen: Vec<_> = lines.iter().map(|line| line.seq).collect();
        assert_eq!(seen, (11..=20).collect::<Vec<_>>(), "none behind what is in stable storage");
    }
}
