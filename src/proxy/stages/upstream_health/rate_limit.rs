//! The upstream's rate limit, learnt from its responses.
//!
//! `Retry-After` on a 429 or 503 pauses the whole profile, because an earlier call would only cost
//! Pigello work. After the pause of a 429, calls continue at a little under the rate that was too high,
//! and the rate rises while no further 429 comes. Callers share that rate fairly: one that needs little
//! gets it, whatever the others need.

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

/// The known rate limit of one profile's upstream, shared by all workers.
#[derive(Debug)]
pub struct UpstreamRateLimit {
    /// Whether there is a pause or a rate. False until a 429 or 503.
    limited: AtomicBool,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    paused_until: Option<Instant>,
    /// Calls in a [`WINDOW`]; `None` is no limit.
    rate: Option<u32>,
    raised: Instant,
    window: RateWindow,
    /// The calls of the last whole window.
    before: u32,
}

#[derive(Debug)]
struct RateWindow {
    began: Instant,
    used: u32,
    by_caller: HashMap<Option<LabelValue>, u32>,
}

impl RateWindow {
    fn begin(began: Instant) -> Self {
        Self { began, used: 0, by_caller: HashMap::new() }
    }
}

impl UpstreamRateLimit {
    /// No limit is known.
    pub fn new() -> Self {
        let now = Instant::now();
        let state = RateState {
            paused_until: None,
            rate: None,
            raised: now,
            window: RateWindow::begin(now),
            before: 0,
        };
        Self { limited: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// Lets a call pass, or says when to retry.
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

    /// Learns from a response.
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
        // Responses to calls that were in flight together count once.
        let known = state.paused_until.is_some_and(|until| now < until);
        // No clock ends that early, so there is no pause to note.
        let Some(until) = now.checked_add(pause) else { return };
        state.paused_until = Some(state.paused_until.map_or(until, |known| known.max(until)));
        if too_many && !known {
            let seen = state.window.used.max(state.before);
            state.rate = Some(seen.saturating_sub(seen / 5).max(1));
            state.raised = until;
            tracing::warn!(?pause, rate = state.rate, "Pigello asks for fewer calls");
        }
        self.limited.store(true, Ordering::Relaxed);
    }

    /// The rest of the pause.
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

impl RateState {
    fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.window.began);
        if age >= WINDOW {
            self.before = if age < TWO_WINDOWS { self.window.used } else { 0 };
            // A caller keeps its share until it has not called for a whole window.
            let mut callers = std::mem::take(&mut self.window.by_caller);
            callers.retain(|_, used| *used > 0 && age < TWO_WINDOWS);
            for used in callers.values_mut() {
                *used = 0;
            }
            self.window = RateWindow { by_caller: callers, ..RateWindow::begin(now) };
        }
    }

    fn admit(&mut self, now: Instant, caller: Option<LabelValue>) -> Result<(), Error> {
        if let Some(until) = self.paused_until {
            if now < until {
                let detail = "Pigello has asked for a pause (its `Retry-After`)";
                let error = Error::new(Kind::UpstreamRateLimited, detail);
                return Err(error.retry_after(until.saturating_duration_since(now)));
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
        let share = rate.checked_div(callers).unwrap_or(rate).max(1);
        // The unused shares of the others are reserved until the window ends.
        let reserved: u32 =
            self.window.by_caller.values().map(|used| share.saturating_sub(*used)).sum();
        let spare = rate.saturating_sub(self.window.used).saturating_sub(reserved);
        if self.window.used >= rate || (mine >= share && spare == 0) {
            let detail = "Pigello's rate limit is shared, and this caller's share is used up";
            let wait = WINDOW.saturating_sub(now.saturating_duration_since(self.window.began));
            return Err(Error::new(Kind::RateLimited, detail).retry_after(wait));
        }
        self.window.used = self.window.used.saturating_add(1);
        self.window.by_caller.insert(caller, mine.saturating_add(1));
        Ok(())
    }

    /// Raises the rate by a tenth after each quiet time, and removes it when it is twice the demand.
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

/// The time over which a rate is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// After it, an earlier window says nothing.
const TWO_WINDOWS: Duration = WINDOW.saturating_mul(2);
/// The longest pause, whatever the header says.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long no 429 must come before the rate rises.
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
    async fn a_pause_is_for_all_callers_and_tells_when_it_ends() {
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
        assert_eq!(
            hot(200),
            40,
            "half of 80, because the other half is reserved for the quiet one"
        );
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
        assert_eq!(hot(200), 80, "the quiet one has not called for a window");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_rises_until_there_is_no_limit() {
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
    fn retry_after_is_in_seconds_or_a_date() {
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
