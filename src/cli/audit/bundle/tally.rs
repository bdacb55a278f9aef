//! Number, size and digest of the lines of a file, while they are read or written.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::manifest::BundledFile;
use crate::domain::hex;

/// Lines, each with its newline, and their SHA-256.
#[derive(Clone)]
pub(super) struct Tally {
    /// How many lines.
    pub(super) lines: u64,
    /// How many bytes.
    pub(super) bytes: u64,
    digest: Context,
}

impl Default for Tally {
    fn default() -> Self {
        Self { lines: 0, bytes: 0, digest: Context::new(&SHA256) }
    }
}

impl Tally {
    /// The next line, without its newline.
    pub(super) fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        self.bytes += line.len() as u64 + 1;
        self.digest.update(line);
        self.digest.update(b"\n");
    }

    /// The lines as a file of a bundle.
    pub(super) fn as_file(&self, name: &str) -> BundledFile {
        let digest = self.digest.clone().finish();
        let sha256 = digest.as_ref().iter().flat_map(|byte| hex::digits(*byte)).map(char::from);
        BundledFile { name: name.to_owned(), bytes: self.bytes, sha256: sha256.collect() }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tally({} lines, {} bytes)", self.lines, self.bytes)
    }
}
