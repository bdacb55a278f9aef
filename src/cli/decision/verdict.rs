//! What becomes of a request, and what should.

use std::{fmt, str::FromStr};

use anstyle::AnsiColor;
use serde::Serialize;

use super::Decision;
use crate::{config::suggestion, error::Kind};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Verdict {
    /// It is sent to Pigello, or answered from memory.
    Allowed,
    /// The gateway refuses it.
    Refused,
    /// It would be refused, and the policy only reports.
    Reported,
    /// The gateway itself answers.
    Answered,
}

impl Verdict {
    /// All of them.
    const ALL: [Self; 4] = [Self::Allowed, Self::Refused, Self::Reported, Self::Answered];

    /// The word for it.
    pub(in crate::cli) const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Reported => "reported",
            Self::Answered => "answered",
        }
    }

    pub(in crate::cli) const fn colour(self) -> AnsiColor {
        match self {
            Self::Allowed | Self::Answered => AnsiColor::Green,
            Self::Reported => AnsiColor::Yellow,
            Self::Refused => AnsiColor::Red,
        }
    }
}

/// The errors that a request decides by its head. All others depend on further calls, on the body as it comes, on
/// the connection, on the state of the gateway, or on Pigello.
const REFUSALS: [Kind; 16] = [
    Kind::Malformed,
    Kind::TargetNotCanonical,
    Kind::HostForbidden,
    Kind::CrossSite,
    Kind::Unidentified,
    Kind::NotAllowed,
    Kind::ProfileNotNamed,
    Kind::ProfileNotAllowed,
    Kind::ProfileUnknown,
    Kind::OperationUnknown,
    Kind::MethodRefused,
    Kind::NotImplemented,
    Kind::ExpectationFailed,
    Kind::BodyTooLarge,
    Kind::TargetTooLong,
    Kind::HeadersTooLarge,
];

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
    /// It is refused, for whatever reason.
    pub(in crate::cli) const REFUSED: Self = Self(Expected::Verdict(Verdict::Refused));

    /// Whether that becomes of it.
    pub(in crate::cli) fn is_met(self, Decision { verdict, error, .. }: &Decision) -> bool {
        match self.0 {
            Expected::Verdict(expected) => *verdict == expected,
            Expected::Refusal(kind) => *verdict == Verdict::Refused && *error == Some(kind),
        }
    }
}

impl Decision {
    /// The verdict, with the error.
    pub(in crate::cli) fn in_words(&self) -> String {
        match self.error {
            Some(error) => format!("{} (`{}`)", self.verdict.name(), error.label()),
            None => self.verdict.name().to_owned(),
        }
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == text);
        let refusal = Kind::by_label(text);
        if refusal.is_some_and(|kind| !REFUSALS.contains(&kind)) {
            return Err(format!("`{text}` is never decided by the request alone"));
        }
        let expected = verdict.map(Expected::Verdict).or(refusal.map(Expected::Refusal));
        expected.map(Self).ok_or_else(|| {
            let verdicts = Verdict::ALL.map(Verdict::name);
            let known: Vec<_> =
                verdicts.into_iter().chain(REFUSALS.iter().map(|kind| kind.label())).collect();
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
