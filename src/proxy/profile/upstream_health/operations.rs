//! What is known of single operations that are in trouble: each has a circuit breaker and a pause of its
//! own. So the maintenance of one operation takes no other one away.
//!
//! An operation has an entry from its first failure until it has been well for a while. Most of the time
//! there is none, and calls pass without a lock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    circuit_breaker::{
        BreakerPermit, CircuitBreaker, CircuitBreakerSettings, CircuitBreakerState, Outcome, WINDOW,
    },
    pause::Pause,
};
use crate::{
    domain::{Operation, ProfileName},
    error::{Error, Kind},
};

/// The operations of one upstream that are in trouble.
#[derive(Debug)]
pub(super) struct TroubledOperations {
    settings: CircuitBreakerSettings,
    /// For the log.
    profile: ProfileName,
    /// Whether there are any.
    any: AtomicBool,
    /// By name. Calls that match no operation count as one, with an empty name.
    entries: Mutex<HashMap<String, Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    breaker: Arc<CircuitBreaker>,
    failed: Instant,
    pause: Option<Pause>,
}

/// What a pause of an operation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paused {
    /// Whether it is not known yet.
    pub(super) is_news: bool,
    /// Whether another operation pauses, too.
    pub(super) are_several: bool,
}

impl Trouble {
    fn is_over(&self, now: Instant) -> bool {
        self.pause.is_none_or(|pause| pause.until <= now)
            && now.saturating_duration_since(self.failed) >= WINDOW
            && self.breaker.state() == CircuitBreakerState::Closed
    }
}

impl TroubledOperations {
    pub(super) fn new(settings: CircuitBreakerSettings, profile: &ProfileName) -> Self {
        let profile = profile.clone();
        Self { settings, profile, any: AtomicBool::new(false), entries: Mutex::default() }
    }

    /// Lets a call pass, or says when to retry.
    pub(super) fn admit(
        &self,
        operation: Option<&Operation>,
    ) -> Result<Option<BreakerPermit>, Error> {
        if !self.any.load(Ordering::Acquire) {
            return Ok(None);
        }
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.retain(|_, trouble| !trouble.is_over(now));
        self.any.store(!entries.is_empty(), Ordering::Release);
        let Some(trouble) = entries.get(name(operation)) else { return Ok(None) };
        if let Some((pause, wait)) = trouble.pause.and_then(|it| Some((it, it.left(now)?))) {
            let detail = format!(
                "Pigello has {} for a pause of this operation (its `Retry-After`, or a 429)",
                pause.whom()
            );
            return Err(Error::new(Kind::UpstreamRateLimited, detail).retry_after(wait));
        }
        // All of them are calls of the one operation, so any may probe it.
        let permit = trouble.breaker.admit(true).map_err(|wait| {
            let detail =
                "this operation kept failing at the upstream and is left alone for a moment";
            Error::new(Kind::UpstreamSuspended, detail).retry_after(wait)
        })?;
        Ok(Some(permit))
    }

    /// Notes that an operation failed. Returns whether another one has, too, a short time ago.
    pub(super) fn fail(
        &self,
        operation: Option<&Operation>,
        permit: Option<BreakerPermit>,
    ) -> bool {
        let now = Instant::now();
        let name = name(operation);
        let mut entries = self.entries.lock();
        self.entry(&mut entries, name, now).failed = now;
        let several = entries.iter().any(|(other, trouble)| {
            other != name && now.saturating_duration_since(trouble.failed) < WINDOW
        });
        match permit {
            Some(permit) => permit.report(OWN_FAILURE),
            None => self.entry(&mut entries, name, now).breaker.record(OWN_FAILURE),
        }
        several
    }

