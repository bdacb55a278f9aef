//! The filter options of the `audit` commands.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, FromArgMatches as _};
use jiff::Timestamp;
use memchr::memmem::Finder;

use super::error::AuditError;
use crate::{
    audit::{self, CallLine, LineHead, OBJECT_KEY, ObjectKey},
    cli::time::{Moment, Period, Zone},
    domain::{
        OperationPattern, ProfileName, ProfilePattern, ProfilePatternError, UNIDENTIFIED, is_uuid,
    },
};

/// A call matches if it meets all given conditions.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct CallFilter {
    /// From this moment: 2026-03, 2026-03-14, 2026-03-14T08:00+01:00, or how long ago: 30m, 2h30m, 90d, 2w
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// A whole month or day: 2026-03, 2026-03-14
    #[arg(long, value_name = "PERIOD", conflicts_with_all = ["since", "until"])]
    during: Option<Period>,
    /// The time zone of these times, and of the times in tables: Europe/Stockholm, UTC, or local
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: Zone,
    /// The caller's name; (unidentified) for calls without one
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// The operation: subtenant.get, subtenant.*, *.get
    #[arg(long, value_name = "OPERATION")]
    operation: Option<OperationPattern>,
    /// The profile: customer-acme, or customer-* for all that begin like this; (none) for calls that were refused
    /// before they had one
    #[arg(long, value_name = "PROFILE")]
    profile: Option<ProfileFilter>,
    /// The status sent to the caller: 200, or 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusPattern>,
    /// The outcome of the call
    #[arg(long, value_name = "OUTCOME", value_parser = ["forwarded", "cached", "refused", "failed"])]
    outcome: Option<String>,
    /// The object's UUID, or its hashed name (~ and 32 digits)
    #[arg(long, value_name = "UUID")]
    object: Option<ObjectName>,
    /// The key that hashes object ids, if it is not in the trail's directory
    #[arg(long, value_name = "FILE", requires = "object")]
    object_key: Option<PathBuf>,
    /// The call's identifier, as X-Request-Id gave it
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl CallFilter {
    /// The time range that is asked for.
    pub(super) fn range(&self) -> TimeRange {
        let now = Timestamp::now();
        if let Some(period) = self.during {
            let (since, until) = period.range(&self.timezone);
            return TimeRange { since: Some(since.into()), until: Some(until.into()) };
        }
        let at =
            |moment: Option<Moment>| moment.map(|moment| moment.at(&self.timezone, now).into());
        TimeRange { since: at(self.since), until: at(self.until) }
    }

    /// The time range that is asked for, if it ends after it begins.
    pub(super) fn asked_range(&self) -> Result<TimeRange, AuditError> {
        let range = self.range();
        match (range.since(), range.until()) {
            (Some(since), Some(until)) if until <= since => {
                Err(AuditError::EmptyPeriod { since, until })
            }
            _ => Ok(range),
        }
    }

    /// The time zone of what people read.
    pub(in crate::cli) fn zone(&self) -> &Zone {
        &self.timezone
    }

    /// The name of the caller that is asked for, if it is one.
    pub(super) fn caller(&self) -> Option<&str> {
        self.caller.as_deref().filter(|name| *name != UNIDENTIFIED)
    }

    /// The operations that are asked for.
    pub(super) fn operation(&self) -> Option<&OperationPattern> {
        self.operation.as_ref()
    }

    /// The object that is asked for.
    pub(super) fn object(&self) -> Option<&ObjectName> {
        self.object.as_ref()
    }

    /// The conditions besides the time: the option and its value.
    pub(super) fn conditions(&self) -> Vec<(&'static str, String)> {
        let text = |value: &dyn fmt::Display| value.to_string();
        [
            ("caller", self.caller.clone()),
            ("operation", self.operation.as_ref().map(|pattern| text(pattern))),
            ("profile", self.profile.as_ref().map(|pattern| text(pattern))),
            ("status", self.status.as_ref().map(|status| text(status))),
            ("outcome", self.outcome.clone()),
            ("object", self.object.as_ref().map(|object| object.0.clone())),
            ("request-id", self.request_id.clone()),
        ]
        .into_iter()
        .filter_map(|(option, value)| Some((option, value?)))
        .collect()
    }

    /// The filter with these conditions, and times, and no other; `None` if one cannot be used.
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
            (Some(object), Some(key)) if !object.is_hashed() => {
                Some(ObjectKey::read(key)?.name(&object.0))
            }
            _ => None,
        })
    }

    /// Prepares the filter for the lines of one trail.
    pub(super) fn prepare<'a>(
        &'a self,
        range: &'a TimeRange,
        directory: &Path,
    ) -> Result<PreparedFilter<'a>, AuditError> {
        Ok(self.with_hashed_object(range, self.hashed_object(directory)?))
    }

    /// Prepares the filter, with the name of the object in a trail with hashed object ids.
    pub(super) fn with_hashed_object<'a>(
        &'a self,
        range: &'a TimeRange,
        hashed: Option<String>,
    ) -> PreparedFilter<'a> {
        let needle = |key: &str, value: &str| {
            // Only for text that a line holds without escapes; otherwise every line is parsed.
            let plain =
                value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
            plain.then(|| Finder::new(&format!("\"{key}\":\"{value}\"")).into_owned())
        };
        let operation = match &self.operation {
            Some(OperationPattern::Exactly(name)) => needle("operation", name),
            _ => None,
        };
        let profile = match &self.profile {
            Some(ProfileFilter::Of(ProfilePattern::Exactly(name))) => {
                needle("profile", name.as_str())
            }
            _ => None,
        };
        let needles = [
            self.caller().and_then(|name| needle("caller", name)),
            self.outcome.as_deref().and_then(|outcome| needle("outcome", outcome)),
            self.request_id.as_deref().and_then(|id| needle("request_id", id)),
            operation,
            profile,
            self.status.map(|status| Finder::new(&status.needle()).into_owned()),
        ];
        PreparedFilter {
            filter: self,
            range,
            hashed,
            needles: needles.into_iter().flatten().collect(),
        }
    }
}

