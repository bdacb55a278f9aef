//! The upstream's rate limit: learnt from its responses, and the budget that is configured for it.
//!
//! When several operations ask for a pause, it is the whole profile's, because an earlier call would only
//! cost Pigello work. After a 429 under load, calls continue at a little under the rate that was too high,
//! and the rate rises while no further 429 comes. Callers share that rate fairly: one that needs little
//! gets it, whatever the others need. A 429 in a quiet moment is about that call, and teaches no rate.
//!
//! A budget limits the calls in the same way, to what is in the [`Purse`].

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::pause::{LONGEST_PAUSE, Pause};
use crate::{
    domain::{LabelValue, ProfileName},
    error::{Error, Kind},
    fleet::{BudgetStatus, Purse},
    outbound::retry_after,
};

/// What is learnt of Pigello's rate limit from its `429` responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Quota")]
pub struct QuotaSettings {
    /// Whether a rate is learnt. `Retry-After` is obeyed in any case.
    pub enabled: bool,
    /// Calls a second of a profile up to which nothing is learnt and nobody is slowed down.
    #[schemars(range(min = 1))]
    pub minimum: u32,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { enabled: true, minimum: 10 }
    }
}

/// The known rate limit of one profile's upstream, shared by all workers.
#[derive(Debug)]
pub struct UpstreamRateLimit {
    settings: QuotaSettings,
    /// The budget, if there is one.
    purse: Option<Arc<Purse>>,
    /// Whether there is a pause, a rate or a budget. Without a budget, false until a 429 or 503.
    limited: AtomicBool,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    /// For the log.
    profile: ProfileName,
    pause: Option<Pause>,
    /// Until then, a 429 may be of a call that was in flight with the one that taught the rate.
    learnt_until: Option<Instant>,
    /// Calls in a [`WINDOW`]; `None` is no limit.
    rate: Option<u32>,
    raised: Instant,
    window: RateWindow,
    /// The calls of the last whole window.
    before: u32,
}

/// The calls that a window has room for.
#[derive(Clone, Copy, Debug)]
struct Limit {
    calls: u32,
    /// Whether the budget says so; otherwise it was learnt.
    is_budget: bool,
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
    /// No limit is known but the budget, if there is one.
    pub fn new(settings: QuotaSettings, profile: &ProfileName, purse: Option<Arc<Purse>>) -> Self {
        let now = Instant::now();
        let state = RateState {
            profile: profile.clone(),
            pause: None,
            learnt_until: None,
            rate: None,
            raised: now,
            window: RateWindow::begin(now),
            before: 0,
        };
        let limited = AtomicBool::new(purse.is_some());
        Self { settings, purse, limited, state: Mutex::new(state) }
    }

    /// Lets a call pass, or says when to retry.
    pub(super) fn admit(&self, caller: Option<&LabelValue>) -> Result<(), Error> {
        let limited = self.limited.load(Ordering::Relaxed);
        let mut state = self.state.lock();
        let now = Instant::now();
        if !limited {
            state.roll(now);
            state.window.used = state.window.used.saturating_add(1);
            return Ok(());
        }
        let admitted = state.admit(now, caller.cloned(), self.purse.as_ref());
        if state.pause.is_none() && state.rate.is_none() && self.purse.is_none() {
            self.limited.store(false, Ordering::Relaxed);
        }
        admitted
    }

    /// Lets a call of the gateway's own pass if no caller needs its place, or says when to retry.
    pub(super) fn admit_spare(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.refuse_in_pause(now)?;
        state.roll(now);
        let purse = self.purse.as_ref();
        if let Some(limit) = state.limit(purse)
            && state.spare(limit.calls) == 0
        {
            return Err(state.used_up(now, "callers need all of the rate that there is"));
        }
        state.pass(purse);
        Ok(())
    }

