//! Which calls the metrics count alike, and what counts them: looked up once for a call, and not in
//! each metric by all its labels.

use std::sync::Arc;

use http::StatusCode;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::audit::{CacheResult, Outcome, Record};

/// What tells the calls apart that are counted apart. The names stand for themselves by where they are
/// in memory: the configuration shares one text among all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    operation: usize,
    caller: usize,
    outcome: Outcome,
    pub(super) status: &'static str,
    cache: Option<CacheResult>,
    upstream: Option<u16>,
    is_timed: bool,
}

impl SeriesKey {
    pub(super) fn of(record: &Record) -> Self {
        let place = |name: &Option<Arc<str>>| name.as_ref().map_or(0, |name| name.as_ptr().addr());
        Self {
            operation: place(&record.operation),
            caller: place(&record.caller),
            outcome: record.outcome,
            status: record.status.map_or("none", status_class),
            cache: record.cache,
            upstream: record.upstream_status.map(|status| status.as_u16()),
            is_timed: record.upstream_time.is_some(),
        }
    }
}

/// What counts the calls of one sort.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) calls: Counter,
    pub(super) call_seconds: Histogram,
    pub(super) upstream_seconds: Option<Histogram>,
    pub(super) upstream_responses: Option<Counter>,
    pub(super) cache: Option<Counter>,
    /// As long as they are held, nothing else can be where they are.
    pub(super) _names: [Option<Arc<str>>; 2],
}

impl Counters {
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
