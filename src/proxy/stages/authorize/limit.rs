//! How much one caller may ask for: a rate with a burst, and calls at the same time.
//!
//! The counts belong to the caller, over all its connections, listeners and workers, and are lost
//! when the process ends. A caller without limits costs one look into a map, and a gateway without
//! any nothing.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use tokio::sync::Semaphore;

use crate::{
    domain::{Caller, CallerLimits, CallerRule, LabelValue},
    error::{Error, Kind},
    proxy::call::CallerPermit,
};

/// The limits of every caller that has some.
#[derive(Default)]
pub struct Limits {
    by_name: HashMap<LabelValue, Arc<Limit>>,
}

struct Limit {
    wanted: CallerLimits,
    rate: Option<DefaultDirectRateLimiter>,
    calls: Option<Arc<Semaphore>>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Limits {
    /// The limits of those rules, with nothing used yet.
    pub fn new(rules: &[Arc<CallerRule>]) -> Self {
        Self::default().renew(rules)
    }

    /// The limits of other rules. Callers whose limits are the same have used what they had used.
    #[must_use]
    pub fn renew(&self, rules: &[Arc<CallerRule>]) -> Self {
        let limited = rules.iter().filter(|rule| rule.limits != CallerLimits::default());
        let limits = limited.map(|rule| {
            let same = self.by_name.get(&rule.name).filter(|limit| limit.wanted == rule.limits);
            let limit = same.map_or_else(|| Arc::new(Limit::new(rule.limits)), Arc::clone);
            (rule.name.clone(), limit)
        });
        Self { by_name: limits.collect() }
    }

    /// Takes a place for one call. The permit is held until the call is over.
    pub(super) fn admit(&self, caller: &Caller) -> Result<Option<CallerPermit>, Error> {
        if self.by_name.is_empty() {
            return Ok(None);
        }
        let limit = caller.name().and_then(|name| self.by_name.get(name));
        let Some(limit) = limit else { return Ok(None) };
        let place = match &limit.calls {
            Some(calls) => Some(Arc::clone(calls).try_acquire_owned().map_err(|_| {
                let detail = "the caller has too many calls under way (`concurrency`)";
                Error::new(Kind::RateLimited, detail).retry_after(Duration::from_secs(1))
            })?),
            None => None,
        };
        if let Some(rate) = &limit.rate {
            rate.check().map_err(|not_until| {
                let wait = not_until.wait_time_from(rate.clock().now());
                let detail = "the caller sends more calls a second than it may (`rate`)";
                Error::new(Kind::RateLimited, detail).retry_after(round_up(wait))
            })?;
        }
        Ok(place.map(CallerPermit::from))
    }
}

impl Limit {
    fn new(wanted: CallerLimits) -> Self {
        let rate = wanted.rate.map(|rate| {
            RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.burst))
        });
        let calls = wanted.concurrency.map(|calls| Arc::new(Semaphore::new(calls.get())));
        Self { wanted, rate, calls }
    }
}

/// `Retry-After` has whole seconds.
fn round_up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use std::num::{NonZero, NonZeroU32};

    use super::*;
    use crate::domain::{Proof, Rate};

    fn caller(name: &str) -> Caller {
        Caller::Known { rule: None, name: name.into(), proof: Proof::Listener }
    }

    fn rules(limits: CallerLimits) -> [Arc<CallerRule>; 1] {
        [Arc::new(CallerRule {
            name: "billing".into(),
            unix_uids: Vec::new(),
            tls_names: Vec::new(),
            allow: Vec::new(),
            limits,
        })]
    }

    fn limits(limits: CallerLimits) -> Limits {
        Limits::new(&rules(limits))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let per_second = NonZeroU32::new(1).unwrap();
        let burst = NonZeroU32::new(3).unwrap();
        let limits =
            limits(CallerLimits { rate: Some(Rate { per_second, burst }), concurrency: None });
        for _ in 0..3 {
            assert!(limits.admit(&caller("billing")).is_ok());
        }
        let refused = limits.admit(&caller("billing")).unwrap_err();
        assert_eq!(refused.kind(), Kind::RateLimited);
        assert_eq!(refused.retry_after_hint(), Some(Duration::from_secs(1)));
        assert!(limits.admit(&caller("portal")).is_ok(), "others are not counted");
    }

    #[test]
    fn a_place_comes_back_when_the_call_is_over() {
        let limits = limits(CallerLimits { rate: None, concurrency: NonZero::new(1) });
        let place = limits.admit(&caller("billing")).unwrap();
        assert!(limits.admit(&caller("billing")).is_err());
        drop(place);
        assert!(limits.admit(&caller("billing")).is_ok());
    }

    #[test]
    fn other_rules_give_back_nothing_but_to_those_whose_limits_they_change() {
        let one = CallerLimits { rate: None, concurrency: NonZero::new(1) };
        let before = limits(one);
        let _place = before.admit(&caller("billing")).unwrap();
        assert!(before.renew(&rules(one)).admit(&caller("billing")).is_err());
        let more = CallerLimits { rate: None, concurrency: NonZero::new(2) };
        assert!(before.renew(&rules(more)).admit(&caller("billing")).is_ok());
        assert!(before.renew(&[]).admit(&caller("billing")).is_ok());
    }
}