/// From a moment to another, if they are limited.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeRange {
    since: Option<Bound>,
    until: Option<Bound>,
}

impl TimeRange {
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since.as_ref().map(|bound| bound.at)
    }

    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until.as_ref().map(|bound| bound.at)
    }

    /// Whether a line is in the range.
    pub(super) fn covers(&self, head: &LineHead<'_>) -> bool {
        self.since.as_ref().is_none_or(|since| head.time >= since.text.as_str())
            && self.until.as_ref().is_none_or(|until| head.time < until.text.as_str())
    }
}

/// A time, and its text in the trail. The texts sort like the times.
#[derive(Clone, Debug)]
struct Bound {
    at: Timestamp,
    text: String,
}

impl From<Timestamp> for Bound {
    fn from(at: Timestamp) -> Self {
        Self { at, text: format!("{at:.6}") }
    }
}

/// A filter with precomputed search texts, for one trail.
#[derive(Debug)]
pub(super) struct PreparedFilter<'a> {
    filter: &'a CallFilter,
    range: &'a TimeRange,
    /// The object's name in a trail with hashed object ids.
    hashed: Option<String>,
    /// Every matching line contains these texts, so most other lines need no parsing.
    needles: Vec<Finder<'static>>,
}

/// How the object of a call relates to the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectMatch {
    /// It is the same, or none is asked for.
    Same,
    /// It is another one, or there is none.
    Other,
    /// It is hashed with a key that is not there.
    Hidden,
}

