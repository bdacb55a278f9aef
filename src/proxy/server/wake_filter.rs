//! Keeps hyper from having a connection polled once more for nothing.
//!
//! With each piece of a body that is taken, hyper wakes the task of the connection, which reads the
//! next one: with the last piece too, behind which there is none. The task would go through the whole
//! path of the call once more when everything else that is ready has had its turn. So the listener has
//! wakers that can be filtered, and who takes a piece (`buffer_request`) decides whether to wake.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use pin_project_lite::pin_project;

thread_local! {
    /// What wakes on this thread come to while they are filtered.
    static MUFFLED: Cell<Option<Wakes>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wakes {
    None,
    Some,
}

/// Does something that may wake tasks of [`WakeFilter`] on this thread, which has no effect; whether it
/// did so.
pub(in crate::proxy) fn filtered<T>(wakes: impl FnOnce() -> T) -> (T, bool) {
    struct Unmuffled;
    impl Drop for Unmuffled {
        fn drop(&mut self) {
            MUFFLED.set(None);
        }
    }
    MUFFLED.set(Some(Wakes::None));
    let _unmuffled = Unmuffled;
    let result = wakes();
    (result, MUFFLED.get() == Some(Wakes::Some))
}

/// The waker of a task, which does not hear it while it is filtered.
struct FilteredWaker(Waker);

impl Wake for FilteredWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if MUFFLED.get().is_some() {
            MUFFLED.set(Some(Wakes::Some));
        } else {
            self.0.wake_by_ref();
        }
    }
}

pin_project! {
    /// A future whose wakers can be filtered.
    pub(in crate::proxy) struct WakeFilter<F> {
        #[pin]
        inner: F,
        // Its task's, and the one that stands for it.
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
        let (_, muffler) = this.waker.insert(known.unwrap_or_else(|| {
            let task = cx.waker().clone();
            (task.clone(), Waker::from(Arc::new(FilteredWaker(task))))
        }));
        this.inner.poll(&mut Context::from_waker(muffler))
    }
}

/// A task that counts how often it is woken.
#[cfg(test)]
#[derive(Default)]
pub(in crate::proxy) struct Sleeper(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl Sleeper {
    pub(in crate::proxy) fn woken(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, thread};

    use super::*;

    #[test]
    fn a_task_hears_what_is_not_muffled() {
        let sleeper = Arc::new(Sleeper::default());
        let task = Waker::from(Arc::clone(&sleeper));
        let own = pin!(WakeFilter::new(poll_fn(|cx| Poll::Ready(cx.waker().clone()))));
        let Poll::Ready(waker) = own.poll(&mut Context::from_waker(&task)) else {
            panic!("it waits for nothing")
        };
        waker.wake_by_ref();
        assert_eq!(filtered(|| ()), ((), false));
        assert_eq!(sleeper.woken(), 1);
        let other = waker.clone();
        let ((), was_woken) = filtered(|| thread::spawn(|| other.wake()).join().unwrap());
        assert!(!was_woken, "on another thread");
        assert_eq!(sleeper.woken(), 2);
        assert_eq!(filtered(|| waker.wake_by_ref()), ((), true));
        assert_eq!(sleeper.woken(), 2, "muffled");
        waker.wake();
        assert_eq!(sleeper.woken(), 3);
    }

    #[test]
    fn a_future_that_moves_to_another_task_wakes_that_one() {
        let mut future = pin!(WakeFilter::new(poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        for _ in 0..2 {
            let sleeper = Arc::new(Sleeper::default());
            let task = Waker::from(Arc::clone(&sleeper));
            for polls in 1..=3 {
                assert!(future.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
                assert_eq!(sleeper.woken(), polls);
            }
        }
    }
}