    /// Learns from a response that asks for a pause. The pause is the profile's if it is `is_for_all`.
    pub(super) fn learn(&self, is_too_many: bool, pause: Pause, is_for_all: bool) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.roll(now);
        if is_for_all {
            state.pause = Some(pause.or(state.pause));
        }
        // Responses to calls that were in flight together count once.
        let is_known = state.learnt_until.is_some_and(|until| now < until);
        let seen = state.window.used.max(state.before);
        if is_too_many && !is_known && self.settings.enabled && seen > self.settings.minimum {
            state.rate = Some(seen.saturating_sub(seen / 5).max(self.settings.minimum));
            state.raised = pause.until;
            state.learnt_until = Some(pause.until);
            let (profile, rate) = (&state.profile, state.rate);
            tracing::warn!(%profile, rate, "Pigello asks for fewer calls");
        }
        if state.pause.is_some() || state.rate.is_some() {
            self.limited.store(true, Ordering::Relaxed);
        }
    }

    /// The learnt rate, in calls a second; `None` if there is none.
    pub fn rate(&self) -> Option<u32> {
        self.state.lock().rate
    }

    /// The budget, if there is one.
    pub fn budget(&self) -> Option<BudgetStatus> {
        self.purse.as_ref().map(|purse| purse.status())
    }

    /// The rest of the pause.
    pub fn pause(&self) -> Duration {
        let pause = self.state.lock().pause;
        pause.and_then(|pause| pause.left(Instant::now())).unwrap_or_default()
    }

    /// Whether another member of the fleet was asked for the pause.
    pub fn is_pause_heard(&self) -> bool {
        let pause = self.state.lock().pause;
        pause.is_some_and(|pause| pause.is_heard && pause.left(Instant::now()).is_some())
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

    fn refuse_in_pause(&mut self, now: Instant) -> Result<(), Error> {
        let Some(pause) = self.pause else { return Ok(()) };
        let Some(left) = pause.left(now) else {
            self.pause = None;
            return Ok(());
        };
        let detail = format!(
            "Pigello has {} for a pause (its `Retry-After`, or a 429) of several operations",
            pause.whom()
        );
        Err(Error::new(Kind::UpstreamRateLimited, detail).retry_after(left))
    }

    /// The share of each caller.
    fn share(&self, rate: u32) -> u32 {
        let callers = u32::try_from(self.window.by_caller.len()).unwrap_or(u32::MAX).max(1);
        rate.checked_div(callers).unwrap_or(rate).max(1)
    }

    /// The calls of this window that nobody needs: the unused shares of callers are reserved until it ends.
    fn spare(&self, rate: u32) -> u32 {
        let share = self.share(rate);
        let reserved: u32 =
            self.window.by_caller.values().map(|used| share.saturating_sub(*used)).sum();
        rate.saturating_sub(self.window.used).saturating_sub(reserved)
    }

    fn used_up(&self, now: Instant, detail: &'static str) -> Error {
        Error::new(Kind::UpstreamQuota, detail).retry_after(self.rest(now))
    }

    /// The rest of the window.
    fn rest(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.window.began))
    }

    /// The calls that this window has room for.
    fn limit(&self, purse: Option<&Arc<Purse>>) -> Option<Limit> {
        let learnt = self.rate.map(|calls| Limit { calls, is_budget: false });
        let budget = purse.map(|purse| Limit {
            calls: self.window.used.saturating_add(purse.look()),
            is_budget: true,
        });
        [learnt, budget].into_iter().flatten().min_by_key(|limit| limit.calls)
    }

    /// A call passes.
    fn pass(&mut self, purse: Option<&Arc<Purse>>) {
        self.window.used = self.window.used.saturating_add(1);
        if let Some(purse) = purse {
            purse.take();
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        caller: Option<LabelValue>,
        purse: Option<&Arc<Purse>>,
    ) -> Result<(), Error> {
        self.refuse_in_pause(now)?;
        self.roll(now);
        self.raise(now);
        let Some(limit) = self.limit(purse) else {
            self.pass(purse);
            return Ok(());
        };
        let mine = *self.window.by_caller.entry(caller.clone()).or_insert(0);
        let is_used_up = self.window.used >= limit.calls;
        if is_used_up || (mine >= self.share(limit.calls) && self.spare(limit.calls) == 0) {
            return Err(self.refusal(now, limit, is_used_up, purse));
        }
        self.pass(purse);
        self.window.by_caller.insert(caller, mine.saturating_add(1));
        Ok(())
    }

    fn refusal(
        &self,
        now: Instant,
        limit: Limit,
        is_used_up: bool,
        purse: Option<&Arc<Purse>>,
    ) -> Error {
        let Some(purse) = purse.filter(|_| limit.is_budget) else {
            let detail = "Pigello has answered 429 under load, and this caller's share of the rate that was learnt is used up";
            return self.used_up(now, detail);
        };
        let wait = purse.refuse();
        let (wait, detail) = if is_used_up {
            (wait, "the calls of the budget that this gateway has are used up")
        } else {
            (wait.max(self.rest(now)), "this caller's share of the budget is used up")
        };
        Error::new(Kind::RateLimited, detail).retry_after(wait)
    }

    /// Raises the rate by a tenth after each quiet time, and removes it when it is twice the demand.
    fn raise(&mut self, now: Instant) {
        let Some(rate) = self.rate else { return };
        if now.saturating_duration_since(self.raised) >= RAISE_EVERY {
            self.raised = now;
            let raised = rate.saturating_add((rate / 10).max(1));
            let unlimited = raised > self.before.max(self.window.used).saturating_mul(2);
            self.rate = (!unlimited).then_some(raised);
            let (profile, rate) = (&self.profile, self.rate);
            tracing::info!(%profile, rate, "Pigello is called more often again");
        }
    }
}

