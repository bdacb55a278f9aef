//! Why an event log cannot be used.

use serde::Serialize;

/// Why an event log cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// 403.
    Forbidden,
    /// 404.
    Missing,
    /// The answer is no list of events.
    Form,
    /// An event has no time.
    NoTime,
    /// There are events from before the time that was asked for, or they are in no order.
    Unordered,
    /// The answer has no `Date`, or it comes from another cache.
    NoDate,
}

impl Stopped {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Forbidden, Self::Missing, Self::Form, Self::NoTime, Self::Unordered, Self::NoDate];

    /// The value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Form => "form",
            Self::NoTime => "no_time",
            Self::Unordered => "unordered",
            Self::NoDate => "no_date",
        }
    }

    /// The same in words.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Forbidden => "Pigello answers 403: the activation may not read it",
            Self::Missing => "Pigello answers 404: it is not at `notices.path`",
            Self::Form => "the answer is no list of events",
            Self::NoTime => "an event has no `created_at`",
            Self::Unordered => "the events are not those that were asked for, or in no order",
            Self::NoDate => "the answer has no `Date`, or comes from a cache on the way",
        }
    }
}
