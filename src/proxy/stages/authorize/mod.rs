//! Decides whether the caller may make the call.
//!
//! The request is matched to an operation by its method and canonical path, and the caller's rule must
//! list that operation. The policy denies by default: once callers are named, any other caller is
//! refused, and a request that matches no operation is refused unless the policy forwards it.
//!
//! With `mode = "report"` the audit trail says what would have been refused and the call passes, so
//! that a policy can be tried first. The limits of callers hold in both modes: they protect the others.
//!
//! A caller also needs permission for the profile, unless its listener or its own entry names it: see
//! [`profiles`].
//!
//! The caller's own `Authorization` and `Cookie` end here, unless its rule forwards them.
//!
//! Only here, behind the decision, does a call take its permit of `limits.in_flight`, and its connection
//! has proved itself. So nobody who is refused keeps out anybody who is not.

mod limit;
mod matrix;
mod policy;
mod profiles;
mod refusal;

use std::sync::Arc;

use http::Method;
use http_body::Body as _;

pub use self::{
    limit::CallerLimiters,
    matrix::{AccessEntry, AccessMatrix, AccessRow, EntityAccess, entity_access},
    policy::{Access, Decision, Mode, Policy, Unmatched},
    profiles::ProfileRefusal,
    refusal::Refusal,
};
use super::shared::transition::{Transition, TransitionLayer};
use crate::{
    domain::{Operation, defines_body},
    error::{Error, Kind},
    proxy::{
        call::{Authorized, ConcurrencyLimits, Received, Selected},
        http_policy::strip_credentials,
    },
};

/// Refuses a call that the policy does not allow, or that is over a limit of its caller or of the gateway.
pub fn authorize(
    policy: Arc<Policy>,
    concurrency: ConcurrencyLimits,
) -> TransitionLayer<Arc<Authorize>> {
    TransitionLayer(Arc::new(Authorize { policy, concurrency }))
}

/// See [`authorize`].
#[derive(Debug)]
pub struct Authorize {
    policy: Arc<Policy>,
    concurrency: ConcurrencyLimits,
}

impl Transition<Selected> for Authorize {
    type Next = Authorized;

    fn advance(&self, selected: Selected) -> Result<Authorized, Error> {
        let Selected { mut received, profile, by } = selected;
        let Received { method, target, body, context, connection, caller, .. } = &received;
        let decision = self.policy.decide(caller, method, target.path());
        let operation = decision.operation().cloned();
        context.note(|facts| facts.operation.clone_from(&operation));
        if let Err(refusal) = self.policy.permits_profile(caller, profile.name(), by) {
            if self.policy.mode == Mode::Enforce {
                return Err(refusal.into_error(caller, profile.name()));
            }
            context.note(|facts| facts.would_refuse = Some(refusal.kind()));
        }
        if let Decision::Refuse { refusal, .. } = decision {
            if self.policy.mode == Mode::Enforce {
                let (catalog, path) = (&self.policy.catalog, target.path());
                let operation = operation.as_deref();
                return Err(refusal.into_error(catalog, caller, method, path, operation));
            }
            // The first refusal is the one that the caller would get.
            context.note(|facts| _ = facts.would_refuse.get_or_insert(refusal.kind()));
        }
        connection.prove();
        if !body.is_end_stream() {
            refuse_body(method, operation.as_deref())?;
        }
        if let Some(permit) = self.policy.limits.admit(caller)? {
            context.hold_for_caller(permit);
        }
        context.hold(self.concurrency.acquire(body.is_end_stream())?);
        strip_credentials(&mut received.headers, &received.caller);
        Ok(Authorized { received, operation, profile })
    }
}

/// Refuses a body that neither the method nor the operation defines. An upstream that ignores such a body
/// takes it for the next request on its connection, and another caller would get that answer.
fn refuse_body(method: &Method, operation: Option<&Operation>) -> Result<(), Error> {
    if operation.map_or_else(|| defines_body(method), Operation::takes_body) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Malformed,
        "this method takes no body; send the request without, or let its operation take one with `body = true` in `[[operations]]`",
    ))
}
