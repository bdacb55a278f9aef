//! Decides whether the caller may make the call.
//!
//! The request is matched to an operation by its method and canonical path, and the caller's rule must
//! list that operation. The policy denies by default: once callers are named, any other caller is
//! refused, and a request that matches no operation is refused unless the policy forwards it.
//!
//! With `mode = "report"` the audit trail says what would have been refused and the call passes, so
//! that a policy can be tried first. The limits of callers hold in both modes: they protect the others.

mod limit;
mod policy;

use std::sync::Arc;

use http::Method;
use http_body::Body as _;

pub use self::{
    limit::CallerLimiters,
    policy::{Access, Decision, Mode, Policy, Refusal, Unmatched},
};
use super::shared::transition::{Transition, TransitionLayer};
use crate::{
    domain::{Operation, defines_body},
    error::{Error, Kind},
    proxy::call::{Authorized, Identified, Received},
};

/// Refuses a call that the policy does not allow or that is over a limit of its caller.
pub fn authorize(policy: Arc<Policy>) -> TransitionLayer<Arc<Policy>> {
    TransitionLayer(policy)
}

impl Transition<Identified> for Policy {
    type Next = Authorized;

    fn advance(&self, Identified { received, caller }: Identified) -> Result<Authorized, Error> {
        let Received { method, target, context, .. } = &received;
        let decision = self.decide(&caller, method, target.path());
        let operation = decision.operation().cloned();
        context.note(|facts| facts.operation.clone_from(&operation));
        if let Decision::Refuse { refusal, .. } = decision {
            let error = refusal.into_error();
            if self.mode == Mode::Enforce {
                return Err(error);
            }
            context.note(|facts| facts.would_refuse = Some(error.kind()));
        }
        if !received.body.is_end_stream() {
            refuse_body(&received.method, operation.as_deref())?;
        }
        if let Some(permit) = self.limits.admit(&caller)? {
            context.hold_for_caller(permit);
        }
        Ok(Authorized { received, caller, operation })
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
