//! The report of the steps: lines for people, one JSON object for programs.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::cli::failure::Styled;

/// One step and its finding.
#[derive(Debug)]
pub(in crate::cli) struct Step {
    what: String,
    state: State,
    found: String,
    hint: Option<String>,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In order.
    Good,
    /// It works, but may not be intended.
    Doubtful,
    /// It does not work.
    Bad,
    /// Skipped.
    Skipped,
}

impl Step {
    /// In order.
    pub(in crate::cli) fn good(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(what, State::Good, found)
    }

    /// It works, but may not be intended.
    pub(in crate::cli) fn doubtful(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(what, State::Doubtful, found)
    }

    /// It does not work.
    pub(in crate::cli) fn bad(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(what, State::Bad, found)
    }

    /// Skipped, with the reason.
    pub(super) fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(what, State::Skipped, why)
    }

    fn new(what: impl Into<String>, state: State, found: impl Into<String>) -> Self {
        Self { what: what.into(), state, found: found.into(), hint: None }
    }

    /// With what was found before it.
    #[must_use]
    pub(super) fn after(mut self, found: &str) -> Self {
        self.found = format!("{found}; {}", self.found);
        self
    }

    /// Whether it does not work.
    pub(in crate::cli) fn is_bad(&self) -> bool {
        self.state == State::Bad
    }

    /// Adds the remedy.
    #[must_use]
    pub(in crate::cli) fn advise(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

/// All steps, in order.
#[derive(Debug, Default)]
pub(in crate::cli) struct Report(Vec<Step>);

impl Report {
    /// Adds a step.
    pub(in crate::cli) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    /// Adds steps.
    pub(in crate::cli) fn extend(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.0.extend(steps);
    }

    /// Adds the steps of another report.
    pub(in crate::cli) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The number of steps that failed.
    pub(in crate::cli) fn failed(&self) -> usize {
        self.0.iter().filter(|step| step.state == State::Bad).count()
    }

    /// Prints for people, under a heading.
    pub(in crate::cli) fn tell(&self, heading: &str, out: &mut impl Write) -> io::Result<()> {
        let bold = Style::new().bold();
        writeln!(out, "\n{bold}{heading}{bold:#}")?;
        let width = self.0.iter().map(|step| step.what.chars().count()).max().unwrap_or_default();
        for step in &self.0 {
            let (mark, colour) = match step.state {
                State::Good => ("✓", AnsiColor::Green),
                State::Doubtful => ("!", AnsiColor::Yellow),
                State::Bad => ("✗", AnsiColor::Red),
                State::Skipped => ("–", AnsiColor::BrightBlack),
            };
            let mark = Styled(mark, colour);
            writeln!(out, "  {:<width$}  {mark} {}", step.what, step.found)?;
            if let Some(hint) = &step.hint {
                for (at, line) in hint.lines().enumerate() {
                    let lead = if at == 0 { "hint: " } else { "      " };
                    let lead = Styled(lead, AnsiColor::Cyan);
                    writeln!(out, "  {:<width$}    {lead}{line}", "")?;
                }
            }
        }
        Ok(())
    }

    /// Prints for programs: `{"ok": …, "steps": [{"step", "state", "found", "hint"}]}`.
    pub(in crate::cli) fn to_json(&self) -> Value {
        let steps: Vec<_> = self
            .0
            .iter()
            .map(|step| {
                let state = match step.state {
                    State::Good => "ok",
                    State::Doubtful => "warning",
                    State::Bad => "failed",
                    State::Skipped => "skipped",
                };
                json!({
                    "step": step.what, "state": state, "found": step.found, "hint": step.hint,
                })
            })
            .collect();
        json!({ "ok": self.failed() == 0, "steps": steps })
    }
}
