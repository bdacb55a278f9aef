//! The failure of a command: the message for a person, and the exit code.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};

use crate::{
    config::{Problem, Problems},
    domain::visible,
};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is invalid: exit code 2.
    Configuration(Problems),
    /// A file of rules has mistakes, or a gateway refused its configuration: exit code 2. The text says what
    /// follows from it.
    Mistakes(Vec<Message>, &'static str),
    /// The usage is wrong: exit code 2.
    Usage(Message),
    /// It failed while running: exit code 1.
    Failed(Message),
    /// The reader of the output has seen enough, as in `config show | head`: nothing is said, exit code 0.
    ReaderLeft,
}

/// The error in one sentence, and its remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    text: String,
    hint: Option<String>,
}

impl Message {
    /// A message.
    pub fn new(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { text: text.into(), hint }
    }
}

impl Failure {
    /// Wrong usage: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(Message { text: text.into(), hint: None })
    }

    /// Failed while running: exit code 1.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(Message { text: text.into(), hint: None })
    }

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Configuration(_) | Self::Mistakes(..) | Self::ReaderLeft => {}
            Self::Usage(message) | Self::Failed(message) => message.hint = Some(hint.into()),
        }
        self
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// 2 for bad usage or a bad configuration, 1 for what failed while running, 0 if nothing failed.
    pub fn code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Mistakes(..) | Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::ReaderLeft => 0,
        }
    }

    /// The error and its remedy, without colours.
    pub fn text(&self) -> (String, Option<&str>) {
        match self {
            Self::Configuration(problems) => (problems.to_string(), None),
            Self::Mistakes(mistakes, _) => {
                let texts: Vec<_> = mistakes.iter().map(|mistake| &*mistake.text).collect();
                (texts.join("\n"), None)
            }
            Self::Usage(message) | Self::Failed(message) => {
                (message.text.clone(), message.hint.as_deref())
            }
            Self::ReaderLeft => (String::new(), None),
        }
    }

    /// Reports the failure in the log, where standard error has nothing else.
    pub(super) fn log(&self) {
        match self {
            Self::Configuration(problems) => {
                for problem in problems.iter() {
                    let (problem, hint) = problem.words();
                    tracing::error!(%problem, hint, "configuration refused; nothing was started");
                }
            }
            Self::Mistakes(mistakes, _) => mistakes.iter().for_each(Message::log),
            Self::Usage(message) | Self::Failed(message) => message.log(),
            Self::ReaderLeft => {}
        }
    }

    /// Prints the failure; `to` decides about colours.
    pub fn report(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Configuration(problems) => {
                for problem in problems.iter() {
                    tell(to, "error", AnsiColor::Red, problem)?;
                }
                match problems.len() {
                    0 | 1 => Ok(()),
                    count => writeln!(to, "{count} problems"),
                }
            }
            Self::Mistakes(mistakes, end) => {
                mistakes.iter().try_for_each(|mistake| mistake.report(to))?;
                match mistakes.len() {
                    1 => writeln!(to, "{end}"),
                    count => writeln!(to, "{count} mistakes; {end}"),
                }
            }
            Self::Usage(message) | Self::Failed(message) => message.report(to),
            Self::ReaderLeft => Ok(()),
        }
    }
}

impl Message {
    fn log(&self) {
        let Self { text, hint } = self;
        tracing::error!(hint, "{text}");
    }

    fn report(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "{}: {}", Styled("error", AnsiColor::Red), lines(&self.text))?;
        match &self.hint {
            Some(hint) => writeln!(to, "  {}: {}", Styled("hint", AnsiColor::Cyan), lines(hint)),
            None => Ok(()),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderLeft;
        }
        Self::failed(format!("the output cannot be written: {error}"))
    }
}

/// One problem or warning, with its hint below.
pub(super) fn tell(
    to: &mut impl Write,
    word: &str,
    colour: AnsiColor,
    problem: &Problem,
) -> io::Result<()> {
    let text = lines(&problem.to_string());
    let mut lines = text.lines();
    writeln!(to, "{}: {}", Styled(word, colour), lines.next().unwrap_or_default())?;
    for line in lines {
        let hint = line.trim_start().strip_prefix("hint: ").unwrap_or(line);
        writeln!(to, "  {}: {hint}", Styled("hint", AnsiColor::Cyan))?;
    }
    Ok(())
}

/// A text of several lines, which may quote strangers.
fn lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// A coloured word.
pub(super) struct Styled<'a>(pub(super) &'a str, pub(super) AnsiColor);

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = Style::new().bold().fg_color(Some(self.1.into()));
        write!(f, "{style}{}{style:#}", self.0)
    }
}
