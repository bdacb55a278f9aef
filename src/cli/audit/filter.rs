//! Which calls are meant.

use std::str::FromStr;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::trail::Call;

/// Every condition that is given must hold.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// From this moment: 2026-03-01, 2026-03-01T08:00:00Z, or how long ago: 30m, 24h, 7d.
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<Moment>,
    /// Before this moment.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<Moment>,
    /// The caller's name.
    #[arg(long, value_name = "NAME")]
    pub(super) caller: Option<String>,
    /// The operation: subtenant.get, subtenant.*, *.get.
    #[arg(long, value_name = "OPERATION")]
    pub(super) operation: Option<String>,
    /// The caller's status: 200, or 4xx.
    #[arg(long, value_name = "STATUS")]
    pub(super) status: Option<Status>,
    /// forwarded, cached, refused or failed.
    #[arg(long, value_name = "OUTCOME", value_parser = ["forwarded", "cached", "refused", "failed"])]
    pub(super) outcome: Option<String>,
    /// The object's UUID.
    #[arg(long, value_name = "UUID")]
    pub(super) object: Option<String>,
    /// The call's identifier, as X-Request-Id gave it.
    #[arg(long, value_name = "ID")]
    pub(super) request_id: Option<String>,
}

impl Filter {
    pub(super) fn matches(&self, call: &Call<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.since.as_ref().is_none_or(|since| *call.time >= *since.0)
            && self.until.as_ref().is_none_or(|until| *call.time < *until.0)
            && same(&self.caller, call.caller.as_deref())
            && same(&self.outcome, Some(&call.outcome))
            && same(&self.object, call.object_id.as_deref())
            && same(&self.request_id, Some(&call.request_id))
            && self.status.is_none_or(|status| call.status.is_some_and(|s| status.matches(s)))
            && self
                .operation
                .as_deref()
                .is_none_or(|wanted| call.operation.as_deref().is_some_and(|o| fits(wanted, o)))
    }
}

/// Names of the trail may be those of an older configuration, so this is plain text matching.
fn fits(pattern: &str, operation: &str) -> bool {
    let part = |pattern: &str, part: &str| pattern == "*" || pattern == part;
    match (pattern.split_once('.'), operation.split_once('.')) {
        (None, _) => pattern == "*" || pattern == operation,
        (Some((entity, action)), Some((e, a))) => part(entity, e) && part(action, a),
        (Some(_), None) => false,
    }
}

/// A moment in the form of the trail, so that text compares as time does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) String);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| format!("{text}T00:00:00Z").parse().ok())
            .or_else(|| ago(text))
            .ok_or("write it as 2026-03-01, 2026-03-01T08:00:00Z, or how long ago: 30m, 24h, 7d")?;
        Ok(Self(format!("{moment:.6}")))
    }
}

fn ago(text: &str) -> Option<Timestamp> {
    let (at, unit) = text.char_indices().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u32 = text.get(..at)?.parse().ok()?;
    Timestamp::now().checked_sub(SignedDuration::from_secs(i64::from(number) * seconds)).ok()
}

/// `404` or `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Exactly(u16),
    Class(u16),
}

impl Status {
    fn matches(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == status,
            Self::Class(wanted) => wanted == status / 100,
        }
    }
}

impl FromStr for Status {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.strip_suffix("xx") {
            Some(class) => class.parse().ok().filter(|c| (1..=5).contains(c)).map(Self::Class),
            None => text.parse().ok().filter(|s| (100..=599).contains(s)).map(Self::Exactly),
        };
        number.ok_or("write it as 404 or 4xx")
    }
}
