//! A handle to one activation of a running mock.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::{
    activations::{ActivationCounts, Member, OldSecret, RateLimit},
    api,
    credentials::{Accepted, Credentials},
    operations,
    state::MockState,
    world::{Change, EventLogFaults, Writer},
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

    /// Lets its event log misbehave like this.
    pub fn event_log(&self, faults: EventLogFaults) {
        self.member.world().set_log_faults(faults);
    }

    /// Answers reads of objects from a replica that is this far behind; zero ends that. The event
    /// log and webhooks are immediate all the same.
    pub fn lag(&self, lag: Duration) {
        self.member.world().set_lag(lag);
    }

    /// Somebody else makes this call at Pigello: the objects change as by the same call through the
    /// API, and so do the event log and the webhooks. The mock neither records nor counts it.
    ///
    /// ```no_run
    /// # use http::Method;
    /// # use serde_json::json;
    /// # fn example(acme: &pigello_mock::ActivationHandle, path: &str) {
    /// acme.elsewhere(Method::PATCH, path, &json!({"first_name": "Nils"}));
    /// # }
    /// ```
    pub fn elsewhere(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut head = Request::new(()).into_parts().0;
        head.method = method;
        let Ok(uri) = path.parse() else { return (StatusCode::BAD_REQUEST, Value::Null) };
        head.uri = uri;
        let response = self.state.visit(&self.member, Writer::OrganizationUser, |visit| {
            operations::perform(visit, &head, body.to_string().as_bytes())
        });
        let body = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status(), body)
    }

    /// The writes after that number, oldest first, and from when on each can be seen. The mock keeps the
    /// last 10,000.
    pub fn changes(&self, after: u64) -> Vec<Change> {
        self.member.world().changes(after)
    }

    /// A copy of one of its objects, as it is now.
    pub fn object(&self, entity: &str, id: &str) -> Option<Value> {
        self.state.visit(&self.member, Writer::OrganizationUser, |visit| {
            visit.current().get(entity, id).cloned().map(Value::Object)
        })
    }

    /// Sets a field of one of its objects without a call, without checks and without an event.
    /// Returns `false` if there is no such object.
    pub fn set_field(&self, entity: &str, id: &str, field: &str, value: Value) -> bool {
        let Some(entity) = api::entity_named(entity) else { return false };
        let entity = entity.name;
        self.state.visit(&self.member, Writer::OrganizationUser, |visit| {
            let Some(mut object) = visit.current().get(entity, id).cloned() else { return false };
            object.insert(field.to_owned(), value);
            visit.put_unlogged(entity, object);
            true
        })
    }
}
