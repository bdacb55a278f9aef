//! Suppresses hyper's redundant wake-up after the last frame of a request body.
//!
//! hyper wakes the connection's task for each frame that is taken, so that it reads the next one; also
//! for the last frame, which has no next one. The task would poll the whole call once more. So the
//! server gives hyper wakers that can be filtered, and the stage that takes frames (`buffer_request`)
//! decides whether to wake.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use pin_project_lite::pin_project;

thread_local! {
    /// The wake-ups on this thread while they are filtered.
    static FILTERED: Cell<Option<Wakes>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    None,
    Some,
}

/// Runs a function during which this thread does not wake tasks of [`WakeFilter`]. Returns whether it
/// would have woken one.
pub(in crate::proxy) fn filtered<T>(run: impl FnOnce() -> T) -> (T, bool) {
    struct Unfiltered;
    impl Drop for Unfiltered {
        fn drop(&mut self) {
            FILTERED.set(None);
        }
    }
    FILTERED.set(Some(Wakes::None));
    let _unfiltered = Unfiltered;
    let result = run();
    (result, FILTERED.get() == Some(Wakes::Some))
}

/// The waker of a task, which does nothing while wake-ups are filtered.
struct FilteredWaker(Waker);

impl Wake for FilteredWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if FILTERED.get().is_some() {
            FILTERED.set(Some(Wakes::Some));
        } else {
            self.0.wake_by_ref();
        }
    }
}

pin_project! {
    /// A future whose wake-ups can be filtered.
    pub(in crate::proxy) struct WakeFilter<F> {
        #[pin]
        inner: F,
        // The waker of its task, and the filtered one.
        waker: Option<(Waker, Waker)>,
    }
}

impl<F> WakeFilter<F> {
    pub(in crate::proxy) fn new(inner: F) -> Self {
        Self { inner, waker: None }
    }
}

impl<F: Future> Future for WakeFilter<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let known = this.waker.take().filter(|(task, _)| task.will_wake(cx.waker()));
        let (_, filtered) = this.waker.insert(known.unwrap_or_else(|| {
            let task = cx.waker().clone();
            (task.clone(), Waker::from(Arc::new(FilteredWaker(task))))
        }));
        this.inner.poll(&mut Context::from_waker(filtered))
    }
}

/// A task that counts its wake-ups.
#[cfg(test)]
#[derive(Default)]
pub(in crate::proxy) struct WakeCounter(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl WakeCounter {
    pub(in crate::proxy) fn woken(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, thread};

    use super::*;

    #[test]
    fn a_task_is_woken_unless_wake_ups_are_filtered() {
        let counter = Arc::new(WakeCounter::default());
        let task = Waker::from(Arc::clone(&counter));
        let own = pin!(WakeFilter::new(poll_fn(|cx| Poll::Ready(cx.waker().clone()))));
        let Poll::Ready(waker) = own.poll(&mut Context::from_waker(&task)) else {
            panic!("it waits for nothing")
        };
        waker.wake_by_ref();
        assert_eq!(filtered(|| ()), ((), false));
        assert_eq!(counter.woken(), 1);
        let other = waker.clone();
        let ((), was_woken) = filtered(|| thread::spawn(|| other.wake()).join().unwrap());
        assert!(!was_woken, "on another thread");
        assert_eq!(counter.woken(), 2);
        assert_eq!(filtered(|| waker.wake_by_ref()), ((), true));
        assert_eq!(counter.woken(), 2, "filtered");
        waker.wake();
        assert_eq!(counter.woken(), 3);
    }

    #[test]
    fn a_future_that_moves_to_another_task_wakes_that_one() {
        let mut future = pin!(WakeFilter::new(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        for _ in 0..2 {
            let counter = Arc::new(WakeCounter::default());
            let task = Waker::from(Arc::clone(&counter));
            for polls in 1..=3 {
                assert!(future.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
                assert_eq!(counter.woken(), polls);
            }
        }
    }
}
