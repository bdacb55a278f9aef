//! `--expect`: what should become of a request, for tests of a policy.

use std::{fmt, str::FromStr};

use super::explanation::{Explanation, Verdict};
use crate::{cli::Failure, config::suggestion, error::Kind};

/// What should become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation(Expected);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Verdict(Verdict),
    /// It is refused with this error.
    Refusal(Kind),
}

impl Expectation {
    /// Fails if something else becomes of it.
    pub(super) fn check(self, explanation: &Explanation) -> Result<(), Failure> {
        let Explanation { verdict, error, .. } = explanation;
        let is_met = match self.0 {
            Expected::Verdict(expected) => *verdict == expected,
            Expected::Refusal(kind) => *verdict == Verdict::Refused && *error == Some(kind.label()),
        };
        if is_met {
            return Ok(());
        }
        let found = match error {
            Some(error) => format!("{} (`{error}`)", verdict.name()),
            None => verdict.name().to_owned(),
        };
        Err(Failure::failed(format!("expected `{self}`, and the request is {found}")))
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
        let refusal = || Kind::by_label(text).map(Expected::Refusal);
        let expected = verdict.map(Expected::Verdict).or_else(refusal);
        expected.map(Self).ok_or_else(|| {
            let verdicts = Verdict::ALL.map(Verdict::name);
            let known: Vec<_> =
                verdicts.into_iter().chain(Kind::ALL.iter().map(|kind| kind.label())).collect();
            let near = suggestion(text, &known, "there are").map(|near| format!("; {near}"));
            format!(
                "it is neither {} nor the name of an error{}",
                verdicts.map(|verdict| format!("`{verdict}`")).join(", "),
                near.unwrap_or_default()
            )
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Expected::Verdict(verdict) => verdict.name(),
            Expected::Refusal(kind) => kind.label(),
        })
    }
}
