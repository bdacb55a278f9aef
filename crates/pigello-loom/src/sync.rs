//! What `src/proxy/client/sync.rs` exports, from loom's primitives.
//!
//! The atomics are loom's. The waker, the semaphore and the notification are others' code and not tested
//! here. Each is a mutex with what its documentation promises.

use std::task::{Context, Poll, Waker};

pub(crate) use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use loom::sync::{Mutex, MutexGuard};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// `futures_util::task::AtomicWaker`.
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl Default for AtomicWaker {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl AtomicWaker {
    pub(crate) fn register(&self, waker: &Waker) {
        *lock(&self.0) = Some(waker.clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        lock(&self.0).take()
    }
}

/// A number that tasks wait for and take from.
#[derive(Debug)]
struct Stock(Mutex<(usize, Vec<Waker>)>);

impl Stock {
    fn new(number: usize) -> Self {
        Self(Mutex::new((number, Vec::new())))
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut stock = lock(&self.0);
        stock.0 = change(stock.0);
        let waiting = std::mem::take(&mut stock.1);
        drop(stock);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes up to `most`; returns how many.
    fn take(&self, most: usize) -> usize {
        let mut stock = lock(&self.0);
        let taken = stock.0.min(most);
        stock.0 -= taken;
        taken
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stock = lock(&self.0);
        if stock.0 == 0 {
            stock.1.push(cx.waker().clone());
            return Poll::Pending;
        }
        stock.0 -= 1;
        Poll::Ready(())
    }
}

/// `tokio::sync::Notify`.
#[derive(Debug)]
pub(crate) struct Notify(Stock);

impl Notify {
    pub(crate) fn new() -> Self {
        Self(Stock::new(0))
    }

    pub(crate) fn notify_one(&self) {
        self.0.change(|_| 1);
    }

    pub(crate) async fn notified(&self) {
        std::future::poll_fn(|cx| self.0.poll_take(cx)).await;
    }
}

/// `tokio::sync::Semaphore`.
#[derive(Debug)]
pub(crate) struct Semaphore(Stock);

#[derive(Debug)]
pub(crate) struct SemaphorePermit<'a>(Option<&'a Semaphore>);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(Stock::new(permits))
    }

    pub(crate) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, ()> {
        if self.0.take(1) == 1 { Ok(SemaphorePermit(Some(self))) } else { Err(()) }
    }

    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, ()> {
        std::future::poll_fn(|cx| self.0.poll_take(cx)).await;
        Ok(SemaphorePermit(Some(self)))
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        self.0.change(|free| free + permits);
    }

    pub(crate) fn forget_permits(&self, permits: usize) -> usize {
        self.0.take(permits)
    }

    pub(crate) fn available_permits(&self) -> usize {
        lock(&self.0.0).0
    }
}

impl SemaphorePermit<'_> {
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        if let Some(semaphore) = self.0 {
            semaphore.add_permits(1);
        }
    }
}
