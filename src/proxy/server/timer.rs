//! Timers of connections, whose times are moved often and reached seldom.
//!
//! A timer is polled only when a connection waits, and is set again only when it fires or would fire too
//! late. So what comes before the limit costs no timer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits until a time, which may be another one in each call.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    pub(super) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            // It was set for an earlier time.
            sleep.as_mut().reset(until);
        }
    }
}

/// Limits the wait for one thing at a time.
#[derive(Debug)]
pub(super) struct Timer<W> {
    wait: Option<W>,
    ends: Instant,
    alarm: Alarm,
}

impl<W: PartialEq> Timer<W> {
    pub(super) fn new() -> Self {
        Self { wait: None, ends: Instant::now(), alarm: Alarm::default() }
    }

    /// Ends the current wait.
    pub(super) fn stop(&mut self) {
        self.wait = None;
    }

    /// Waits until the connection has waited for this as long as `limit`.
    pub(super) fn poll(&mut self, wait: W, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait.as_ref() != Some(&wait) {
            self.wait = Some(wait);
            self.ends = Instant::now() + limit;
        }
        self.alarm.poll(self.ends, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_latest_time_it_was_given() {
        let began = Instant::now();
        let mut alarm = Alarm::default();
        let second = Duration::from_secs(1);
        let mut asked = 0;
        poll_fn(|cx| {
            asked += 1;
            alarm.poll(began + second * asked.min(3), cx)
        })
        .await;
        assert_eq!(began.elapsed(), second * 3);
        // An earlier time counts as well.
        let earlier = began + second * 4;
        poll_fn(|cx| {
            assert!(alarm.poll(began + second * 9, cx).is_pending());
            alarm.poll(earlier, cx)
        })
        .await;
        assert_eq!(Instant::now(), earlier);
    }
}
