//! A handle reads and controls a running mock from the same process.

use std::sync::Arc;

use serde_json::Value;

use crate::{credentials::Accepted, faults::Fault, recording::RecordedRequest, state::MockState};

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

    /// Changes the credentials that the mock accepts, from the next request on.
    pub fn accept(&self, accepted: Accepted) {
        *self.0.accepted.lock() = accepted;
    }

    /// A copy of an object: `object("subtenant", EXAMPLE_SUBTENANT)`.
    pub fn object(&self, entity: &str, id: &str) -> Option<Value> {
        self.0.objects.lock().get(entity, id).cloned().map(Value::Object)
    }

    /// Sets a field of an object without a call and without checks. Returns `false` if there is no
    /// such object.
    pub fn set_field(&self, entity: &str, id: &str, field: &str, value: Value) -> bool {
        let mut objects = self.0.objects.lock();
        let Some(mut object) = objects.get(entity, id).cloned() else { return false };
        object.insert(field.to_owned(), value);
        objects.put(entity, object);
        true
    }

    /// Restores objects, faults and recorded requests to the state at the start.
    pub fn reset(&self) {
        self.0.reset();
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &MockState {
        &self.0
    }
}
