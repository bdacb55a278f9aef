//! The complete lines of one file of a trail.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
};

use super::directory::TrailSegment;
use crate::process::files::open_own;

/// Why a trail cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the audit trail cannot be read: {}", path.display())]
pub struct TrailReadError {
    /// The file or directory.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

impl TrailReadError {
    /// Whether the content of a compressed file is damaged, so that no other attempt reads more of it.
    pub(super) fn is_damage(&self, file: &TrailSegment) -> bool {
        let is_of_system = self.source.raw_os_error().is_some();
        let is_of_opening = self.source.kind() == io::ErrorKind::InvalidInput;
        file.compressed && !is_of_system && !is_of_opening
    }
}

/// The complete lines of one file.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    bytes: Vec<u8>,
    position: u64,
}

impl Lines {
    /// Opens the file at a position in its uncompressed text, also if the retention has compressed it in
    /// the meantime.
    pub(super) fn open(file: &TrailSegment, position: u64) -> Result<Self, TrailReadError> {
        Self::open_with(file, position, BUFFER)
    }

    /// The same with a buffer of that size, in bytes.
    pub(super) fn open_with(
        file: &TrailSegment,
        position: u64,
        buffer: usize,
    ) -> Result<Self, TrailReadError> {
        let opened = match Self::reader(file, position, buffer) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.compressed => {
                Self::reader(&file.compressed(), position, buffer)
            }
            opened => opened,
        };
        match opened {
            Ok(reader) => Ok(Self { path: file.path.clone(), reader, bytes: Vec::new(), position }),
            Err(source) => Err(TrailReadError { path: file.path.clone(), source }),
        }
    }

    fn reader(
        file: &TrailSegment,
        position: u64,
        buffer: usize,
    ) -> io::Result<Box<dyn BufRead + Send>> {
        let mut open = open_own(&file.path)?;
        if file.compressed {
            let decoder = zstd::Decoder::new(open)?;
            let mut reader = BufReader::with_capacity(buffer, decoder);
            io::copy(&mut io::Read::take(&mut reader, position), &mut io::sink())?;
            Ok(Box::new(reader))
        } else {
            open.seek(SeekFrom::Start(position))?;
            Ok(Box::new(BufReader::with_capacity(buffer, open)))
        }
    }

    /// The rest of the file.
    pub(super) fn into_reader(self) -> Box<dyn BufRead + Send> {
        self.reader
    }

    /// The next complete line, without its newline. `None` at the end of the file, and while the last
    /// line is incomplete.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TrailReadError> {
        self.bytes.clear();
        let read = self
            .reader
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| TrailReadError { path: self.path.clone(), source })?;
        let line = self.bytes.strip_suffix(b"\n");
        if line.is_some() {
            self.position += read as u64;
        }
        Ok(line)
    }

    /// The position after the last line, in the file's uncompressed text.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} at {})", self.path.display(), self.position)
    }
}

/// What a reader of whole files takes at a time.
pub(super) const BUFFER: usize = 1 << 20;
