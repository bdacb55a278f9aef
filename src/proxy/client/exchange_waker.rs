//! The waker of one exchange, which saves its task needless wake-ups.
//!
//! Two futures make an exchange: the one that waits for the response, and hyper's connection. They wake
//! each other. The task polls both until neither has woken the other, and only a wake-up from outside,
//! when both are idle, wakes the task.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use super::sync::{AtomicU8, AtomicWaker, Ordering};

/// Wakes the task that polls an exchange, unless that task is polling it.
#[derive(Default)]
pub(super) struct ExchangeWaker {
    state: AtomicU8,
    task: AtomicWaker,
}

impl ExchangeWaker {
    /// Polls `response` and then `connection`, until neither wakes the other. Both get `waker`, which is
    /// this one.
    pub(super) fn poll<T>(
        &self,
        waker: &Waker,
        cx: &mut Context<'_>,
        mut response: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut connection: impl FnMut(&mut Context<'_>),
    ) -> Poll<T> {
        self.task.register(cx.waker());
        let inner = &mut Context::from_waker(waker);
        loop {
            // Reads, too: what the wakers wrote before their wake-ups is visible to this poll.
            self.state.swap(POLLING, Ordering::AcqRel);
            if let Poll::Ready(found) = response(inner) {
                return Poll::Ready(found);
            }
            connection(inner);
            let idle =
                self.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if idle.is_ok() {
                return Poll::Pending;
            }
        }
    }

    /// Forgets the task, when its exchange is over.
    pub(super) fn forget_task(&self) {
        drop(self.task.take());
    }
}

impl Wake for ExchangeWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

/// The task does not poll: a wake-up must wake it.
const IDLE: u8 = 0;
/// The task polls and has seen all wake-ups.
const POLLING: u8 = 1;
/// There is a wake-up that the task has not seen.
const WOKEN: u8 = 2;
