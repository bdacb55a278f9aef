//! Webhooks: the mock posts the events of each write to those who asked for them.
//!
//! One write is one delivery: a JSON array of its events, the rows of the event log. A delivery is
//! repeated until it is answered with 2xx. The reference knows the array and the repetition; the
//! fields and the times are guesses.

mod delivery;
mod post;
mod webhook;

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::objects::Object;

pub(crate) use delivery::Subscription;
pub use delivery::WebhookCounts;
pub use webhook::{Webhook, WebhookError, WebhookFaults};

/// The webhooks of a mock.
#[derive(Debug)]
pub(crate) struct Webhooks {
    /// Those at the start, for a reset.
    start: Vec<Webhook>,
    subscriptions: Mutex<Vec<Arc<Subscription>>>,
    runtime: Handle,
    stop: CancellationToken,
}

impl Webhooks {
    /// Delivers in tasks of the current runtime until `stop` is cancelled.
    pub(crate) fn start(start: Vec<Webhook>, stop: CancellationToken) -> Self {
        let subscriptions = Mutex::default();
        let webhooks = Self { start, subscriptions, runtime: Handle::current(), stop };
        webhooks.reset();
        webhooks
    }

    pub(crate) fn add(&self, webhook: Webhook) -> Arc<Subscription> {
        let subscription = Subscription::start(webhook, &self.runtime, self.stop.child_token());
        self.subscriptions.lock().push(Arc::clone(&subscription));
        subscription
    }

    pub(crate) fn all(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.lock().clone()
    }

    /// Ends all of them. What they have not delivered is lost.
    pub(crate) fn clear(&self) {
        for subscription in self.subscriptions.lock().drain(..) {
            subscription.end();
        }
    }

    /// Restores those at the start.
    pub(crate) fn reset(&self) {
        self.clear();
        for webhook in &self.start {
            self.add(webhook.clone());
        }
    }

    /// Tells the events of one write in an activation to those who asked for them.
    pub(crate) fn announce(&self, activation: &str, events: &[Object]) {
        let subscriptions = self.subscriptions.lock();
        if events.is_empty() || subscriptions.is_empty() {
            return;
        }
        let body = json!(events).to_string();
        for subscription in subscriptions.iter().filter(|it| it.is_for(activation)) {
            subscription.enqueue(body.clone().into());
        }
    }
}
