//! Leaves an upstream alone that keeps failing, and finds out when it is back.
//!
//! ```text
//! closed ── failures, and at least half of the calls ──▶ open ── pause is over ──▶ half-open
//!    ▲                                                    ▲                          │  one call at a time
//!    └────────────────── it is answered ──────────────────┼──── it fails ────────────┘
//! ```

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::domain::Span;

/// The circuit breaker: stops requests to an upstream that keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub struct CircuitBreakerSettings {
    /// Whether the breaker ever opens.
    pub enabled: bool,
    /// Failures within ten seconds that open the breaker, if they are at least half of the requests.
    /// A failure is a connection that fails or breaks off, a response that takes too long, or a 502,
    /// 503 or 504.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// How long the breaker stays open; then one request probes the upstream. Each failed probe
    /// doubles the pause, up to a minute.
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
    state: Mutex<State>,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitBreakerState {
    /// Calls pass.
    Closed,
    /// One call at a time passes, to see whether the upstream is back.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl CircuitBreakerState {
    /// The states, for metrics.
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
enum State {
    Closed { now: Bucket, before: Bucket },
    Open { until: Instant, pause: Duration },
    HalfOpen { probing: bool, pause: Duration },
}

/// What was seen in half a window.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    began: Instant,
    calls: u32,
    failures: u32,
}

impl Bucket {
    fn begin(began: Instant) -> Self {
        Self { began, calls: 0, failures: 0 }
    }
}

impl State {
    fn closed(now: Instant) -> Self {
        Self::Closed { now: Bucket::begin(now), before: Bucket::begin(now) }
    }
}

impl CircuitBreaker {
    /// A closed one.
    pub fn new(settings: CircuitBreakerSettings) -> Self {
        Self { settings, state: Mutex::new(State::closed(Instant::now())) }
    }

    /// How it stands.
    pub fn state(&self) -> CircuitBreakerState {
        match &*self.state.lock() {
            State::Closed { .. } => CircuitBreakerState::Closed,
            State::Open { until, .. } if Instant::now() < *until => CircuitBreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => CircuitBreakerState::HalfOpen,
        }
    }

    /// Lets a call pass, or says after how long to come back.
    pub(in crate::proxy::stages) fn admit(self: &Arc<Self>) -> Result<Pass, Duration> {
        let mut state = self.state.lock();
        let probe = match &mut *state {
            State::Closed { .. } => false,
            State::Open { until, pause } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::HalfOpen { probing: true, pause: *pause };
                tracing::info!(
                    "breaker half-open: one call finds out whether the upstream is back"
                );
                true
            }
            State::HalfOpen { probing: true, .. } => return Err(PROBE_PATIENCE),
            State::HalfOpen { probing, .. } => {
                *probing = true;
                true
            }
        };
        Ok(Pass { breaker: Arc::clone(self), probe, told: false })
    }

    fn record(&self, failed: bool, probe: bool) {
        if !self.settings.enabled {
            return;
        }
        let mut state = self.state.lock();
        let at = Instant::now();
        match &mut *state {
            State::Closed { now, before } => {
                if at - now.began >= WINDOW / 2 {
                    let old = at - now.began >= WINDOW;
                    *before = if old { Bucket::begin(at) } else { *now };
                    *now = Bucket::begin(at);
                }
                now.calls = now.calls.saturating_add(1);
                if !failed {
                    return;
                }
                now.failures = now.failures.saturating_add(1);
                let failures = now.failures.saturating_add(before.failures);
                let calls = now.calls.saturating_add(before.calls);
                if failures >= self.settings.failures && failures.saturating_mul(2) >= calls {
                    tracing::warn!(failures, calls, "breaker open: the upstream keeps failing");
                    let pause = *self.settings.pause;
                    *state = State::Open { until: at + pause, pause };
                }
            }
            State::HalfOpen { pause, .. } if probe => {
                if failed {
                    let pause = pause.saturating_mul(2).min(LONGEST_PAUSE.max(*pause));
                    tracing::warn!(?pause, "breaker open again: the upstream still fails");
                    *state = State::Open { until: at + pause, pause };
                } else {
                    tracing::info!("breaker closed: the upstream is back");
                    *state = State::closed(at);
                }
            }
            // A call from before it opened: its news is old.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
    }

    fn give_back(&self) {
        if let State::HalfOpen { probing, .. } = &mut *self.state.lock() {
            *probing = false;
        }
    }
}

/// Permission for one call. Dropped without a word, it changes nothing: the caller went away.
#[derive(Debug)]
pub(in crate::proxy::stages) struct Pass {
    breaker: Arc<CircuitBreaker>,
    /// Whether it is the call that finds out.
    probe: bool,
    told: bool,
}

impl Pass {
    pub(in crate::proxy::stages) fn tell(mut self, failed: bool) {
        self.told = true;
        self.breaker.record(failed, self.probe);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe && !self.told {
            self.breaker.give_back();
        }
    }
}

/// How far back failures count.
const WINDOW: Duration = Duration::from_secs(10);
/// The longest time an upstream is left alone.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// When to come back while a call finds out how the upstream is.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn breaker() -> Arc<CircuitBreaker> {
        let settings = CircuitBreakerSettings { enabled: true, failures: 5, pause: Span(PAUSE) };
        Arc::new(CircuitBreaker::new(settings))
    }

    fn fail(breaker: &Arc<CircuitBreaker>, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().tell(true);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_and_closes_after_one_good_probe() {
        let breaker = breaker();
        fail(&breaker, 4);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), CircuitBreakerState::Open);
        assert_eq!(breaker.admit().unwrap_err(), PAUSE);
        advance(PAUSE).await;
        assert_eq!(breaker.state(), CircuitBreakerState::HalfOpen);
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one at a time");
        probe.tell(false);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
        fail(&breaker, 4);
        assert_eq!(
            breaker.state(),
            CircuitBreakerState::Closed,
            "what was before it opened is forgotten"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_doubles_the_pause_and_an_abandoned_one_frees_its_place() {
        let breaker = breaker();
        fail(&breaker, 5);
        advance(PAUSE).await;
        breaker.admit().unwrap().tell(true);
        assert_eq!(breaker.admit().unwrap_err(), PAUSE * 2);
        advance(PAUSE * 2).await;
        drop(breaker.admit().unwrap());
        breaker.admit().unwrap().tell(false);
        assert_eq!(breaker.state(), CircuitBreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn stays_closed_while_most_calls_succeed_or_failures_are_old() {
        let breaker = breaker();
        for _ in 0..50 {
            breaker.admit().unwrap().tell(false);
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
}
