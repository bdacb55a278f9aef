//! Standard input and output of the command; tests substitute both.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write},
    os::fd::{AsFd as _, OwnedFd},
    process,
    sync::mpsc,
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{self, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios},
};
use zeroize::Zeroizing;

use super::{
    Failure,
    prompt::{Echo, Prompt, ask_for},
};
use crate::{
    cli::{block_on, signals::EndSignals},
    credentials::{ValueName, sealed::StoredValues},
    secret::{SecretBuffer, SecretText},
};

/// Bound of a JSON object with seven values, with room for layout.
const MAX_JSON_BYTES: usize = 128 * 1024;
/// Bound of a table, which makes no larger store.
const MAX_TABLE_BYTES: usize = 16 * 1024 * 1024;

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

    /// Whether somebody sits at a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Reads one value: all of the input, if it is no terminal.
    pub(super) fn read_value(&mut self, name: ValueName) -> Result<SecretText, Failure> {
        if self.is_terminal() {
            let value = ask_for(self, name, &StoredValues::default())?;
            // After the only answer, the rest of a paste would go to the shell.
            if self.terminal.as_ref().is_some_and(drop_rest) {
                return Err(Failure::failed(format!("{CUT}; nothing was written")));
            }
            return Ok(value);
        }
        let raw = self.read(SecretText::MAX_BYTES + 3, false)?;
        SecretText::parse(&raw).map_err(|problem| {
            Failure::failed(format!("`{}` on standard input {problem}", name.key()))
        })
    }

    /// Reads a table.
    pub(super) fn read_table(&mut self) -> Result<SecretBuffer, Failure> {
        if self.is_terminal() {
            return Err(Failure::usage("the table is read from standard input")
                .hint("`credentials import --table <customers.csv`"));
        }
        let table = self.read(MAX_TABLE_BYTES, false)?;
        if table.len() == MAX_TABLE_BYTES {
            return Err(Failure::usage("the table is larger than 16 MiB"));
        }
        Ok(table)
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
/// behind. A line ends with a line end, or with Ctrl-C while [`Hidden`].
fn read_capped(input: &mut dyn Read, limit: usize, one_line: bool) -> io::Result<SecretBuffer> {
    let mut raw = Zeroizing::new(Vec::with_capacity(limit));
    let mut chunk = Zeroizing::new([0_u8; 1024]);
    // What is behind the line is the next answer.
    let step = if one_line { 1 } else { chunk.len() };
    while raw.len() < limit && !(one_line && matches!(raw.last(), Some(b'\n' | &INTERRUPT))) {
        let room = step.min(limit - raw.len());
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

impl Prompt for Console<'_> {
    fn line(&mut self, label: &str, echo: Echo) -> Result<SecretBuffer, Failure> {
        loop {
            // Before the prompt: it drops what was typed so far, which the terminal has shown.
            let terminal = self.terminal.as_ref().filter(|_| echo == Echo::Off);
            let hidden =
                terminal.map(OwnedFd::try_clone).transpose()?.map(Hidden::on).transpose()?;
            write!(self.notes, "{label}: ")?;
            self.notes.flush()?;
            let line = self.read(SecretText::MAX_BYTES + 3, true);
            let is_cut = hidden.as_ref().is_some_and(|hidden| drop_rest(&hidden.terminal));
            let is_hidden = hidden.is_some();
            drop(hidden);
            if is_hidden {
                writeln!(self.notes)?;
            }
            let line = line?;
            match line.as_slice() {
                [] => {
                    return Err(Failure::usage("the input ended before everything was answered")
                        .hint("nothing was written"));
                }
                [.., INTERRUPT] => return Err(Failure::failed("interrupted; nothing was written")),
                _ if is_cut => self.say(&format!("{CUT}; give it on one line"))?,
                line if is_hidden && line.len() > LONGEST_LINE => self.say(&format!(
                    "a terminal takes {LONGEST_LINE} characters in one line, and this may have more; \
                     give it on standard input"
                ))?,
                _ => return Ok(line),
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.notes, "{text}")?)
    }
}

/// Drops what came behind a line, and says whether there was any. Of a paste with a line break only the first
/// line was read; the rest would be the next answer, or a command of the shell.
fn drop_rest(terminal: &OwnedFd) -> bool {
    let Ok(before) = termios::tcgetattr(terminal) else { return false };
    // A last line without a line end can be read only like this.
    let mut raw = before.clone();
    raw.local_modes.remove(LocalModes::ICANON);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios::tcsetattr(terminal, OptionalActions::Now, &raw).ok();
    let mut is_more = false;
    while comes_more(terminal) {
        is_more = true;
        if termios::tcflush(terminal, QueueSelector::IFlush).is_err() {
            break;
        }
    }
    termios::tcsetattr(terminal, OptionalActions::Now, &before).ok();
    is_more
}

/// Whether the terminal has input, or gets some within the pauses of a paste.
fn comes_more(terminal: &OwnedFd) -> bool {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut one = [PollFd::new(terminal, PollFlags::IN)];
    // The end of the terminal is no input.
    matches!(poll(&mut one, Some(&PAUSE)), Ok(1)) && one[0].revents() == PollFlags::IN
}

/// A terminal that shows nothing, until this is dropped or a signal ends the process. Ctrl-C ends the line in
/// place of the process.
struct Hidden {
    terminal: OwnedFd,
    before: Option<Termios>,
}

impl Hidden {
    fn on(terminal: OwnedFd) -> io::Result<Self> {
        let before = termios::tcgetattr(&terminal).ok();
        if let Some(before) = &before {
            show_again_at_the_end(terminal.try_clone()?, before.clone())?;
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
            quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
            termios::tcsetattr(&terminal, OptionalActions::Flush, &quiet).ok();
        }
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            termios::tcsetattr(&self.terminal, OptionalActions::Now, before).ok();
        }
    }
}

/// Restores the terminal when a signal ends the process.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the command is inside a read of the terminal, and no guard but this is open"
)]
fn show_again_at_the_end(terminal: OwnedFd, before: Termios) -> io::Result<()> {
    let (listens, listening) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let ended = block_on(async {
            let signals = EndSignals::listen().and_then(EndSignals::and_hangup);
            listens.send(()).ok();
            signals?.next().await;
            io::Result::Ok(())
        });
        if matches!(ended, Ok(Ok(()))) {
            termios::tcsetattr(&terminal, OptionalActions::Now, &before).ok();
            process::exit(1);
        }
    })?;
    // A signal before that would leave the terminal silent.
    listening.recv().ok();
    Ok(())
}

/// Ctrl-C.
const INTERRUPT: u8 = 3;

/// What a terminal gives of a longer line, besides its end: it drops the rest without a word.
const LONGEST_LINE: usize = 4095;

/// Why an answer with a line break is not taken.
const CUT: &str = "what was typed or pasted has more than one line, and none of it was taken";

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}
