//! The figures of a report.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::super::filter::NO_PROFILE;
use crate::{
    audit::CallLine, cli::time::Zone, domain::UNIDENTIFIED, telemetry::chart::OutcomeCounts,
};

/// The content of a report.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// The time of the first call.
    pub(super) first: Option<String>,
    /// The time of the last call.
    pub(super) last: Option<String>,
    /// All calls.
    pub(super) total: Group,
    pub(super) by_caller: BTreeMap<String, Group>,
    pub(super) by_operation: BTreeMap<String, Group>,
    /// Calls for a profile that was refused are one group, because a caller may ask for any name.
    pub(super) by_profile: BTreeMap<String, Group>,
    /// The trails, if there are several.
    pub(super) by_trail: BTreeMap<String, Group>,
    /// Calls by day of the time zone.
    pub(super) by_day: BTreeMap<String, Group>,
    /// Calls by hour of the time zone, such as `2026-03-01T08`.
    pub(super) by_hour: BTreeMap<String, OutcomeCounts>,
    /// Calls by error label.
    pub(super) errors: BTreeMap<String, u64>,
    /// Calls of the gateway's own, by cause. They are in no other figure.
    pub(super) own: BTreeMap<String, u64>,
    /// Markers by kind: changes of the configuration and the credentials, actions of operators, and so on.
    pub(super) markers: BTreeMap<String, u64>,
}

impl Figures {
    pub(super) fn add(&mut self, call: &CallLine<'_>, trail: Option<&str>, zone: &Zone) {
        if let Some(cause) = call.cause.as_deref() {
            *group(&mut self.own, cause) += 1;
            return;
        }
        let time = call.time.as_ref();
        if self.first.as_deref().is_none_or(|first| time < first) {
            self.first = Some(time.to_owned());
        }
        if self.last.as_deref().is_none_or(|last| time > last) {
            self.last = Some(time.to_owned());
        }
        self.total.add(call);
        group(&mut self.by_caller, call.caller.as_deref().unwrap_or(UNIDENTIFIED)).add(call);
        group(&mut self.by_operation, call.operation.as_deref().unwrap_or(NO_OPERATION)).add(call);
        group(&mut self.by_profile, profile_of(call)).add(call);
        if let Some(trail) = trail {
            group(&mut self.by_trail, trail).add(call);
        }
        let time = &*zone.show(time);
        group(&mut self.by_day, time.get(..10).unwrap_or(time)).add(call);
        count(group(&mut self.by_hour, time.get(..13).unwrap_or(time)), &call.outcome);
        if let Some(error) = call.error.as_deref() {
            *group(&mut self.errors, error) += 1;
        }
    }

    pub(super) fn add_marker(&mut self, kind: &str) {
        *group(&mut self.markers, kind) += 1;
    }
}

fn profile_of<'a>(call: &'a CallLine<'_>) -> &'a str {
    match (call.profile.as_deref(), call.error.as_deref()) {
        (Some(_), Some("profile_not_allowed" | "profile_unknown")) => REFUSED_PROFILE,
        (Some(name), _) => name,
        (None, _) => NO_PROFILE,
    }
}

/// The group with this name. Allocates only for a new one.
fn group<'a, T: Default>(groups: &'a mut BTreeMap<String, T>, name: &str) -> &'a mut T {
    if !groups.contains_key(name) {
        groups.insert(name.to_owned(), T::default());
    }
    groups.entry(name.to_owned()).or_default()
}

fn count(counts: &mut OutcomeCounts, outcome: &str) {
    match outcome {
        "forwarded" => counts.forwarded += 1,
        "cached" => counts.cached += 1,
        "refused" => counts.refused += 1,
        _ => counts.failed += 1,
    }
}

/// A group of calls.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) outcomes: OutcomeCounts,
    /// Responses of status 500 and above, and calls that failed without a response.
    pub(super) errors: u64,
    /// Calls that looked into the cache.
    pub(super) cacheable: u64,
    /// Calls that got their response from the cache.
    pub(super) from_memory: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    /// Microseconds, of calls that were forwarded or cached. A refusal takes no time, and a failure as long as
    /// a limit says.
    times: Histogram<u64>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            outcomes: OutcomeCounts::default(),
            errors: 0,
            cacheable: 0,
            from_memory: 0,
            request_bytes: 0,
            response_bytes: 0,
            times: times(),
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 2).expect("two digits between 1 µs and an hour")
}

/// One hour, in microseconds. Longer calls count as this.
const LONGEST: u64 = 3_600_000_000;

impl Group {
    fn add(&mut self, call: &CallLine<'_>) {
        count(&mut self.outcomes, &call.outcome);
        let failed = call.outcome == "failed" || call.status.is_some_and(|status| status >= 500);
        self.errors += u64::from(failed);
        match call.cache.as_deref() {
            None | Some("bypass") => {}
            Some("hit" | "stale" | "collapsed") => {
                self.cacheable += 1;
                self.from_memory += 1;
            }
            Some(_) => self.cacheable += 1,
        }
        self.request_bytes += call.request_bytes;
        self.response_bytes += call.response_bytes;
        if matches!(&*call.outcome, "forwarded" | "cached") {
            self.times.saturating_record(call.duration_us.clamp(1, LONGEST));
        }
    }

    pub(super) fn calls(&self) -> u64 {
        self.outcomes.total()
    }

    /// Cache hits among the calls that looked into the cache, in per cent.
    pub(super) fn cache_share(&self) -> Option<f64> {
        share(self.from_memory, self.cacheable)
    }

    /// Failed calls, in per cent.
    pub(super) fn error_share(&self) -> Option<f64> {
        share(self.errors, self.calls())
    }

    /// A percentile of the times.
    pub(super) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.times.value_at_percentile(percent))
    }

    /// A percentile of the times, in milliseconds.
    pub(super) fn percentile_ms(&self, percent: f64) -> f64 {
        self.percentile(percent).as_secs_f64() * 1e3
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Group", 12)?;
        fields.serialize_field("calls", &self.calls())?;
        fields.serialize_field("outcomes", &self.outcomes)?;
        fields.serialize_field("errors", &self.errors)?;
        fields.serialize_field("cacheable", &self.cacheable)?;
        fields.serialize_field("from_memory", &self.from_memory)?;
        fields.serialize_field("request_bytes", &self.request_bytes)?;
        fields.serialize_field("response_bytes", &self.response_bytes)?;
        for (name, percent) in PERCENTILES {
            fields.serialize_field(name, &self.percentile_ms(percent))?;
        }
        fields.end()
    }
}

/// The percentiles of the JSON output, in milliseconds.
const PERCENTILES: [(&str, f64); 4] =
    [("p50_ms", 50.0), ("p95_ms", 95.0), ("p99_ms", 99.0), ("max_ms", 100.0)];

#[expect(clippy::cast_precision_loss, reason = "a share of this many calls needs no more digits")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

/// Calls for a profile that the caller may not use, or that is not there.
const REFUSED_PROFILE: &str = "(refused)";
const NO_OPERATION: &str = "(no operation)";
