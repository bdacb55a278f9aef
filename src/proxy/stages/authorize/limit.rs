//! The limits of each caller: a rate with a burst, and calls in flight.
//!
//! A caller is counted over all its connections, listeners and workers; the counts end with the
//! process. A caller without limits costs one lookup in a map, and a gateway without limits costs
//! nothing.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use tokio::sync::Semaphore;

use crate::{
    domain::{Caller, CallerLimits, CallerRule, LabelValue},
    error::{Error, Kind},
    proxy::call::CallerPermit,
};

/// The limits of all callers that have any, and how far each is used.
#[derive(Default)]
pub struct CallerLimiters {
    by_name: HashMap<LabelValue, Arc<CallerLimiter>>,
}

struct CallerLimiter {
    limits: CallerLimits,
    rate: Option<DefaultDirectRateLimiter>,
    in_flight: Option<Arc<Semaphore>>,
}

impl fmt::Debug for CallerLimiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl CallerLimiters {
    /// The limits of those rules, unused.
    pub fn new(rules: &[Arc<CallerRule>]) -> Self {
        Self::default().renew(rules)
    }

    /// The limits after a reload. A caller whose limits are unchanged keeps its counts.
    #[must_use]
    pub fn renew(&self, rules: &[Arc<CallerRule>]) -> Self {
        let limited = rules.iter().filter(|rule| rule.limits != CallerLimits::default());
        let limiters = limited.map(|rule| {
            let same = self.by_name.get(&rule.name).filter(|limiter| limiter.limits == rule.limits);
            let limiter =
                same.map_or_else(|| Arc::new(CallerLimiter::new(rule.limits)), Arc::clone);
            (rule.name.clone(), limiter)
        });
        Self { by_name: limiters.collect() }
    }

    /// Counts a call, or refuses it. The permit is for callers that have a limit of calls in flight.
    pub(super) fn admit(&self, caller: &Caller) -> Result<Option<CallerPermit>, Error> {
        if self.by_name.is_empty() {
            return Ok(None);
        }
        let limiter = caller.name().and_then(|name| self.by_name.get(name));
        let Some(limiter) = limiter else { return Ok(None) };
        let permit = match &limiter.in_flight {
            Some(in_flight) => Some(Arc::clone(in_flight).try_acquire_owned().map_err(|_| {
                let detail = "the caller has too many calls under way (`concurrency`)";
                Error::new(Kind::RateLimited, detail).retry_after(Duration::from_secs(1))
            })?),
            None => None,
        };
        if let Some(rate) = &limiter.rate {
            rate.check().map_err(|not_until| {
                let wait = not_until.wait_time_from(rate.clock().now());
                let detail = "the caller sends more calls a second than it may (`rate`)";
                Error::new(Kind::RateLimited, detail).retry_after(wait)
            })?;
        }
        Ok(permit.map(CallerPermit::from))
    }
}

impl CallerLimiter {
    fn new(limits: CallerLimits) -> Self {
        let rate = limits.rate.map(|rate| {
            RateLimiter::direct(Quota::per_second(rate.per_second).allow_burst(rate.burst))
        });
        let in_flight = limits.concurrency.map(|calls| Arc::new(Semaphore::new(calls.get())));
        Self { limits, rate, in_flight }
    }
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
            profile: None,
            profiles: Vec::new(),
            forward: Vec::new(),
            limits,
        })]
    }

    fn limits(limits: CallerLimits) -> CallerLimiters {
        CallerLimiters::new(&rules(limits))
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
    fn a_permit_is_free_again_when_the_call_is_over() {
        let limits = limits(CallerLimits { rate: None, concurrency: NonZero::new(1) });
        let permit = limits.admit(&caller("billing")).unwrap();
        assert!(limits.admit(&caller("billing")).is_err());
        drop(permit);
        assert!(limits.admit(&caller("billing")).is_ok());
    }

    #[test]
    fn a_reload_resets_the_counts_of_a_caller_only_if_its_limits_change() {
        let one = CallerLimits { rate: None, concurrency: NonZero::new(1) };
        let before = limits(one);
        let _permit = before.admit(&caller("billing")).unwrap();
        assert!(before.renew(&rules(one)).admit(&caller("billing")).is_err());
        let more = CallerLimits { rate: None, concurrency: NonZero::new(2) };
        assert!(before.renew(&rules(more)).admit(&caller("billing")).is_ok());
        assert!(before.renew(&[]).admit(&caller("billing")).is_ok());
    }
}
