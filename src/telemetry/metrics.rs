//! The metrics: names, labels and registration.
//!
//! They are counted from the audit records, so metrics and trail agree. Label values come from the
//! configuration and from closed sets, never from a request, so their number is bounded. Names
//! follow the Prometheus conventions (base units, `_total`).

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::{Mutex, RwLock};
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use super::{
    ProfileMetrics, meaning,
    series::{CallSeries, SeriesKey},
};
use crate::{audit::Record, build_info::BUILD, domain::LabelValue};

/// The registry, and the families the path counts with.
pub struct Metrics {
    registry: Mutex<Registry>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<OperationLabels, Histogram>,
    upstream_seconds: Family<OperationLabels, Histogram>,
    queue_seconds: Histogram,
    upstream_responses: Family<UpstreamLabels, Counter>,
    attempts: Counter,
    retries: Family<ErrorLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    cache: Family<CacheLabels, Counter>,
    profiles: ProfileMetrics,
    request_bytes: Counter,
    response_bytes: Counter,
    connections: Gauge,
    connections_limited: Family<LimitedLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    config_loaded: Gauge,
    /// The series of the calls seen so far.
    series: RwLock<HashMap<SeriesKey, Arc<CallSeries>, ahash::RandomState>>,
}

impl Metrics {
    /// A registry with every metric at zero. So many members of templates have series of their own.
    pub fn new(top_profiles: usize) -> Arc<Self> {
        let mut registry = Registry::with_prefix("pigello_gateway");
        let metrics = Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            upstream_seconds: Family::new_with_constructor(histogram),
            queue_seconds: histogram(),
            upstream_responses: Family::default(),
            attempts: Counter::default(),
            retries: Family::default(),
            errors: Family::default(),
            cache: Family::default(),
            profiles: ProfileMetrics::new(top_profiles),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            connections: Gauge::default(),
            connections_limited: Family::default(),
            reloads: Family::default(),
            config_loaded: Gauge::default(),
            series: RwLock::default(),
            registry: Mutex::new(Registry::default()),
        };
        register(&mut registry, "build", Info::new(Vec::from(BUILD)));
        register(&mut registry, "calls", metrics.calls.clone());
        register(&mut registry, "call_duration_seconds", metrics.call_seconds.clone());
        register(&mut registry, "upstream_duration_seconds", metrics.upstream_seconds.clone());
        register(&mut registry, "upstream_queue_seconds", metrics.queue_seconds.clone());
        register(&mut registry, "upstream_responses", metrics.upstream_responses.clone());
        register(&mut registry, "upstream_attempts", metrics.attempts.clone());
        register(&mut registry, "upstream_retries", metrics.retries.clone());
        register(&mut registry, "errors", metrics.errors.clone());
        register(&mut registry, "cache_requests", metrics.cache.clone());
        register(&mut registry, "profile_calls", metrics.profiles.calls.clone());
        register(&mut registry, "profile_errors", metrics.profiles.errors.clone());
        register(&mut registry, "request_bytes", metrics.request_bytes.clone());
        register(&mut registry, "response_bytes", metrics.response_bytes.clone());
        register(&mut registry, "connections", metrics.connections.clone());
        register(&mut registry, "connections_limited", metrics.connections_limited.clone());
        register(&mut registry, "config_reloads", metrics.reloads.clone());
        register(&mut registry, "config_loaded_timestamp_seconds", metrics.config_loaded.clone());
        metrics.config_loaded.set(seconds_since_1970());
        *metrics.registry.lock() = registry;
        Arc::new(metrics)
    }

    /// Counts one finished call. What the gateway asks by itself counts only as traffic with the upstream.
    pub fn observe(&self, record: &Record) {
        if record.own.is_none() {
            let key = SeriesKey::of(record);
            let counted = self.series.read().get(&key).map(|series| series.count(record));
            if counted.is_none() {
                self.resolve(key, record).count(record);
            }
        } else if let Some(status) = record.upstream_status {
            let labels = UpstreamLabels { status: status.as_u16() };
            self.upstream_responses.get_or_create(&labels).inc();
        }
        if !record.queue_time.is_zero() {
            self.queue_seconds.observe(record.queue_time.as_secs_f64());
        }
        add(&self.attempts, record.attempts.into());
        for kind in record.retries.iter().copied() {
            self.retries.get_or_create(&ErrorLabels { kind }).inc();
        }
        if let Some(kind) = record.error {
            self.errors.get_or_create(&ErrorLabels { kind }).inc();
        }
        add(&self.request_bytes, record.request_bytes);
        add(&self.response_bytes, record.response_bytes);
    }

    /// Finds the series of a key in each metric, and keeps them.
    fn resolve(&self, key: SeriesKey, record: &Record) -> Arc<CallSeries> {
        let text = |name: &Option<LabelValue>, none: &str| {
            name.as_ref().map_or_else(|| none.into(), |name| Arc::clone(name.shared()))
        };
        let operation = text(&record.operation, "none");
        let caller = text(&record.caller, "unidentified");
        let outcome = record.outcome.label();
        let calls =
            CallLabels { operation: Arc::clone(&operation), caller, outcome, status: key.status };
        let labels = OperationLabels { operation: Arc::clone(&operation) };
        let series = Arc::new(CallSeries {
            calls: self.calls.get_or_create_owned(&calls),
            call_seconds: self.call_seconds.get_or_create_owned(&labels),
            upstream_seconds: record
                .upstream_time
                .map(|_| self.upstream_seconds.get_or_create_owned(&labels)),
            upstream_responses: record.upstream_status.map(|status| {
                let status = status.as_u16();
                self.upstream_responses.get_or_create_owned(&UpstreamLabels { status })
            }),
            cache: record.cache.map(|result| {
                let result = result.label();
                self.cache.get_or_create_owned(&CacheLabels { operation, result })
            }),
        });
        let mut known = self.series.write();
        if known.len() >= MAX_SERIES {
            // An upstream can make up hundreds of status codes for each operation and caller.
            known.clear();
        }
        known.insert(key, Arc::clone(&series));
        series
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, done: bool) {
        let result = if done { "done" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        if done {
            self.config_loaded.set(seconds_since_1970());
        }
    }

    /// What the calls of profiles are counted with.
    pub fn profiles(&self) -> &ProfileMetrics {
        &self.profiles
    }

    /// What callers' connections are counted with.
    pub fn connections(&self) -> ConnectionMetrics {
        let limited =
            |limit| self.connections_limited.get_or_create_owned(&LimitedLabels { limit });
        ConnectionMetrics {
            open: self.connections.clone(),
            over_peer_limit: limited("peer"),
            gave_way: limited("unproven"),
        }
    }

    /// Registers metrics that are collected at each scrape.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.registry.lock().register_collector(collector);
    }

    /// Encodes everything in the `OpenMetrics` text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

