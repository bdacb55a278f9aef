//! A handle to one activation of a running mock.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    activations::{ActivationCounts, Member, OldSecret, RateLimit},
    credentials::{Accepted, Credentials},
    state::MockState,
};

/// Reads and controls one activation of a running mock. Changes hold from the next request on, and
/// other activations do not notice them.
#[derive(Clone, Debug)]
pub struct ActivationHandle {
    state: Arc<MockState>,
    member: Arc<Member>,
}

impl ActivationHandle {
    pub(super) fn new(state: Arc<MockState>, member: Arc<Member>) -> Self {
        Self { state, member }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.member.name()
    }

    /// The newest credentials; `None` if it accepts anything.
    pub fn credentials(&self) -> Option<Credentials> {
        self.member.credentials()
    }

    /// Changes the credentials that it accepts.
    pub fn accept(&self, accepted: Accepted) {
        self.state.activations.accept(&self.member, accepted);
    }

    /// Accepts a new made-up secret, and returns the seven values with it.
    pub fn rotate(&self, old: OldSecret) -> Credentials {
        self.state.activations.rotate(&self.member, old)
    }

    /// Refuses every secret but the newest: the end of an overlap.
    pub fn refuse_old(&self) {
        self.state.activations.refuse_old(&self.member);
    }

    /// Refuses every request, with 401.
    pub fn revoke(&self) {
        self.state.activations.revoke(&self.member, true);
    }

    /// Takes the revocation back.
    pub fn restore(&self) {
        self.state.activations.revoke(&self.member, false);
    }

    /// Answers calls over this limit with 429 and `Retry-After`; `None` lifts it.
    pub fn limit(&self, limit: Option<RateLimit>) {
        self.member.limit(limit);
    }

    /// How many requests have arrived with its values.
    pub fn counts(&self) -> ActivationCounts {
        self.member.counts()
    }

    /// Each set of seven values that has arrived with a value of its own, with how often: the first
    /// 64 different ones.
    pub fn arrived(&self) -> Vec<(Credentials, u64)> {
        self.member.arrived_sets()
    }

    /// A copy of one of its objects.
    pub fn object(&self, entity: &str, id: &str) -> Option<Value> {
        self.member.objects().get(entity, id).cloned().map(Value::Object)
    }

    /// Sets a field of one of its objects without a call and without checks. Returns `false` if
    /// there is no such object.
    pub fn set_field(&self, entity: &str, id: &str, field: &str, value: Value) -> bool {
        let mut objects = self.member.objects();
        let Some(mut object) = objects.get(entity, id).cloned() else { return false };
        object.insert(field.to_owned(), value);
        objects.put(entity, object);
        true
    }
}
