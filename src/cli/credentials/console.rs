//! Standard input and output of the command; tests substitute both.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use zeroize::Zeroizing;

use super::Failure;
use crate::secret::{SecretBuffer, SecretText};

/// Bound of a JSON object with seven values, with room for layout.
const MAX_JSON_BYTES: usize = 128 * 1024;

/// The command's input and output.
pub struct Console<'a> {
    input: Box<dyn Read + 'a>,
    terminal: Option<OwnedFd>,
    /// Input.
    pub out: Box<dyn Write + 'a>,
    /// Prompts and remarks.
    pub notes: Box<dyn Write + 'a>,
}

impl<'a> Console<'a> {
    /// For tests; `input` is not a terminal.
    pub fn new(input: impl Read + 'a, out: impl Write + 'a, notes: impl Write + 'a) -> Self {
        Self { input: Box::new(input), terminal: None, out: Box::new(out), notes: Box::new(notes) }
    }

    /// Standard input without std's buffer, which is never wiped.
    pub fn standard(out: impl Write + 'a, notes: impl Write + 'a) -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let terminal = io::stdin().is_terminal().then(|| stdin.try_clone()).transpose()?;
        Ok(Self {
            input: Box::new(File::from(stdin)),
            terminal,
            out: Box::new(out),
            notes: Box::new(notes),
        })
    }

    /// Reads one value: one hidden line on a terminal, otherwise all of the input.
    pub(in crate::cli) fn read_value(&mut self, label: &str) -> Result<SecretText, Failure> {
        let raw = match self.terminal.as_ref().map(OwnedFd::try_clone).transpose()? {
            Some(terminal) => {
                write!(self.notes, "{label}: ")?;
                self.notes.flush()?;
                let _quiet = NoEcho::on(terminal);
                let raw = self.read(SecretText::MAX_BYTES + 3, true);
                writeln!(self.notes)?;
                raw?
            }
            None => self.read(SecretText::MAX_BYTES + 3, false)?,
        };
        SecretText::parse(&raw)
            .map_err(|problem| Failure::failed(format!("`{label}` on standard input {problem}")))
    }

    /// Reads a JSON object.
    pub(super) fn read_json(&mut self) -> Result<SecretBuffer, Failure> {
        self.read(MAX_JSON_BYTES, false)
    }

    fn read(&mut self, limit: usize, one_line: bool) -> Result<SecretBuffer, Failure> {
        read_capped(&mut self.input, limit, one_line)
            .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))
    }
}

/// Reads a JSON object from a file.
pub(in crate::cli) fn read_json_file(path: &std::path::Path) -> Result<SecretBuffer, Failure> {
    File::open(path)
        .and_then(|mut file| read_capped(&mut file, MAX_JSON_BYTES, false))
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", path.display())))
}

/// Reads at most `limit` bytes into a buffer that never grows, because growing leaves a copy
/// behind.
fn read_capped(input: &mut dyn Read, limit: usize, one_line: bool) -> io::Result<SecretBuffer> {
    let mut raw = Zeroizing::new(Vec::with_capacity(limit));
    let mut chunk = Zeroizing::new([0_u8; 1024]);
    while raw.len() < limit && !(one_line && raw.last() == Some(&b'\n')) {
        let room = chunk.len().min(limit - raw.len());
        let read = match input.read(chunk.get_mut(..room).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        raw.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    if raw.len() == limit && limit == MAX_JSON_BYTES {
        return Err(io::Error::other("it is too long for seven values"));
    }
    Ok(raw)
}

/// A terminal with echo off, until it is dropped.
struct NoEcho {
    terminal: OwnedFd,
    before: Option<Termios>,
}

impl NoEcho {
    fn on(terminal: OwnedFd) -> Self {
        let before = termios::tcgetattr(&terminal).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            termios::tcsetattr(&terminal, OptionalActions::Flush, &quiet).ok();
        }
        Self { terminal, before }
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            termios::tcsetattr(&self.terminal, OptionalActions::Now, before).ok();
        }
    }
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}
