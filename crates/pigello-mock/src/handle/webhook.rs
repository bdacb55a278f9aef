//! A handle to one webhook of a running mock.

use std::sync::Arc;

use crate::webhooks::{Subscription, WebhookCounts, WebhookFaults};

/// Reads and controls one webhook of a running mock.
#[derive(Clone, Debug)]
pub struct WebhookHandle(Arc<Subscription>);

impl WebhookHandle {
    pub(super) fn new(subscription: Arc<Subscription>) -> Self {
        Self(subscription)
    }

    /// Misbehaves like this from the next delivery on.
    pub fn faults(&self, faults: WebhookFaults) {
        self.0.set_faults(faults);
    }

    /// What has become of its deliveries.
    pub fn counts(&self) -> WebhookCounts {
        self.0.counts()
    }

    /// Waits until this holds for the counts.
    pub async fn wait_until(&self, holds: impl FnMut(&WebhookCounts) -> bool) {
        self.0.wait_until(holds).await;
    }
}
