//! What Pigello says about how often it wants to be called, learnt once for everyone.
//!
//! `Retry-After` on a 429 or 503 is a pause for the whole profile: asking again earlier only costs
//! Pigello work and the next caller its turn. After a 429's pause, calls go on at a little under the
//! rate that was too much, which rises again while no further 429 comes. While there is such a rate it
//! is shared fairly: a caller that wants little gets it, whatever the others want.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    domain::LabelValue,
    error::{Error, Kind},
};

/// What is known of one profile's quota, shared by all workers.
#[derive(Debug)]
pub struct UpstreamRateLimit {
    /// Whether there is anything to look at: false while Pigello has not complained.
    limited: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    paused_until: Option<Instant>,
    /// Calls a [`WINDOW`]; `None` is as many as come.
    rate: Option<u32>,
    raised: Instant,
    window: Window,
    /// How many calls went up in the last whole window.
    before: u32,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    used: u32,
    by_caller: HashMap<Option<LabelValue>, u32>,
}

impl Window {
    fn begin(began: Instant) -> Self {
        Self { began, used: 0, by_caller: HashMap::new() }
    }
}

impl UpstreamRateLimit {
    /// Nothing is known yet.
    pub fn new() -> Self {
        let now = Instant::now();
        let state = State {
            paused_until: None,
            rate: None,
            raised: now,
            window: Window::begin(now),
            before: 0,
        };
        Self { limited: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Lets a call pass, or says when to come back.
    pub(in crate::proxy::stages) fn admit(&self, caller: Option<&LabelValue>) -> Result<(), Error> {
        let limited = self.limited.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        let now = Instant::now();
        if !limited {
            state.roll(now);
            state.window.used = state.window.used.saturating_add(1);
            return Ok(());
        }
        let admitted = state.admit(now, caller.cloned());
        if state.paused_until.is_none() && state.rate.is_none() {
            self.limited.store(false, Ordering::Relaxed);
        }
        admitted
    }

    /// Learns from an answer.
    pub(in crate::proxy::stages) fn learn(&self, status: StatusCode, headers: &HeaderMap) {
        let too_many = status == StatusCode::TOO_MANY_REQUESTS;
        if !too_many && status != StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        let told = retry_after(headers, SystemTime::now());
        let pause = match told {
            Some(pause) => pause.min(LONGEST_PAUSE),
            None if too_many => WINDOW,
            None => return,
        };
        let mut state = self.state.lock();
        let now = Instant::now();
        state.roll(now);
        // Answers to calls that were under way together tell one thing, not many.
        let known = state.paused_until.is_some_and(|until| now < until);
        let until = now + pause;
        state.paused_until = Some(state.paused_until.map_or(until, |known| known.max(until)));
        if too_many && !known {
            let seen = state.window.used.max(state.before);
            state.rate = Some((seen - seen / 5).max(1));
            state.raised = until;
            tracing::warn!(?pause, rate = state.rate, "Pigello asks for fewer calls");
        }
        self.limited.store(true, Ordering::Relaxed);
    }

    /// How long calls still pause.
    pub fn pause(&self) -> Duration {
        let until = self.state.lock().paused_until;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl Default for UpstreamRateLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.window.began);
        if age >= WINDOW {
            self.before = if age < WINDOW * 2 { self.window.used } else { 0 };
            // Callers of the last window count as there until they have missed one.
            let mut there = std::mem::take(&mut self.window.by_caller);
            there.retain(|_, used| *used > 0 && age < WINDOW * 2);
            for used in there.values_mut() {
                *used = 0;
            }
            self.window = Window { by_caller: there, ..Window::begin(now) };
        }
    }

    fn admit(&mut self, now: Instant, caller: Option<LabelValue>) -> Result<(), Error> {
        if let Some(until) = self.paused_until {
            if now < until {
                let detail = "Pigello has asked for a pause (its `Retry-After`)";
                let error = Error::new(Kind::UpstreamRateLimited, detail);
                return Err(error.retry_after(up(until - now)));
            }
            self.paused_until = None;
        }
        self.roll(now);
        self.raise(now);
        let Some(rate) = self.rate else {
            self.window.used = self.window.used.saturating_add(1);
            return Ok(());
        };
        let mine = *self.window.by_caller.entry(caller.clone()).or_insert(0);
        let callers = u32::try_from(self.window.by_caller.len()).unwrap_or(u32::MAX).max(1);
        let share = (rate / callers).max(1);
        // What the others have not used of their shares stays theirs until the window ends.
        let kept: u32 =
            self.window.by_caller.values().map(|used| share.saturating_sub(*used)).sum();
        let spare = rate.saturating_sub(self.window.used).saturating_sub(kept);
        if self.window.used >= rate || (mine >= share && spare == 0) {
            let detail = "Pigello's rate limit is shared, and this caller's share is used up";
            let wait = WINDOW.saturating_sub(now.saturating_duration_since(self.window.began));
            return Err(Error::new(Kind::RateLimited, detail).retry_after(up(wait)));
        }
        self.window.used += 1;
        self.window.by_caller.insert(caller, mine + 1);
        Ok(())
    }

    /// A tenth more for each quiet while, and no limit at all once that is twice what is asked for.
    fn raise(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        if now.saturating_duration_since(self.raised) >= RAISE_EVERY {
            self.raised = now;
            let raised = rate.saturating_add((rate / 10).max(1));
            let unlimited = raised > self.before.max(self.window.used).saturating_mul(2);
            self.rate = (!unlimited).then_some(raised);
            tracing::info!(rate = self.rate, "Pigello is called more often again");
        }
    }
}

/// `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Whole seconds, never too early.
fn up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// What a rate is counted over.
const WINDOW: Duration = Duration::from_secs(1);
/// The longest pause that is believed: a slip in a header must not end the day.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long it must be quiet before the rate rises.
const RAISE_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::time::advance;

