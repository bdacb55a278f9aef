//! Reads a private file with a token a line: `[admin] token_file` and `notices.webhook.tokens_file`.
//!
//! Empty lines and lines that begin with `#` are left out. What else a line has is up to whose file it is.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::files::{PrivateFileError, open_private};

/// Reads the entries of a file that must be private ([`open_private`]), and smaller than `max_bytes`. `entry` reads a
/// line, beside the entries before it.
pub fn read<T>(
    path: &Path,
    max_bytes: usize,
    entry: impl Fn(&[u8], &[T]) -> Result<T, &'static str>,
) -> Result<Vec<T>, TokenFileError> {
    // It never grows, so no copy of a token stays behind.
    let mut text = Zeroizing::new(Vec::with_capacity(max_bytes));
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let read = open_private(path)?.take(limit).read_to_end(&mut text);
    read.map_err(|source| TokenFileError::Unreadable { path: path.to_owned(), source })?;
    parse(&text, max_bytes, entry).map_err(|(line, what)| TokenFileError::Line {
        path: path.to_owned(),
        line,
        what,
    })
}

/// The entries of a text; or the line, counted from 1, and what is wrong with it.
pub fn parse<T>(
    text: &[u8],
    max_bytes: usize,
    entry: impl Fn(&[u8], &[T]) -> Result<T, &'static str>,
) -> Result<Vec<T>, (usize, &'static str)> {
    let mut entries = Vec::new();
    if text.len() == max_bytes {
        return Err((1, "the file is too large for one of tokens"));
    }
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() && !line.starts_with(b"#") {
            entries.push(entry(line, &entries).map_err(|what| (at + 1, what))?);
        }
    }
    if entries.is_empty() { Err((1, "there is no token")) } else { Ok(entries) }
}

/// Checks that a token is too long to be guessed.
pub fn check_length(token: &str) -> Result<(), &'static str> {
    if token.len() < MIN_TOKEN {
        return Err("the token has less than 32 characters; `openssl rand -hex 32` makes one");
    }
    Ok(())
}

/// What is said of a token that stands in a file again.
pub const TWICE: &str = "the token stands there twice";

/// Why a file of tokens is not used. No message quotes a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It is no private file.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The shortest token: 128 bits in hexadecimal digits.
const MIN_TOKEN: usize = 32;
