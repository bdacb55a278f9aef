//! The output of a command whose exit code is its answer.

use std::io::{self, Write};

/// Writes as long as somebody reads. After that the command goes on to its answer, so `check | head` has the exit
/// code of `check`.
#[derive(Debug)]
pub(super) struct VerdictOutput<W>(pub(super) W);

impl<W: Write> Write for VerdictOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            done => done,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }
}
