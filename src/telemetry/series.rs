//! The time series of calls with equal labels: found once for a call, instead of in each metric by all
//! its labels.

use http::StatusCode;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::{
    audit::{CacheResult, Outcome, Record},
    domain::LabelValue,
};

/// The labels of a call, with a number in place of each name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    operation: Option<u32>,
    caller: Option<u32>,
    outcome: Outcome,
    pub(super) status: &'static str,
    cache: Option<CacheResult>,
    upstream: Option<u16>,
    is_timed: bool,
}

impl SeriesKey {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            operation: record.operation.as_ref().map(LabelValue::id),
            caller: record.caller.as_ref().map(LabelValue::id),
            outcome: record.outcome,
            status: record.status.map_or("none", status_class),
            cache: record.cache,
            upstream: record.upstream_status.map(|status| status.as_u16()),
            is_timed: record.upstream_time.is_some(),
        }
    }
}

/// The time series that a call with one [`SeriesKey`] is counted in.
#[derive(Debug)]
pub(super) struct CallSeries {
    pub(super) calls: Counter,
    pub(super) call_seconds: Histogram,
    pub(super) upstream_seconds: Option<Histogram>,
    pub(super) upstream_responses: Option<Counter>,
    pub(super) cache: Option<Counter>,
}

impl CallSeries {
    pub(super) fn count(&self, record: &Record) {
        self.calls.inc();
        self.call_seconds.observe(record.duration.as_secs_f64());
        if let (Some(seconds), Some(time)) = (&self.upstream_seconds, record.upstream_time) {
            seconds.observe(time.as_secs_f64());
        }
        for counter in [&self.upstream_responses, &self.cache].into_iter().flatten() {
            counter.inc();
        }
    }
}

const fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