/// The pause that a response asks for. A 429 without `Retry-After` means a moment.
pub(super) fn told_pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let is_too_many = status == StatusCode::TOO_MANY_REQUESTS;
    if !is_too_many && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    match retry_after(headers, SystemTime::now()) {
        Some(pause) => Some(pause.min(LONGEST_PAUSE)),
        None => is_too_many.then_some(WINDOW),
    }
}

/// The time over which a rate is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// After it, an earlier window says nothing.
const TWO_WINDOWS: Duration = WINDOW.saturating_mul(2);
/// How long no 429 must come before the rate rises.
const RAISE_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use tokio::time::advance;

    use super::*;
    use crate::fleet::BudgetSettings;

    fn headers(retry_after: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::try_from(retry_after).unwrap())])
    }

    fn admit(quota: &UpstreamRateLimit, caller: &str) -> Result<(), Error> {
        quota.admit(Some(&caller.into()))
    }

    fn limit(settings: QuotaSettings) -> UpstreamRateLimit {
        UpstreamRateLimit::new(settings, &ProfileName::new("test"), None)
    }

    fn learn(quota: &UpstreamRateLimit, status: StatusCode, headers: &HeaderMap, is_for_all: bool) {
        let pause = after(told_pause(status, headers).unwrap());
        quota.learn(status == StatusCode::TOO_MANY_REQUESTS, pause, is_for_all);
    }

    fn after(length: Duration) -> Pause {
        Pause { until: Instant::now() + length, is_heard: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_of_the_gateways_own_takes_only_what_callers_leave() {
        let quota = limit(QuotaSettings { enabled: true, minimum: 10 });
        for _ in 0..50 {
            admit(&quota, "app").unwrap();
        }
        assert!(quota.admit_spare().is_ok(), "there is no rate");
        quota.learn(true, after(Duration::ZERO), true);
        let rate = quota.rate().unwrap();
        advance(WINDOW).await;
        // The caller's share is all there is, used or not.
        admit(&quota, "app").unwrap();
        assert_eq!(quota.admit_spare().unwrap_err().kind(), Kind::UpstreamQuota);
        for _ in 1..rate {
            admit(&quota, "app").unwrap();
        }
        // It has not called for two windows.
        advance(TWO_WINDOWS).await;
        assert!(quota.admit_spare().is_ok());
        quota.learn(true, after(WINDOW), true);
        assert_eq!(quota.admit_spare().unwrap_err().kind(), Kind::UpstreamRateLimited);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_in_a_quiet_moment_or_of_a_quota_that_is_off_slows_nobody_down() {
        for (enabled, calls) in [(true, 10), (false, 100)] {
            let quota = limit(QuotaSettings { enabled, minimum: 10 });
            for _ in 0..calls {
                admit(&quota, "a").unwrap();
            }
            learn(&quota, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), false);
            assert_eq!(quota.rate(), None);
            for _ in 0..100 {
                admit(&quota, "a").unwrap();
            }
        }
        let quota = limit(QuotaSettings { enabled: true, minimum: 10 });
        for _ in 0..11 {
            admit(&quota, "a").unwrap();
        }
        learn(&quota, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), false);
        assert_eq!(quota.rate(), Some(10), "never less than the minimum");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_for_all_callers_and_tells_when_it_ends() {
        let quota = limit(QuotaSettings::default());
        admit(&quota, "billing").unwrap();
        learn(&quota, StatusCode::SERVICE_UNAVAILABLE, &headers("7"), true);
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
        let quota = limit(QuotaSettings::default());
        for _ in 0..100 {
            admit(&quota, "hot").unwrap();
        }
        learn(&quota, StatusCode::TOO_MANY_REQUESTS, &headers("1"), false);
        advance(Duration::from_secs(1)).await;
        admit(&quota, "quiet").unwrap();
        let hot = |calls: u32| (0..calls).filter(|_| admit(&quota, "hot").is_ok()).count();
        assert_eq!(
            hot(200),
            40,
            "half of 80, because the other half is reserved for the quiet one"
        );
        let error = admit(&quota, "hot").unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamQuota);
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
    async fn callers_share_a_budget_as_they_share_a_learnt_rate() {
        let profile = ProfileName::new("test");
        let settings =
            BudgetSettings { rate: Some(80), burst: Some(80), ..BudgetSettings::default() };
        let purse = Purse::alone(&profile, settings);
        let quota = UpstreamRateLimit::new(QuotaSettings::default(), &profile, purse);
        admit(&quota, "quiet").unwrap();
        let hot = |calls: u32| (0..calls).filter(|_| admit(&quota, "hot").is_ok()).count();
        assert_eq!(hot(200), 40, "the other half is reserved for the quiet one");
        let error = admit(&quota, "hot").unwrap_err();
        assert_eq!(error.kind(), Kind::RateLimited);
        assert_eq!(error.retry_after_hint(), Some(WINDOW));
        assert!(quota.admit_spare().is_err(), "callers need the rest");
        for _ in 0..39 {
            admit(&quota, "quiet").unwrap();
        }
        let error = admit(&quota, "quiet").unwrap_err();
        assert!(error.to_string().contains("used up"), "{error}");
        advance(WINDOW).await;
        assert_eq!(hot(200), 40);
        assert_eq!(quota.budget().unwrap().refused, 322);
        // What Pigello says counts as well.
        advance(TWO_WINDOWS).await;
        assert_eq!(hot(200), 80);
        learn(&quota, StatusCode::TOO_MANY_REQUESTS, &headers("1"), false);
        advance(WINDOW).await;
        assert_eq!(hot(200), 64);
        assert_eq!(admit(&quota, "hot").unwrap_err().kind(), Kind::UpstreamQuota);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_rises_until_there_is_no_limit() {
        let quota = limit(QuotaSettings::default());
        for _ in 0..20 {
            admit(&quota, "a").unwrap();
        }
        learn(&quota, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), false);
        let mut seconds = 0;
        while quota.limited.load(Ordering::Relaxed) {
            advance(WINDOW).await;
            for _ in 0..20 {
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
