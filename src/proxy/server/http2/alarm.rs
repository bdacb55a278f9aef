//! A timer whose time is moved often and reached seldom.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set only when somebody waits for it. A later time does not touch the timer: it goes
/// off at the earlier one, and is then set again.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until a time, which may be another one than in the last call.
    pub(super) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

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
