//! A handle reads and controls a running mock from the same process.

mod activation;
mod webhook;

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use serde_json::Value;

use crate::{
    activations::Activation, credentials::Accepted, faults::Fault, recording::RecordedRequest,
    state::MockState, webhooks::Webhook, world::EventLogFaults,
};

pub use activation::ActivationHandle;
pub use webhook::WebhookHandle;

/// Reads and controls a running mock. Clones are handles to the same mock.
#[derive(Clone, Debug)]
pub struct Handle(Arc<MockState>);

impl Handle {
    pub(crate) fn new(state: Arc<MockState>) -> Self {
        Self(state)
    }

    /// The requests that have arrived, oldest first: the last 2,000, with at most 64 MiB of bodies.
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.0.recording.all()
    }

    /// How many requests have arrived.
    pub fn request_count(&self) -> u64 {
        self.0.recording.count()
    }

    /// Waits until that many requests have arrived. A request has arrived when the mock has read
    /// its body, before it answers.
    pub async fn wait_for_requests(&self, count: u64) {
        self.0.recording.wait_for(count).await;
    }

    /// Forgets the requests that have arrived.
    pub fn forget_requests(&self) {
        self.0.recording.clear();
    }

    /// How many connections the mock has accepted, failed handshakes included.
    pub fn connections(&self) -> u64 {
        self.0.connections()
    }

    /// Adds a fault at the end of the queue.
    pub fn fault(&self, fault: Fault) {
        self.0.faults.lock().push(fault);
    }

    /// Removes all faults from the queue.
    pub fn clear_faults(&self) {
        self.0.faults.lock().clear();
    }

    /// Changes the credentials that the built-in activation accepts, from the next request on.
    pub fn accept(&self, accepted: Accepted) {
        self.add(Activation::new(Activation::BUILT_IN, accepted));
    }

    /// Adds an activation. One with the same name keeps its people, and accepts from now on what the
    /// new one does.
    pub fn add(&self, activation: Activation) -> ActivationHandle {
        ActivationHandle::new(Arc::clone(&self.0), self.0.activations.add(activation))
    }

    /// The activation with that name.
    pub fn activation(&self, name: &str) -> Option<ActivationHandle> {
        let member = self.0.activations.get(name)?;
        Some(ActivationHandle::new(Arc::clone(&self.0), member))
    }

    /// All activations, in the order of their names.
    pub fn activations(&self) -> Vec<ActivationHandle> {
        let all = self.0.activations.all().into_iter();
        all.map(|member| ActivationHandle::new(Arc::clone(&self.0), member)).collect()
    }

    /// How many requests had values of several activations. The mock refuses them.
    pub fn mixed(&self) -> u64 {
        self.0.activations.mixed()
    }

    /// Lets the event log of every activation that there is misbehave like this.
    pub fn event_log(&self, faults: &EventLogFaults) {
        for member in self.0.activations.all() {
            member.world().set_log_faults(faults.clone());
        }
    }

    /// Answers reads in every activation that there is from a replica that is this far behind; zero
    /// ends that.
    pub fn lag(&self, lag: Duration) {
        for member in self.0.activations.all() {
            member.world().set_lag(lag);
        }
    }

    /// Puts Pigello's clock ahead by this, or behind if it is negative: the header `Date` and
    /// `created_at`.
    pub fn skew(&self, skew: SignedDuration) {
        self.0.clock.set_skew(skew);
    }

    /// Posts the events of writes there from now on.
    pub fn webhook(&self, webhook: Webhook) -> WebhookHandle {
        WebhookHandle::new(self.0.webhooks.add(webhook))
    }

    /// The webhooks, in the order in which they were asked for.
    pub fn webhooks(&self) -> Vec<WebhookHandle> {
        self.0.webhooks.all().into_iter().map(WebhookHandle::new).collect()
    }

    /// A copy of an object of the built-in activation: `object("subtenant", EXAMPLE_SUBTENANT)`.
    pub fn object(&self, entity: &str, id: &str) -> Option<Value> {
        self.activation(Activation::BUILT_IN)?.object(entity, id)
    }

    /// Sets a field of an object of the built-in activation without a call, without checks and
    /// without an event. Returns `false` if there is no such object.
    pub fn set_field(&self, entity: &str, id: &str, field: &str, value: Value) -> bool {
        self.activation(Activation::BUILT_IN)
            .is_some_and(|activation| activation.set_field(entity, id, field, value))
    }

    /// Restores activations, webhooks, clock, faults and recorded requests to the state at the start.
    /// Deliveries on their way are lost, and handles to webhooks are of those before.
    pub fn reset(&self) {
        self.0.reset();
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &MockState {
        &self.0
    }
}
