//! The time limits of a connection.
//!
//! A connection waits for one thing at a time, and one timer limits it. The timer is polled only when
//! the connection waits, and is set again only when it fires or would fire too late. So a request that
//! comes before the limit costs no timer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first byte of a request.
    Request,
    /// The same, after the idle time. The caller may have sent it before it could know.
    LateRequest,
    /// The same, on a new connection while the gateway drains.
    FirstRequest,
    /// The rest of a head.
    Head,
    /// The caller, which takes no bytes. It has taken this many.
    Write(u64),
    /// More bytes from a caller whose connection closes. It has sent this many.
    Close(u64),
}

/// Limits the current wait.
pub(super) struct Timer {
    wait: Option<Wait>,
    ends: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self { wait: None, ends: Instant::now(), sleep: None }
    }

    /// Ends the current wait.
    pub(super) fn stop(&mut self) {
        self.wait = None;
    }

    /// Waits until the connection has waited for this as long as `limit`.
    pub(super) fn poll(&mut self, wait: Wait, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait != Some(wait) {
            self.wait = Some(wait);
            self.ends = Instant::now() + limit;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(self.ends)));
        if sleep.deadline() > self.ends {
            sleep.as_mut().reset(self.ends);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= self.ends {
                return Poll::Ready(());
            }
            // It was set for an earlier wait.
            sleep.as_mut().reset(self.ends);
        }
    }
}
