//! The deliveries of one webhook: one after the other in the order of the writes, and again until
//! they are accepted. Those that wait to be repeated hold up no other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::dice::{Chance, Dice};

use super::{
    post::post,
    webhook::{Webhook, WebhookFaults},
};

/// What has become of the deliveries of a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebhookCounts {
    /// The writes whose events it is for. Each is one delivery.
    pub writes: u64,
    /// Deliveries that were answered with 2xx.
    pub accepted: u64,
    /// Attempts that were answered with another status.
    pub refused: u64,
    /// Attempts that had no answer in time.
    pub unanswered: u64,
    /// Deliveries that a fault lost.
    pub lost: u64,
    /// Deliveries that a fault doubled.
    pub doubled: u64,
    /// Deliveries that a fault put behind the next.
    pub reordered: u64,
    /// Deliveries that a fault delayed.
    pub delayed: u64,
    /// Deliveries that found no place, because 10,000 waited.
    pub dropped: u64,
}

/// A webhook of a running mock.
#[derive(Debug)]
pub(crate) struct Subscription {
    webhook: Webhook,
    faults: Mutex<WebhookFaults>,
    counts: watch::Sender<WebhookCounts>,
    numbers: AtomicU64,
    queue: mpsc::Sender<Delivery>,
    stop: CancellationToken,
}

/// The events of one write, on their way.
#[derive(Clone, Debug)]
struct Delivery {
    number: u64,
    body: Bytes,
    attempts: u32,
}

impl Subscription {
    pub(super) fn start(webhook: Webhook, runtime: &Handle, stop: CancellationToken) -> Arc<Self> {
        let (queue, deliveries) = mpsc::channel(MOST_WAITING);
        let subscription = Arc::new(Self {
            faults: Mutex::new(webhook.faults.clone()),
            webhook,
            counts: watch::Sender::new(WebhookCounts::default()),
            numbers: AtomicU64::new(0),
            queue,
            stop: stop.clone(),
        });
        let worker =
            Worker { subscription: Arc::clone(&subscription), waiting: JoinSet::new(), held: None };
        runtime.spawn(async move { stop.run_until_cancelled(worker.run(deliveries)).await });
        subscription
    }

    pub(crate) fn end(&self) {
        self.stop.cancel();
    }

    pub(crate) fn url(&self) -> String {
        self.webhook.url.to_string()
    }

    pub(super) fn is_for(&self, activation: &str) -> bool {
        self.webhook.activation.as_deref().is_none_or(|own| own == activation)
    }

    pub(crate) fn faults(&self) -> WebhookFaults {
        self.faults.lock().clone()
    }

    pub(crate) fn set_faults(&self, faults: WebhookFaults) {
        *self.faults.lock() = faults;
    }

    pub(crate) fn counts(&self) -> WebhookCounts {
        *self.counts.borrow()
    }

    pub(crate) async fn wait_until(&self, holds: impl FnMut(&WebhookCounts) -> bool) {
        // The sender lives as long as `self`, so this cannot fail.
        drop(self.counts.subscribe().wait_for(holds).await);
    }

    pub(super) fn enqueue(&self, body: Bytes) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let queued = self.queue.try_send(Delivery { number, body, attempts: 0 });
        self.count(|counts| {
            counts.writes += 1;
            counts.dropped += u64::from(queued.is_err());
        });
    }

    fn count(&self, count: impl FnOnce(&mut WebhookCounts)) {
        self.counts.send_modify(count);
    }
}

/// Makes the deliveries of one webhook.
#[derive(Debug)]
struct Worker {
    subscription: Arc<Subscription>,
    /// Deliveries that wait for their time.
    waiting: JoinSet<Delivery>,
    /// A delivery that waits for the next to go first.
    held: Option<Delivery>,
}

impl Worker {
    async fn run(mut self, mut deliveries: mpsc::Receiver<Delivery>) {
        loop {
            tokio::select! {
                Some(due) = self.waiting.join_next() => {
                    // Only an ended runtime ends one that waits.
                    let Ok(due) = due else { return };
                    self.attempt(due).await;
                }
                Some(new) = deliveries.recv() => self.begin(new).await,
                () = sleep(LONGEST_HOLD), if self.held.is_some() => self.release().await,
                else => return,
            }
        }
    }

    /// Begins a delivery as the faults have it.
    async fn begin(&mut self, delivery: Delivery) {
        let faults = self.subscription.faults();
        let dice = Dice::new(faults.seed, delivery.number);
        if dice.falls(Chance::LostDelivery, faults.lose) {
            return self.subscription.count(|counts| counts.lost += 1);
        }
        let doubled = dice.falls(Chance::DoubleDelivery, faults.double);
        let reordered =
            self.held.is_none() && dice.falls(Chance::ReorderedDelivery, faults.reorder);
        self.subscription.count(|counts| {
            counts.doubled += u64::from(doubled);
            counts.reordered += u64::from(reordered);
        });
        if doubled {
            self.attempt(delivery.clone()).await;
        }
        if reordered {
            self.held = Some(delivery);
            return;
        }
        let delay = faults.delay.mul_f64(dice.throw(Chance::DelayOfDelivery));
        if delay.is_zero() {
            self.attempt(delivery).await;
        } else {
            self.subscription.count(|counts| counts.delayed += 1);
            self.wait(delay, delivery);
        }
        self.release().await;
    }

    async fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.attempt(held).await;
        }
    }

    async fn attempt(&mut self, mut delivery: Delivery) {
        let answer = post(&self.subscription.webhook, delivery.body.clone()).await;
        let accepted = answer.as_ref().is_ok_and(http::StatusCode::is_success);
        self.subscription.count(|counts| match answer {
            Ok(_) if accepted => counts.accepted += 1,
            Ok(_) => counts.refused += 1,
            Err(error) => {
                tracing::debug!(%error, "a webhook of the mock was not answered");
                counts.unanswered += 1;
            }
        });
        if !accepted {
            let webhook = &self.subscription.webhook;
            let pause = webhook.first_retry.saturating_mul(1 << delivery.attempts.min(16));
            let pause = pause.min(webhook.longest_retry);
            delivery.attempts += 1;
            self.wait(pause, delivery);
        }
    }

    fn wait(&mut self, pause: Duration, delivery: Delivery) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.spawn(async move {
                sleep(pause).await;
                delivery
            });
        } else {
            self.subscription.count(|counts| counts.dropped += 1);
        }
    }
}

/// How many deliveries may wait for the first attempt, and how many for another.
const MOST_WAITING: usize = 10_000;
/// How long a delivery is held back for the next.
const LONGEST_HOLD: Duration = Duration::from_secs(1);
