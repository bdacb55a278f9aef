//! The filter options of the `audit` commands.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, FromArgMatches as _};
use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;

use super::error::AuditError;
use crate::audit::{self, CallLine, LineHead, OBJECT_KEY, ObjectKey};

/// A call matches if it meets all given conditions.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CallFilter {
    /// From this moment: 2026-03-01, 2026-03-01T08:00:00Z, or how long ago: 30m, 24h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<FilterTime>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<FilterTime>,
    /// The caller's name
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// The operation: subtenant.get, subtenant.*, *.get
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// The status sent to the caller: 200, or 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusPattern>,
    /// The outcome of the call
    #[arg(long, value_name = "OUTCOME", value_parser = ["forwarded", "cached", "refused", "failed"])]
    outcome: Option<String>,
    /// The object's UUID
    #[arg(long, value_name = "UUID")]
    object: Option<String>,
    /// The key that hashes object ids, if it is not in the trail's directory
    #[arg(long, value_name = "FILE", requires = "object")]
    object_key: Option<PathBuf>,
    /// The call's identifier, as X-Request-Id gave it
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl CallFilter {
    /// The time range, which selects the files to read.
    pub(super) fn range(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let at = |time: &Option<FilterTime>| time.as_ref().map(|time| time.at);
        (at(&self.since), at(&self.until))
    }

    /// Whether a line is in the time range.
    fn covers(&self, head: &LineHead<'_>) -> bool {
        self.since.as_ref().is_none_or(|since| head.time >= since.text.as_str())
            && self.until.as_ref().is_none_or(|until| head.time < until.text.as_str())
    }

    /// The conditions: the option and its value. [`CallFilter::of`] reads them.
    pub(super) fn conditions(&self) -> Vec<(&'static str, String)> {
        let text = |time: &Option<FilterTime>| time.as_ref().map(|time| time.text.clone());
        [
            ("since", text(&self.since)),
            ("until", text(&self.until)),
            ("caller", self.caller.clone()),
            ("operation", self.operation.clone()),
            ("status", self.status.map(StatusPattern::pattern)),
            ("outcome", self.outcome.clone()),
            ("object", self.object.clone()),
            ("request-id", self.request_id.clone()),
        ]
        .into_iter()
        .filter_map(|(option, value)| Some((option, value?)))
        .collect()
    }

    /// The filter with these conditions and no other; `None` if one cannot be used.
    pub(super) fn of<'a>(
        conditions: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Option<Self> {
        let words = conditions.into_iter().map(|(option, value)| format!("--{option}={value}"));
        let command = Self::augment_args(clap::Command::new("filter").no_binary_name(true));
        let filter = Self::from_arg_matches(&command.try_get_matches_from(words).ok()?).ok()?;
        // Whoever wrote the conditions must not have a file of this machine read.
        filter.object_key.is_none().then_some(filter)
    }

    /// The name of the object in a trail with hashed object ids, if it is known.
    pub(super) fn hashed_object(&self, directory: &Path) -> Result<Option<String>, AuditError> {
        let default_key = directory.join(OBJECT_KEY);
        let key =
            self.object_key.as_deref().or_else(|| default_key.exists().then_some(&*default_key));
        Ok(match (&self.object, key) {
            (Some(object), Some(key)) => Some(ObjectKey::read(key)?.name(object)),
            _ => None,
        })
    }

    /// Prepares the filter for many lines.
    pub(super) fn prepare(&self, directory: &Path) -> Result<PreparedFilter<'_>, AuditError> {
        Ok(self.with_hashed_object(self.hashed_object(directory)?))
    }

    /// Prepares the filter, with the name of the object in a trail with hashed object ids.
    pub(super) fn with_hashed_object(&self, hashed: Option<String>) -> PreparedFilter<'_> {
        let needle = |key: &str, value: &Option<String>| {
            let value = value.as_deref()?;
            // Only for text that a line holds without escapes; otherwise every line is parsed.
            let plain =
                value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
            plain.then(|| Finder::new(&format!("\"{key}\":\"{value}\"")).into_owned())
        };
        let needles = [
            needle("caller", &self.caller),
            needle("outcome", &self.outcome),
            needle("request_id", &self.request_id),
            needle("operation", &self.operation.clone().filter(|name| !name.contains('*'))),
            self.status.map(|status| Finder::new(&format!("\"status\":{status}")).into_owned()),
        ];
        PreparedFilter {
            filter: self,
            object: self.object.as_ref().map(|object| object.to_ascii_lowercase()),
            hashed,
            needles: needles.into_iter().flatten().collect(),
        }
    }
}