impl PreparedFilter<'_> {
    /// The line's call, if it meets all conditions.
    pub(super) fn matching<'l>(&self, line: &'l [u8]) -> Option<CallLine<'l>> {
        let head = audit::line_head(line).filter(|head| self.range.covers(head))?;
        self.call(&head, line)
            .filter(|(_, object)| *object == ObjectMatch::Same)
            .map(|(call, _)| call)
    }

    /// The line's call, if it meets the conditions besides the time and the object.
    pub(super) fn call<'l>(
        &self,
        head: &LineHead<'_>,
        line: &'l [u8],
    ) -> Option<(CallLine<'l>, ObjectMatch)> {
        if head.kind != "call" || self.needles.iter().any(|needle| needle.find(line).is_none()) {
            return None;
        }
        let call = audit::call_line(line).filter(|call| self.matches(call))?;
        let object = self.object(&call);
        Some((call, object))
    }

    fn matches(&self, call: &CallLine<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let CallFilter { caller, outcome, request_id, status, operation, profile, .. } =
            self.filter;
        let is_nobody = caller.as_deref() == Some(UNIDENTIFIED) && call.caller.is_none();
        (is_nobody || same(caller, call.caller.as_deref()))
            && same(outcome, Some(&call.outcome))
            && same(request_id, Some(&call.request_id))
            && status.is_none_or(|status| call.status.is_some_and(|s| status.matches(s)))
            && profile.as_ref().is_none_or(|wanted| wanted.matches(call.profile.as_deref()))
            && operation.as_ref().is_none_or(|wanted| {
                call.operation.as_deref().is_some_and(|name| operation_matches(wanted, name))
            })
    }

    /// Whether the object that is asked for is the one of the call's path, or in the list that it answered.
    fn object(&self, call: &CallLine<'_>) -> ObjectMatch {
        let Some(wanted) = &self.filter.object else { return ObjectMatch::Same };
        let mut objects = call.object_id.iter().chain(call.list_ids.iter().flatten());
        let is_same = |found: &str| {
            found.eq_ignore_ascii_case(&wanted.0) || self.hashed.as_deref() == Some(found)
        };
        let is_hidden =
            |found: &str| found.starts_with('~') && !wanted.is_hashed() && self.hashed.is_none();
        if objects.clone().any(|found| is_same(found)) {
            ObjectMatch::Same
        } else if objects.any(|found| is_hidden(found)) {
            ObjectMatch::Hidden
        } else {
            ObjectMatch::Other
        }
    }
}

/// The profile of a call.
#[derive(Clone, Debug)]
enum ProfileFilter {
    /// The call has none.
    Absent,
    Of(ProfilePattern),
}

impl FromStr for ProfileFilter {
    type Err = ProfilePatternError;

    fn from_str(text: &str) -> Result<Self, ProfilePatternError> {
        if text == NO_PROFILE { Ok(Self::Absent) } else { text.parse().map(Self::Of) }
    }
}

impl fmt::Display for ProfileFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(NO_PROFILE),
            Self::Of(pattern) => pattern.fmt(f),
        }
    }
}

impl ProfileFilter {
    fn matches(&self, profile: Option<&str>) -> bool {
        match (self, profile) {
            (Self::Absent, profile) => profile.is_none(),
            (Self::Of(pattern), Some(name)) => pattern.matches(&ProfileName::new(name)),
            (Self::Of(_), None) => false,
        }
    }
}

/// What people read in place of the profile of a call that has none.
pub(super) const NO_PROFILE: &str = "(none)";

/// Compares texts, because a trail may hold operations of an older configuration.
pub(super) fn operation_matches(pattern: &OperationPattern, name: &str) -> bool {
    match (pattern, name.split_once('.')) {
        (OperationPattern::Any, _) => true,
        (OperationPattern::Entity(entity), Some((of, _))) => **entity == *of,
        (OperationPattern::Action(action), Some((_, of))) => **action == *of,
        (OperationPattern::Exactly(wanted), _) => **wanted == *name,
        (_, None) => false,
    }
}

/// The name of an object on a trail: its UUID in lower case, or `~` and the hash of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectName(String);

impl ObjectName {
    fn is_hashed(&self) -> bool {
        self.0.starts_with('~')
    }
}

impl FromStr for ObjectName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hash = text.strip_prefix('~').is_some_and(|digits| {
            digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if is_hash || is_uuid(text) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(
            "not an object; write its UUID, like 0190d1c2-9a4e-7cc3-8f00-1234567890ab, or the name that a \
             trail with hashed ids has for it: ~ and 32 digits",
        )
    }
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

    /// The field up to where every matching line has the same.
    fn needle(self) -> String {
        match self {
            Self::Exactly(number) | Self::Class(number) => format!("\"status\":{number}"),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(number) => number.fmt(f),
            Self::Class(class) => write!(f, "{class}xx"),
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
