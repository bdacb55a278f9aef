//! A circuit breaker: stops calls to an upstream, or of one operation, that keeps failing, and probes
//! whether it is back.
//!
//! ```text
//! closed ── failures, and at least half of the calls ──▶ open ── pause is over ──▶ half-open
//!    ▲                                                    ▲                          │  one probe at a time
//!    └──────────────── the probe succeeds ────────────────┼──── it fails ────────────┘
//! ```

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::{ProfileName, Span};

/// The circuit breaker: stops requests to an upstream that keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub struct CircuitBreakerSettings {
    /// Whether the breaker ever opens.
    pub enabled: bool,
    /// Failures within ten seconds that open the breaker, if they are at least half of the requests. A
    /// failed connection, or one that breaks off, counts for the upstream. A response that does not begin
    /// in time, and a 502, 503 or 504, count for their operation; they open the upstream's breaker only if
    /// two operations or more fail and no call succeeds.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// How long the breaker stays open; then one request probes the upstream, an idempotent one if there is
    /// one. Each failed probe doubles the pause, up to a minute.
    pub pause: Span,
}

impl Default for CircuitBreakerSettings {
    fn default() -> Self {
        Self { enabled: true, failures: 10, pause: Span::from_secs(2) }
    }
}

/// The breaker of one upstream, shared by all workers.
#[derive(Debug)]
pub struct CircuitBreaker {
    settings: CircuitBreakerSettings,
    /// The profile, for the log.
    profile: ProfileName,
    state: Mutex<Phase>,
}

/// The state of a breaker, for metrics and `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitBreakerState {
    /// Calls pass.
    Closed,
    /// One call at a time passes as a probe.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl CircuitBreakerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The name in `/status` and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

#[derive(Debug)]
enum Phase {
    Closed { now: Bucket, before: Bucket },
    Open { until: Instant, pause: Duration },
    HalfOpen { probing: bool, pause: Duration },
}

/// The calls of half a window.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    began: Instant,
    calls: u32,
    failures: u32,
    /// The failures that are a connection's.
    connections: u32,
}

impl Bucket {
    fn begin(began: Instant) -> Self {
        Self { began, calls: 0, failures: 0, connections: 0 }
    }
}

/// What an attempt says of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is well.
    Success,
    /// The connection failed.
    Connection,
    /// The operation failed, and perhaps several do.
    Operation {
        /// Another operation has failed in the window, too.
        several: bool,
    },
}

impl Phase {
    fn closed(now: Instant) -> Self {
        Self::Closed { now: Bucket::begin(now), before: Bucket::begin(now) }
    }
}

impl CircuitBreaker {
    /// A closed breaker.
    pub fn new(settings: CircuitBreakerSettings, profile: &ProfileName) -> Self {
        let state = Mutex::new(Phase::closed(Instant::now()));
        Self { settings, profile: profile.clone(), state }
    }

    /// Its state.
    pub fn state(&self) -> CircuitBreakerState {
        match &*self.state.lock() {
            Phase::Closed { .. } => CircuitBreakerState::Closed,
            Phase::Open { until, .. } if Instant::now() < *until => CircuitBreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => CircuitBreakerState::HalfOpen,
        }
    }

    /// Lets a call pass, or returns the time after which to retry. A call that may be a probe is idempotent;
    /// others are probes if no such call has come for as long as the breaker was open.
    pub(super) fn admit(self: &Arc<Self>, may_probe: bool) -> Result<BreakerPermit, Duration> {
        let mut state = self.state.lock();
        let probe = match &mut *state {
            Phase::Closed { .. } => false,
            Phase::Open { until, pause } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                if !may_probe && Instant::now() < *until + *pause {
                    return Err(PROBE_RETRY);
                }
                *state = Phase::HalfOpen { probing: true, pause: *pause };
                tracing::info!(
                    profile = %self.profile,
                    "breaker half-open: one call finds out whether the upstream is back"
                );
                true
            }
            Phase::HalfOpen { probing: true, .. } => return Err(PROBE_RETRY),
            Phase::HalfOpen { probing, .. } => {
                *probing = true;
                true
            }
        };
        Ok(BreakerPermit { breaker: Arc::clone(self), probe, reported: false })
    }

    /// Records the outcome of a call that is no probe.
    pub(super) fn record(&self, outcome: Outcome) {
        self.note(outcome, false);
    }

    fn note(&self, outcome: Outcome, probe: bool) {
        let failed = outcome != Outcome::Success;
        if !self.settings.enabled {
            return;
        }
        let mut state = self.state.lock();
        let at = Instant::now();
        match &mut *state {
            Phase::Closed { now, before } => {
                let age = at.saturating_duration_since(now.began);
                if age >= HALF_WINDOW {
                    let old = age >= WINDOW;
                    *before = if old { Bucket::begin(at) } else { *now };
                    *now = Bucket::begin(at);
                }
                now.calls = now.calls.saturating_add(1);
                if !failed {
                    return;
                }
                now.failures = now.failures.saturating_add(1);
                let is_connection = outcome == Outcome::Connection;
                now.connections = now.connections.saturating_add(u32::from(is_connection));
                let failures = now.failures.saturating_add(before.failures);
                let calls = now.calls.saturating_add(before.calls);
                let is_down = match outcome {
                    Outcome::Operation { several } => several && failures == calls,
                    _ => {
                        now.connections.saturating_add(before.connections) >= self.settings.failures
                    }
                };
                if is_down
                    && failures >= self.settings.failures
                    && failures.saturating_mul(2) >= calls
                {
                    tracing::warn!(
                        profile = %self.profile, failures, calls,
                        "breaker open: the upstream keeps failing"
                    );
                    let pause = *self.settings.pause;
                    *state = Phase::Open { until: at + pause, pause };
                }
            }
            Phase::HalfOpen { pause, .. } if probe => {
                if failed {
                    let pause = pause.saturating_mul(2).min(LONGEST_PAUSE.max(*pause));
                    tracing::warn!(
                        profile = %self.profile, ?pause,
                        "breaker open again: the upstream still fails"
                    );
                    *state = Phase::Open { until: at + pause, pause };
                } else {
                    tracing::info!(profile = %self.profile, "breaker closed: the upstream is back");
                    *state = Phase::closed(at);
                }
            }
            // The call began before the breaker opened.
            Phase::HalfOpen { .. } | Phase::Open { .. } => {}
        }
    }

    fn abandon_probe(&self) {
        if let Phase::HalfOpen { probing, .. } = &mut *self.state.lock() {
            *probing = false;
        }
    }
}