    /// Notes that the upstream asks for a pause of an operation.
    pub(super) fn pause(&self, operation: Option<&Operation>, pause: Pause) -> Paused {
        let now = Instant::now();
        let name = name(operation);
        let mut entries = self.entries.lock();
        let trouble = self.entry(&mut entries, name, now);
        let is_news = !pause.is_known(trouble.pause);
        trouble.pause = Some(pause.or(trouble.pause));
        let are_several = entries.iter().any(|(other, trouble)| {
            other != name && trouble.pause.is_some_and(|it| now < it.until)
        });
        Paused { is_news, are_several }
    }

    /// The operations that are paused or whose breaker is open, by name.
    pub(super) fn suspended(&self) -> Vec<String> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let mut names: Vec<_> = entries
            .iter()
            .filter(|(_, trouble)| {
                trouble.pause.is_some_and(|pause| now < pause.until)
                    || trouble.breaker.state() != CircuitBreakerState::Closed
            })
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    fn entry<'a>(
        &self,
        entries: &'a mut HashMap<String, Trouble>,
        name: &str,
        now: Instant,
    ) -> &'a mut Trouble {
        self.any.store(true, Ordering::Release);
        entries.entry(name.to_owned()).or_insert_with(|| Trouble {
            breaker: Arc::new(CircuitBreaker::new(self.settings, &self.profile)),
            failed: now,
            pause: None,
        })
    }
}

fn name(operation: Option<&Operation>) -> &str {
    operation.map_or("", Operation::name)
}

/// For the breaker of the operation itself, a failure is like that of a connection.
const OWN_FAILURE: Outcome = Outcome::Connection;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use tokio::time::advance;

    use super::*;
    use crate::domain::Span;

    fn operations() -> TroubledOperations {
        let settings =
            CircuitBreakerSettings { enabled: true, failures: 3, pause: Span::from_secs(5) };
        TroubledOperations::new(settings, &ProfileName::new("test"))
    }

    fn operation(name: &str) -> Operation {
        Operation::new(name, Method::GET, "/a/").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_keeps_failing_is_left_alone_and_others_are_not() {
        let operations = operations();
        let (bad, good) = (operation("tenant.bulk_write"), operation("subtenant.get"));
        for _ in 0..3 {
            let permit = operations.admit(Some(&bad)).unwrap();
            assert!(!operations.fail(Some(&bad), permit));
        }
        let refused = operations.admit(Some(&bad)).unwrap_err();
        assert_eq!(refused.kind(), Kind::UpstreamSuspended);
        assert!(operations.admit(Some(&good)).is_ok() && operations.admit(None).is_ok());
        assert_eq!(operations.suspended(), ["tenant.bulk_write"]);
        assert!(operations.fail(Some(&good), None), "two of them fail");
        advance(Duration::from_secs(5)).await;
        operations.admit(Some(&bad)).unwrap().unwrap().report(Outcome::Success);
        advance(WINDOW).await;
        assert!(operations.admit(Some(&bad)).unwrap().is_none(), "nothing is known any more");
        assert!(!operations.any.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_for_one_operation_until_another_one_asks_for_it_too() {
        let operations = operations();
        let (one, other) = (operation("tenant.list"), operation("subtenant.get"));
        let pause = Pause { until: Instant::now() + Duration::from_mins(5), is_heard: false };
        let paused = operations.pause(Some(&one), pause);
        assert_eq!(paused, Paused { is_news: true, are_several: false });
        assert!(!operations.pause(Some(&one), pause).is_news);
        let refused = operations.admit(Some(&one)).unwrap_err();
        assert_eq!(refused.kind(), Kind::UpstreamRateLimited);
        assert_eq!(refused.retry_after_hint(), Some(Duration::from_mins(5)));
        assert!(operations.admit(Some(&other)).is_ok());
        let paused = operations.pause(Some(&other), Pause { is_heard: true, ..pause });
        assert_eq!(paused, Paused { is_news: true, are_several: true });
        let refused = operations.admit(Some(&other)).unwrap_err();
        assert!(refused.to_string().contains("another gateway of the fleet"), "{refused}");
    }
}