    use super::*;

    fn headers(retry_after: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::try_from(retry_after).unwrap())])
    }

    fn admit(quota: &UpstreamRateLimit, caller: &str) -> Result<(), Error> {
        quota.admit(Some(&caller.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_for_everyone_and_told_honestly() {
        let quota = UpstreamRateLimit::new();
        admit(&quota, "billing").unwrap();
        quota.learn(StatusCode::SERVICE_UNAVAILABLE, &headers("7"));
        advance(Duration::from_millis(2500)).await;
        let error = admit(&quota, "reports").unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamRateLimited);
        assert_eq!(
            error.retry_after_hint(),
            Some(Duration::from_secs(5)),
            "4.5 s, never too early"
        );
        advance(Duration::from_millis(4500)).await;
        admit(&quota, "reports").unwrap();
        assert!(!quota.limited.load(Ordering::Relaxed), "a 503 teaches no rate");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hot_caller_leaves_the_others_their_share() {
        let quota = UpstreamRateLimit::new();
        for _ in 0..100 {
            admit(&quota, "hot").unwrap();
        }
        quota.learn(StatusCode::TOO_MANY_REQUESTS, &headers("1"));
        advance(Duration::from_secs(1)).await;
        admit(&quota, "quiet").unwrap();
        let hot = |calls: u32| (0..calls).filter(|_| admit(&quota, "hot").is_ok()).count();
        assert_eq!(hot(200), 40, "half of 80, for the other half is kept for the quiet one");
        let error = admit(&quota, "hot").unwrap_err();
        assert_eq!(error.kind(), Kind::RateLimited);
        assert_eq!(error.retry_after_hint(), Some(Duration::from_secs(1)));
        for _ in 0..39 {
            admit(&quota, "quiet").unwrap();
        }
        assert!(admit(&quota, "quiet").is_err(), "no more than 80 together");
        advance(WINDOW).await;
        assert_eq!(hot(200), 40);
        advance(WINDOW).await;
        assert_eq!(hot(200), 80, "the quiet one has missed a window");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_rises_until_it_is_none() {
        let quota = UpstreamRateLimit::new();
        for _ in 0..10 {
            admit(&quota, "a").unwrap();
        }
        quota.learn(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        let mut seconds = 0;
        while quota.limited.load(Ordering::Relaxed) {
            advance(WINDOW).await;
            for _ in 0..10 {
                drop(admit(&quota, "a"));
            }
            seconds += 1;
            assert!(seconds < 120, "still limited");
        }
        assert!(seconds > 30, "after {seconds} s already");
    }

    #[test]
    fn reads_seconds_and_dates() {
        let now = httpdate::parse_http_date("Tue, 01 Dec 2026 10:00:00 GMT").unwrap();
        let after = |text| retry_after(&headers(text), now);
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(after("Tue, 01 Dec 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Tue, 01 Dec 2026 09:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }
}