/// Permission for one call. Dropped before [`Self::report`], it counts nothing.
#[derive(Debug)]
pub(super) struct BreakerPermit {
    breaker: Arc<CircuitBreaker>,
    /// Whether the call is the probe.
    probe: bool,
    reported: bool,
}

impl BreakerPermit {
    pub(super) fn report(mut self, outcome: Outcome) {
        self.reported = true;
        self.breaker.note(outcome, self.probe);
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if self.probe && !self.reported {
            self.breaker.abandon_probe();
        }
    }
}

/// The time in which failures count.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// When to retry while a probe is under way.
const PROBE_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn breaker() -> Arc<CircuitBreaker> {
        let settings = CircuitBreakerSettings { enabled: true, failures: 5, pause: Span(PAUSE) };
        Arc::new(CircuitBreaker::new(settings, &ProfileName::new("test")))
    }

    fn fail(breaker: &Arc<CircuitBreaker>, times: u32) {
        for _ in 0..times {
            breaker.admit(true).unwrap().report(Outcome::Connection);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_and_closes_after_a_good_probe() {
        let breaker = breaker();
        fail(&breaker, 4);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), CircuitBreakerState::Open);
        assert_eq!(breaker.admit(true).unwrap_err(), PAUSE);
        advance(PAUSE).await;
        assert_eq!(breaker.state(), CircuitBreakerState::HalfOpen);
        let probe = breaker.admit(true).unwrap();
        assert!(breaker.admit(true).is_err(), "one at a time");
        probe.report(Outcome::Success);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        fail(&breaker, 4);
        assert_eq!(
            breaker.state(),
            CircuitBreakerState::Closed,
            "failures before it opened do not count"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_doubles_the_pause_and_an_abandoned_one_allows_another() {
        let breaker = breaker();
        fail(&breaker, 5);
        advance(PAUSE).await;
        breaker.admit(true).unwrap().report(Outcome::Connection);
        assert_eq!(breaker.admit(true).unwrap_err(), PAUSE * 2);
        advance(PAUSE * 2).await;
        drop(breaker.admit(true).unwrap());
        breaker.admit(true).unwrap().report(Outcome::Success);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_closed_while_most_calls_succeed_or_failures_are_old() {
        let breaker = breaker();
        for _ in 0..50 {
            breaker.admit(true).unwrap().report(Outcome::Success);
        }
        fail(&breaker, 10);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        let breaker = self::breaker();
        for _ in 0..10 {
            fail(&breaker, 4);
            advance(WINDOW + WINDOW / 2).await;
        }
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn operations_that_fail_do_not_open_it_while_others_succeed() {
        let breaker = breaker();
        let report = |outcome| breaker.admit(true).unwrap().report(outcome);
        for _ in 0..50 {
            report(Outcome::Operation { several: false });
        }
        report(Outcome::Success);
        for _ in 0..50 {
            report(Outcome::Operation { several: true });
        }
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        advance(WINDOW * 2).await;
        for _ in 0..5 {
            report(Outcome::Operation { several: true });
        }
        assert_eq!(breaker.state(), CircuitBreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_idempotent_probes_only_if_no_other_comes() {
        let breaker = breaker();
        fail(&breaker, 5);
        advance(PAUSE).await;
        assert_eq!(breaker.admit(false).unwrap_err(), PROBE_RETRY);
        advance(PAUSE).await;
        breaker.admit(false).unwrap().report(Outcome::Success);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
    }
}
