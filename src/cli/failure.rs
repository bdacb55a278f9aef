//! How a command ends that does not succeed: what a person reads, and the exit code.

use std::{
    fmt,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

use crate::config::{Problem, Problems};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is not in order.
    #[error("the configuration is not in order")]
    Configuration(#[from] Problems),
    /// Standard output is gone.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

impl Failure {
    /// 2 for a bad configuration, 1 for what failed while running.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Output(_) => 1,
        }
    }

    /// Tells a person; `to` decides whether colours are shown.
    pub fn report(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Configuration(problems) => {
                let count = problems.len();
                for problem in problems.iter() {
                    tell(to, "error", AnsiColor::Red, problem)?;
                }
                if count > 1 {
                    writeln!(to, "{count} problems; nothing was started")?;
                }
                Ok(())
            }
            Self::Output(error) => {
                writeln!(to, "{}: {self}: {error}", Styled("error", AnsiColor::Red))
            }
        }
    }
}

/// One problem or warning, with its hint below it.
pub(super) fn tell(
    to: &mut impl Write,
    word: &str,
    colour: AnsiColor,
    problem: &Problem,
) -> io::Result<()> {
    let text = problem.to_string();
    let mut lines = text.lines();
    writeln!(to, "{}: {}", Styled(word, colour), lines.next().unwrap_or_default())?;
    for line in lines {
        let hint = line.trim_start().strip_prefix("hint: ").unwrap_or(line);
        writeln!(to, "  {}: {hint}", Styled("hint", AnsiColor::Cyan))?;
    }
    Ok(())
}

/// A word in a colour.
pub(super) struct Styled<'a>(pub(super) &'a str, pub(super) AnsiColor);

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = Style::new().bold().fg_color(Some(self.1.into()));
        write!(f, "{style}{}{style:#}", self.0)
    }
}
