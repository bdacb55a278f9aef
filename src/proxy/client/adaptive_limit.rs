//! An adaptive limit of requests in flight: a saturated worker delivers responses before it starts new
//! upstream requests.
//!
//! With hundreds of callers a worker could first send all their requests and then get hundreds of
//! responses. Each exchange has memory of its own, and so many exchanges do not fit in a processor's
//! cache: when a response arrives, its exchange is no longer there. So a worker without idle time lowers
//! its limit, down to [`MIN_IN_FLIGHT`], and starts the next request when a response has arrived. A
//! worker with idle time has no limit, so a slow upstream gets as many requests as without this module.
//!
//! The worker may be saturated with other work. So no request waits longer than [`MAX_WAIT`], and a
//! limit that made a request wait so long is raised. The wait is the gateway's: it is `queue_us` of a
//! record, and no part of the upstream's time. `limits.adaptive_concurrency` switches this off.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    time::{self, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::in_flight::{InFlight, InFlightPermit};
use crate::domain::Origin;

/// The limit of one worker for one upstream.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    load: Arc<Load>,
    _adjusting: AbortOnDropHandle<()>,
}

/// The requests of one worker to one upstream.
#[derive(Debug)]
struct Load {
    in_flight: InFlight,
    /// A request has waited for [`MAX_WAIT`].
    is_overdue: AtomicBool,
}

impl AdaptiveLimit {
    /// The limit of the runtime that this is called on.
    pub(super) fn new(upstream: Origin) -> Self {
        let load = Arc::new(Load::new());
        let adjusting = tokio::spawn(keep_adjusting(Arc::clone(&load), upstream));
        Self { load, _adjusting: AbortOnDropHandle::new(adjusting) }
    }

    /// Waits until a request may be sent, in the order of arrival; after [`MAX_WAIT`] it goes without a
    /// permit. Returns what is to be dropped when the response is there, and how long it took.
    pub(super) async fn acquire(&self) -> (InFlightPermit<'_>, Duration) {
        let mut request = self.load.in_flight.enter();
        if request.try_start() {
            return (request, Duration::ZERO);
        }
        let began = time::Instant::now();
        if timeout(MAX_WAIT, request.start()).await.is_err() {
            self.load.is_overdue.store(true, Ordering::Release);
        }
        (request, began.elapsed())
    }

    /// Sets the limit.
    #[cfg(test)]
    pub(super) fn set(&self, limit: usize) {
        self.load.in_flight.set_limit(limit);
    }

    /// The number of requests in flight or waiting.
    #[cfg(test)]
    pub(super) fn requests(&self) -> usize {
        self.load.in_flight.requests()
    }
}

impl Load {
    fn new() -> Self {
        let in_flight = InFlight::new(UNLIMITED, MIN_IN_FLIGHT);
        Self { in_flight, is_overdue: AtomicBool::new(false) }
    }

    /// Lowers or raises the limit after a time in which the worker was busy for this share of it.
    fn adjust(&self, busy: f64) {
        let limit = self.in_flight.limit();
        let is_overdue = self.is_overdue.swap(false, Ordering::AcqRel);
        self.in_flight.set_limit(if busy > SATURATED && !is_overdue {
            (limit.min(self.in_flight.requests()) / 4).saturating_mul(3).max(MIN_IN_FLIGHT)
        } else {
            (limit / 2).saturating_mul(3).min(UNLIMITED)
        });
    }
}

/// Adjusts the limit while there are enough requests for one.
async fn keep_adjusting(load: Arc<Load>, upstream: Origin) {
    let runtime = Handle::current().metrics();
    let mut said = None;
    loop {
        load.in_flight.crowded().await;
        while load.in_flight.requests() > MIN_IN_FLIGHT {
            let (began, before) = (Instant::now(), runtime.worker_total_busy_duration(0));
            time::sleep(INTERVAL).await;
            let busy = runtime.worker_total_busy_duration(0).saturating_sub(before);
            load.adjust(busy.as_secs_f64() / began.elapsed().as_secs_f64());
            if load.in_flight.limit() < load.in_flight.requests()
                && said.is_none_or(|said: Instant| said.elapsed() > SAY_AGAIN)
            {
                said = Some(Instant::now());
                tracing::info!(
                    %upstream,
                    requests = load.in_flight.requests(),
                    limit = load.in_flight.limit(),
                    "a worker is saturated; its requests to the upstream wait for one another \
                     (`queue_us` of a record, `limits.adaptive_concurrency`)"
                );
            }
        }
        load.in_flight.set_limit(UNLIMITED);
    }
}