/// What the connections of a listener are counted with.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    /// Open connections.
    pub open: Gauge,
    /// Connections closed at once, because their peer has too many.
    pub over_peer_limit: Counter,
    /// Unproven connections closed for a new one.
    pub gave_way: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Workers share the counters, and adding zero to one costs as much as adding one.
fn add(counter: &Counter, count: u64) {
    if count > 0 {
        counter.inc_by(count);
    }
}

fn register(registry: &mut Registry, name: &str, metric: impl Metric) {
    registry.register(name, meaning(name), metric);
}

fn seconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// More than a configuration has callers, operations and outcomes together, in practice.
const MAX_SERIES: usize = 4096;

/// From a cache hit (tens of microseconds) to the longest call (tens of seconds).
fn histogram() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
        2.5, 5.0, 10.0, 30.0,
    ])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    operation: Arc<str>,
    caller: Arc<str>,
    outcome: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    operation: Arc<str>,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitedLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audit::testing::record, telemetry::METRICS};

    #[test]
    fn every_metric_says_what_the_manual_says_of_it() {
        let text = Metrics::new(0).encode().unwrap();
        let helps: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        assert!(!helps.is_empty());
        for help in helps {
            let (name, text) = help.split_once(' ').unwrap();
            let told = meaning(name.strip_prefix("pigello_gateway_").unwrap());
            assert!(!told.is_empty() && text == format!("{told}."), "{help}");
        }
    }

    #[test]
    fn the_build_is_told_with_the_labels_of_the_manual() {
        let text = Metrics::new(0).encode().unwrap();
        let build = text.lines().find(|line| line.starts_with("pigello_gateway_build_info{"));
        let mut parts: Vec<_> = build.unwrap().split("=\"").collect();
        assert_eq!(parts.pop(), Some("no\"} 1"), "tests are built without a profile: {text}");
        let labels: Vec<_> =
            parts.iter().filter_map(|part| part.rsplit(['{', ',']).next()).collect();
        let told = METRICS.iter().find(|metric| metric.name == "build_info").unwrap().labels;
        assert_eq!(labels, told);
    }

    #[test]
    fn only_requests_that_waited_are_in_the_histogram_of_waits() {
        let metrics = Metrics::new(0);
        metrics.observe(&record());
        metrics.observe(&Record { queue_time: std::time::Duration::from_millis(30), ..record() });
        let text = metrics.encode().unwrap();
        for line in ["upstream_queue_seconds_count 1", "upstream_queue_seconds_sum 0.03"] {
            assert!(text.contains(&format!("pigello_gateway_{line}")), "{text}");
        }
    }

    #[test]
    fn calls_are_counted_by_their_names_also_after_a_reload() {
        let metrics = Metrics::new(0);
        for round in 0..MAX_SERIES + 2 {
            // Each has a text of its own, as after a reload.
            let name = if round % 2 == 0 { "even" } else { "odd" };
            let call = Record { caller: Some(name.into()), operation: None, ..record() };
            metrics.observe(&call);
            metrics.observe(&call);
        }
        let text = metrics.encode().unwrap();
        let each = MAX_SERIES + 2;
        for name in ["even", "odd"] {
            let calls = text.lines().find(|line| {
                line.starts_with("pigello_gateway_calls_total{") && line.contains(name)
            });
            assert!(calls.unwrap().ends_with(&format!(" {each}")), "{text}");
        }
        assert_eq!(metrics.series.read().len(), 2);
    }
}
