//! How many requests a worker has open at a time: one that is busy hands answers on before it asks for
//! more.
//!
//! With hundreds of callers at once a worker could send everything that they ask and then find
//! hundreds of answers. Each exchange has memory of its own, and so many together are more than a
//! processor's cache holds: by the time an answer comes, all that belongs to it has to be fetched
//! anew. So a worker that has no time left opens fewer at once, down to [`MIN_IN_FLIGHT`], and takes up the next
//! request when an answer has come. One that has time left opens as many as are asked: an upstream
//! that is slow to answer is asked as much as without a window.
//!
//! A worker may be busy with something else while all that is open takes its time. So no request waits
//! for longer than [`PATIENCE`], and a window that one has waited so long for does not stay as narrow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, SemaphorePermit},
};
use tokio_util::task::AbortOnDropHandle;

/// The window of one worker to one upstream.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    shared: Arc<Shared>,
    _fitting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// As many as `limit`, and those that are `debt`.
    places: Semaphore,
    limit: AtomicUsize,
    /// ConcurrencyLimits that there are no more once they are given back.
    debt: AtomicUsize,
    /// Requests that are open or wait.
    asked: AtomicUsize,
    /// There are more than [`MIN_IN_FLIGHT`] of them.
    is_crowded: Notify,
    /// One has waited for as long as any may.
    is_overdue: AtomicBool,
}

impl AdaptiveLimit {
    /// Nothing is open. It belongs to the runtime that this is called on.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::new());
        let fitting = AbortOnDropHandle::new(tokio::spawn(fit(Arc::clone(&shared))));
        Self { shared, _fitting: fitting }
    }

    /// Waits until a request may be sent. Its place is to be dropped when the answer is there.
    pub(super) async fn enter(&self) -> Place<'_> {
        let shared = &*self.shared;
        if shared.asked.fetch_add(1, Ordering::AcqRel) == MIN_IN_FLIGHT {
            shared.is_crowded.notify_one();
        }
        let mut place = Place { permit: None, shared };
        place.permit = match shared.places.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => shared.wait().await,
        };
        place
    }

    /// Requests that are open or wait.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Acquire)
    }
}

/// A request's place in the window, or in the queue before it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    permit: Option<SemaphorePermit<'a>>,
    shared: &'a Shared,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.asked.fetch_sub(1, Ordering::AcqRel);
        if let Some(permit) = self.permit.take()
            && self.shared.pay(1) == 1
        {
            permit.forget();
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            places: Semaphore::new(UNLIMITED),
            limit: AtomicUsize::new(UNLIMITED),
            debt: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            is_crowded: Notify::new(),
            is_overdue: AtomicBool::new(false),
        }
    }

    /// A place for who waits longest; none after [`PATIENCE`].
    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let Ok(place) = tokio::time::timeout(PATIENCE, self.places.acquire()).await else {
            self.is_overdue.store(true, Ordering::Release);
            return None;
        };
        // They are never closed.
        place.ok()
    }

    /// How many of so many places were debt, and are not any more.
    fn pay(&self, places: usize) -> usize {
        let rest = |debt: usize| Some(debt.saturating_sub(places));
        let debt = self.debt.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest);
        debt.unwrap_or_default().min(places)
    }

    /// Opens the window so wide. Where it was wider, what is open beyond that stays until its answer
    /// is there.
    fn set(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::AcqRel);
        if let Some(fewer) = before.checked_sub(limit) {
            let debt = fewer - self.places.forget_permits(fewer);
            self.debt.fetch_add(debt, Ordering::AcqRel);
        } else {
            let more = limit - before;
            self.places.add_permits(more - self.pay(more));
        }
    }

    /// Narrows the window or widens it, after a time in which the worker was busy for such a share of it.
    fn fit(&self, busy: f64) {
        let limit = self.limit.load(Ordering::Acquire);
        let is_overdue = self.is_overdue.swap(false, Ordering::AcqRel);
        self.set(if busy > SATURATED && !is_overdue {
            (limit.min(self.asked.load(Ordering::Acquire)) / 4 * 3).max(MIN_IN_FLIGHT)
        } else {
            (limit / 2 * 3).min(UNLIMITED)
        });
    }
}

/// Has the window fit how busy the worker is, while there is something to limit.
async fn fit(shared: Arc<Shared>) {
    let runtime = Handle::current().metrics();
    loop {
        shared.is_crowded.notified().await;
        while shared.asked.load(Ordering::Acquire) > MIN_IN_FLIGHT {
            let (began, before) = (Instant::now(), runtime.worker_total_busy_duration(0));
            tokio::time::sleep(LOOK).await;
            let busy = runtime.worker_total_busy_duration(0).saturating_sub(before);
            shared.fit(busy.as_secs_f64() / began.elapsed().as_secs_f64());
        }
        shared.set(UNLIMITED);
    }
}