/// The lowest limit. The memory of so many exchanges stays in the processor's cache, and a near upstream
/// always has a request to answer. A lower limit saves nothing, and each waiting request is polled twice.
const MIN_IN_FLIGHT: usize = 64;
/// More requests than a worker has.
const UNLIMITED: usize = 1 << 20;
/// A worker that is busy for a larger share of its time is saturated.
const SATURATED: f64 = 0.8;
/// The time between two adjustments.
const INTERVAL: Duration = Duration::from_millis(2);
/// The time between two log lines of a worker.
const SAY_AGAIN: Duration = Duration::from_mins(1);
/// The longest wait of a request. With a thousand callers of a saturated worker it is half of this.
const MAX_WAIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// All free permits, up to a thousand.
    fn take_free(limit: &AdaptiveLimit) -> Vec<InFlightPermit<'_>> {
        let permits = std::iter::from_fn(|| limit.acquire().now_or_never());
        permits.map(|(permit, _)| permit).take(1000).collect()
    }

    fn limit() -> AdaptiveLimit {
        AdaptiveLimit::new("https://api.pigello.example".parse().unwrap())
    }

    #[tokio::test]
    async fn a_worker_with_idle_time_has_no_limit() {
        let limit = limit();
        let permits = take_free(&limit);
        limit.load.adjust(SATURATED);
        assert_eq!((permits.len(), take_free(&limit).len()), (1000, 1000));
    }

    #[tokio::test]
    async fn a_saturated_worker_lowers_its_limit_to_the_lowest() {
        let limit = limit();
        let permits = take_free(&limit);
        let mut before = permits.len();
        while before > MIN_IN_FLIGHT {
            limit.load.adjust(1.0);
            let now = limit.load.in_flight.limit();
            assert!(now < before && now >= MIN_IN_FLIGHT, "{now} after {before}");
            before = now;
        }
        limit.load.adjust(1.0);
        assert!(limit.acquire().now_or_never().is_none());
        drop(permits);
        assert_eq!(take_free(&limit).len(), MIN_IN_FLIGHT);
    }

    #[tokio::test]
    async fn a_released_permit_goes_to_the_request_that_waited_longest() {
        let limit = limit();
        limit.load.in_flight.set_limit(MIN_IN_FLIGHT);
        let mut permits = take_free(&limit);
        let mut first = Box::pin(limit.acquire());
        let mut second = Box::pin(limit.acquire());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        permits.pop();
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_raised_limit_cancels_the_debt() {
        let limit = limit();
        let permits = take_free(&limit);
        limit.load.in_flight.set_limit(MIN_IN_FLIGHT);
        limit.load.in_flight.set_limit(MIN_IN_FLIGHT * 2);
        drop(permits);
        assert_eq!(take_free(&limit).len(), MIN_IN_FLIGHT * 2);
        limit.load.in_flight.set_limit(UNLIMITED);
        assert_eq!(limit.load.in_flight.available_permits(), UNLIMITED);
    }

    #[tokio::test]
    async fn a_request_that_stops_waiting_does_not_change_the_limit() {
        let limit = limit();
        limit.load.in_flight.set_limit(MIN_IN_FLIGHT);
        let permits = take_free(&limit);
        assert!(limit.acquire().now_or_never().is_none());
        drop(permits);
        assert_eq!(limit.requests(), 0);
        assert_eq!(take_free(&limit).len(), MIN_IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_long_and_a_long_wait_raises_the_limit() {
        // No task adjusts this one.
        let limit = AdaptiveLimit {
            load: Arc::new(Load::new()),
            _adjusting: AbortOnDropHandle::new(tokio::spawn(std::future::pending())),
        };
        limit.load.in_flight.set_limit(MIN_IN_FLIGHT);
        let _open = take_free(&limit);
        let (_overdue, waited) = limit.acquire().await;
        assert_eq!(waited, MAX_WAIT);
        limit.load.adjust(1.0);
        assert!(limit.acquire().now_or_never().is_some());
        limit.load.adjust(1.0);
        assert!(limit.acquire().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_limit_falls_while_the_worker_is_busy_and_rises_when_it_is_not() {
        let limit: &'static AdaptiveLimit = Box::leak(Box::new(limit()));
        let permits = take_free(limit);
        while limit.load.in_flight.limit() > MIN_IN_FLIGHT {
            // Work that takes as long as the time between two adjustments.
            let began = Instant::now();
            while began.elapsed() < INTERVAL {
                std::hint::spin_loop();
            }
            yield_now().await;
        }
        drop(permits);
        let mut open = JoinSet::new();
        for _ in 0..MIN_IN_FLIGHT * 3 {
            open.spawn(async { limit.acquire().await });
        }
        // The worker is idle until there is a permit.
        assert_eq!(open.join_all().await.len(), MIN_IN_FLIGHT * 3);
    }
}
