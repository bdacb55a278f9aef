//! Reads a trail from its first line to its last, also while a gateway writes it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use super::directory::Segment;

/// Why a trail cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the audit trail cannot be read: {}", path.display())]
pub struct ReadError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Hands every whole line to `use_line`, without its line end, until that returns `false`.
pub fn for_each_line<E: From<ReadError>>(
    directory: &Path,
    mut use_line: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    for segment in list(directory)? {
        let mut lines = Lines::open(&segment.path, 0)?;
        while let Some(line) = lines.next()? {
            if !use_line(line)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

pub(super) fn list(directory: &Path) -> Result<Vec<Segment>, ReadError> {
    Segment::list(directory).map_err(|source| ReadError { path: directory.to_owned(), source })
}

/// The whole lines of one file.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    bytes: Vec<u8>,
    position: u64,
}

impl Lines {
    pub(super) fn open(path: &Path, position: u64) -> Result<Self, ReadError> {
        let open = || {
            let mut reader = BufReader::with_capacity(BUFFER, File::open(path)?);
            reader.seek(SeekFrom::Start(position))?;
            Ok(reader)
        };
        let reader = open().map_err(|source| ReadError { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), reader, bytes: Vec::new(), position })
    }

    /// The next line. The last line of a trail that is being written may be on its way: it is left
    /// out until it is whole.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.bytes.clear();
        let read = self
            .reader
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| ReadError { path: self.path.clone(), source })?;
        let whole = self.bytes.strip_suffix(b"\n");
        if whole.is_some() {
            self.position += read as u64;
        }
        Ok(whole)
    }
}

/// Reads a trail as it grows.
#[derive(Debug)]
pub struct Follow {
    directory: PathBuf,
    current: Option<Segment>,
    position: u64,
}

impl Follow {
    /// Begins with the first line that is there.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), current: None, position: 0 }
    }

    /// Hands over every line that came since the last time.
    pub fn read<E: From<ReadError>>(
        &mut self,
        mut use_line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for segment in list(&self.directory)? {
            let position = match &self.current {
                Some(current) if segment.first_seq < current.first_seq => continue,
                Some(current) if segment == *current => self.position,
                _ => 0,
            };
            let mut lines = Lines::open(&segment.path, position)?;
            while let Some(line) = lines.next()? {
                use_line(line)?;
            }
            self.position = lines.position;
            self.current = Some(segment);
        }
        Ok(())
    }
}

const BUFFER: usize = 1 << 20;