/// A filter with precomputed search texts.
#[derive(Debug)]
pub(super) struct PreparedFilter<'a> {
    filter: &'a CallFilter,
    object: Option<String>,
    /// The object's name in a trail with hashed object ids.
    hashed: Option<String>,
    /// Every matching line contains these texts, so most other lines need no parsing.
    needles: Vec<Finder<'static>>,
}

impl PreparedFilter<'_> {
    /// The line's marker, if it is in the time range.
    pub(super) fn marker<'l>(&self, line: &'l [u8]) -> Option<LineHead<'l>> {
        audit::line_head(line).filter(|head| head.kind != "call" && self.filter.covers(head))
    }

    /// The line's call, if it matches.
    pub(super) fn matching<'l>(&self, line: &'l [u8]) -> Option<CallLine<'l>> {
        if self.needles.iter().any(|needle| needle.find(line).is_none()) {
            return None;
        }
        let head = audit::line_head(line)?;
        if !self.filter.covers(&head) {
            return None;
        }
        audit::call_line(line).filter(|call| self.matches(call))
    }

    fn matches(&self, call: &CallLine<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let CallFilter { caller, outcome, request_id, status, operation, .. } = self.filter;
        same(caller, call.caller.as_deref())
            && same(outcome, Some(&call.outcome))
            && same(request_id, Some(&call.request_id))
            && self.matches_object(call.object_id.as_deref())
            && status.is_none_or(|status| call.status.is_some_and(|s| status.matches(s)))
            && operation.as_deref().is_none_or(|wanted| {
                call.operation.as_deref().is_some_and(|o| operation_matches(wanted, o))
            })
    }

    fn matches_object(&self, found: Option<&str>) -> bool {
        match (&self.object, found) {
            (None, _) => true,
            (Some(object), Some(found)) => {
                found.eq_ignore_ascii_case(object) || self.hashed.as_deref() == Some(found)
            }
            (Some(_), None) => false,
        }
    }
}

/// Compares texts, because a trail may hold operations of an older configuration.
fn operation_matches(pattern: &str, operation: &str) -> bool {
    let part = |pattern: &str, part: &str| pattern == "*" || pattern == part;
    match (pattern.split_once('.'), operation.split_once('.')) {
        (None, _) => pattern == "*" || pattern == operation,
        (Some((entity, action)), Some((e, a))) => part(entity, e) && part(action, a),
        (Some(_), None) => false,
    }
}

/// A time, and its text in the trail. The texts sort like the times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FilterTime {
    at: Timestamp,
    text: String,
}

impl FromStr for FilterTime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| format!("{text}T00:00:00Z").parse().ok())
            .or_else(|| ago(text))
            .ok_or("write it as 2026-03-01, 2026-03-01T08:00:00Z, or how long ago: 30m, 24h, 7d")?;
        Ok(Self { at, text: format!("{at:.6}") })
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
enum StatusPattern {
    Exactly(u16),
    Class(u16),
}

impl StatusPattern {
    fn matches(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == status,
            Self::Class(wanted) => wanted == status / 100,
        }
    }

    /// The pattern as it was given.
    fn pattern(self) -> String {
        match self {
            Self::Exactly(status) => status.to_string(),
            Self::Class(class) => format!("{class}xx"),
        }
    }
}

/// The beginning of the number.
impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(number) | Self::Class(number) => number.fmt(f),
        }
    }
}

impl FromStr for StatusPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.strip_suffix("xx") {
            Some(class) => class.parse().ok().filter(|c| (1..=5).contains(c)).map(Self::Class),
            None => text.parse().ok().filter(|s| (100..=599).contains(s)).map(Self::Exactly),
        };
        number.ok_or("write it as 404 or 4xx")
    }
}