/// So many requests a worker may always have open: what belongs to them stays in the processor's cache,
/// and an upstream nearby always has one to answer. Fewer save nothing more, and each request that waits
/// is taken up twice.
const MIN_IN_FLIGHT: usize = 64;
/// More than a worker is asked.
const UNLIMITED: usize = 1 << 20;
/// A worker that is busy for more of its time than this has none left.
const SATURATED: f64 = 0.8;
/// How often to look how busy it is.
const LOOK: Duration = Duration::from_millis(2);
/// For as long a request waits at most. A thousand callers of a saturated worker wait for half of it.
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    /// ConcurrencyLimits that are free, up to a thousand.
    fn free(window: &AdaptiveLimit) -> Vec<Place<'_>> {
        let places = std::iter::from_fn(|| window.enter().now_or_never());
        places.take(1000).collect()
    }

    #[tokio::test]
    async fn a_worker_with_time_left_opens_as_many_as_are_asked() {
        let window = AdaptiveLimit::new();
        let places = free(&window);
        window.shared.fit(SATURATED);
        assert_eq!((places.len(), free(&window).len()), (1000, 1000));
    }

    #[tokio::test]
    async fn a_saturated_worker_opens_fewer_and_fewer_but_always_a_few() {
        let window = AdaptiveLimit::new();
        let places = free(&window);
        let mut before = places.len();
        while before > MIN_IN_FLIGHT {
            window.shared.fit(1.0);
            let now = window.shared.limit.load(Ordering::Acquire);
            assert!(now < before && now >= MIN_IN_FLIGHT, "{now} after {before}");
            before = now;
        }
        window.shared.fit(1.0);
        assert!(window.enter().now_or_never().is_none());
        drop(places);
        assert_eq!(free(&window).len(), MIN_IN_FLIGHT);
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_who_waited_longest() {
        let window = AdaptiveLimit::new();
        window.shared.set(MIN_IN_FLIGHT);
        let mut places = free(&window);
        let mut first = Box::pin(window.enter());
        let mut second = Box::pin(window.enter());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        places.pop();
        assert!(second.as_mut().now_or_never().is_none());
        assert!(first.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn places_that_were_owed_are_there_again_when_the_window_widens() {
        let window = AdaptiveLimit::new();
        let places = free(&window);
        window.shared.set(MIN_IN_FLIGHT);
        window.shared.set(MIN_IN_FLIGHT * 2);
        drop(places);
        assert_eq!(free(&window).len(), MIN_IN_FLIGHT * 2);
        window.shared.set(UNLIMITED);
        assert_eq!(window.shared.places.available_permits(), UNLIMITED);
    }

    #[tokio::test]
    async fn a_request_that_stops_waiting_leaves_the_window_as_it_was() {
        let window = AdaptiveLimit::new();
        window.shared.set(MIN_IN_FLIGHT);
        let places = free(&window);
        assert!(window.enter().now_or_never().is_none());
        drop(places);
        assert_eq!(window.asked(), 0);
        assert_eq!(free(&window).len(), MIN_IN_FLIGHT);
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_long_and_the_window_widens_for_the_next_ones() {
        // One that nobody fits meanwhile.
        let window = AdaptiveLimit {
            shared: Arc::new(Shared::new()),
            _fitting: AbortOnDropHandle::new(tokio::spawn(std::future::pending())),
        };
        window.shared.set(MIN_IN_FLIGHT);
        let _open = free(&window);
        let began = tokio::time::Instant::now();
        let _overdue = window.enter().await;
        assert_eq!(began.elapsed(), PATIENCE);
        window.shared.fit(1.0);
        assert!(window.enter().now_or_never().is_some());
        window.shared.fit(1.0);
        assert!(window.enter().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_window_narrows_while_its_worker_is_busy_and_widens_when_it_is_not() {
        let window: &'static AdaptiveLimit = Box::leak(Box::new(AdaptiveLimit::new()));
        let places = free(window);
        while window.shared.limit.load(Ordering::Acquire) > MIN_IN_FLIGHT {
            // Work that takes as long as another look at how busy the worker is.
            let began = Instant::now();
            while began.elapsed() < LOOK {
                std::hint::spin_loop();
            }
            yield_now().await;
        }
        drop(places);
        let mut open = JoinSet::new();
        for _ in 0..MIN_IN_FLIGHT * 3 {
            open.spawn(async { window.enter().await });
        }
        // Nobody has anything to do until there is a place.
        assert_eq!(open.join_all().await.len(), MIN_IN_FLIGHT * 3);
    }
}
