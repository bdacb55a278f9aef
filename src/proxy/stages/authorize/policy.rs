//! The decision: a pure function of caller, method and path.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CallerLimiters, Refusal};
use crate::{
    domain::{Caller, Catalog, Operation, OperationMatch},
    error::Error,
};

/// What each caller may do.
#[derive(Debug)]
pub struct Policy {
    /// All operations.
    pub catalog: Arc<Catalog>,
    /// The decision for callers without a rule.
    pub unidentified: Access,
    /// The decision for requests that match no operation.
    pub unmatched: Unmatched,
    /// Whether refusals are enforced.
    pub mode: Mode,
    /// The limits of each caller.
    pub limits: CallerLimiters,
}

/// What happens to callers that match no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Unidentified")]
pub enum Access {
    /// They may use every operation.
    Allow,
    /// They are refused.
    Deny,
}

/// What becomes of requests that match no operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They are refused.
    #[default]
    Deny,
    /// They are forwarded, for callers that may use `*`.
    Forward,
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A call that is not allowed is refused.
    #[default]
    Enforce,
    /// A call that is not allowed is served, and the audit trail records that it would be refused.
    Report,
}

/// The decision about one request.
#[derive(Debug)]
pub enum Decision {
    /// The request may go on.
    Allow {
        /// Its operation; `None` if an unmatched request is forwarded.
        operation: Option<Arc<Operation>>,
    },
    /// The request is refused.
    Refuse {
        /// Its operation, if it matches one.
        operation: Option<Arc<Operation>>,
        /// Why.
        refusal: Refusal,
    },
}

impl Decision {
    /// The operation the request matched.
    pub fn operation(&self) -> Option<&Arc<Operation>> {
        match self {
            Self::Allow { operation } | Self::Refuse { operation, .. } => operation.as_ref(),
        }
    }
}

impl Policy {
    /// Decides about one request. `path` is canonical.
    pub fn decide(&self, caller: &Caller, method: &Method, path: &str) -> Decision {
        let operation = match self.catalog.find(method, path) {
            OperationMatch::Found(operation) => Some(Arc::clone(operation)),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown
                if self.unmatched == Unmatched::Forward =>
            {
                None
            }
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => {
                return refuse(None, Refusal::NoOperation);
            }
        };
        match self.permits(caller, operation.as_deref()) {
            Ok(()) => Decision::Allow { operation },
            Err(refusal) => refuse(operation, refusal),
        }
    }

    /// The error for a request, if the policy refuses it. `path` is canonical.
    pub fn refusal(&self, caller: &Caller, method: &Method, path: &str) -> Option<Error> {
        match self.decide(caller, method, path) {
            Decision::Allow { .. } => None,
            Decision::Refuse { operation, refusal } => {
                let operation = operation.as_deref();
                Some(refusal.into_error(&self.catalog, caller, method, path, operation))
            }
        }
    }

    pub(super) fn permits(
        &self,
        caller: &Caller,
        operation: Option<&Operation>,
    ) -> Result<(), Refusal> {
        match caller {
            Caller::Known { rule: Some(rule), .. } => {
                rule.allowing(operation).map(|_| ()).ok_or(Refusal::NotListed)
            }
            Caller::Known { rule: None, .. } if self.unidentified == Access::Deny => {
                Err(Refusal::NoRule)
            }
            Caller::Unidentified { .. } if self.unidentified == Access::Deny => {
                Err(Refusal::Unidentified)
            }
            Caller::Known { rule: None, .. } | Caller::Unidentified { .. } => Ok(()),
        }
    }
}

fn refuse(operation: Option<Arc<Operation>>, refusal: Refusal) -> Decision {
    Decision::Refuse { operation, refusal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallerLimits, CallerRule, Proof};

    const SUBTENANT: &str =
        "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";

    fn policy(unidentified: Access, unmatched: Unmatched) -> Policy {
        let catalog = Arc::new(Catalog::new([]).unwrap());
        Policy {
            catalog,
            unidentified,
            unmatched,
            mode: Mode::Enforce,
            limits: CallerLimiters::default(),
        }
    }

    fn billing(allow: &[&str]) -> Caller {
        let rule = CallerRule {
            name: "billing".into(),
            unix_uids: Vec::new(),
            tls_names: Vec::new(),
            allow: allow.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            profile: None,
            profiles: Vec::new(),
            forward: Vec::new(),
            limits: CallerLimits::default(),
        };
        let proof = Proof::Listener;
        Caller::Known { rule: Some(Arc::new(rule)), name: "billing".into(), proof }
    }

    fn refusal(policy: &Policy, caller: &Caller, method: &Method, path: &str) -> Option<Refusal> {
        match policy.decide(caller, method, path) {
            Decision::Allow { .. } => None,
            Decision::Refuse { refusal, .. } => Some(refusal),
        }
    }

    #[test]
    fn a_caller_may_do_what_its_rule_lists() {
        let policy = policy(Access::Deny, Unmatched::Deny);
        let caller = billing(&["subtenant.*", "tenant.get"]);
        assert_eq!(refusal(&policy, &caller, &Method::GET, SUBTENANT), None);
        assert_eq!(refusal(&policy, &caller, &Method::HEAD, SUBTENANT), None);
        assert_eq!(refusal(&policy, &caller, &Method::PATCH, SUBTENANT), None);
        let tenants = "/accounts/users/customer/tenant/list/";
        assert_eq!(refusal(&policy, &caller, &Method::GET, tenants), Some(Refusal::NotListed));
        assert_eq!(refusal(&policy, &caller, &Method::PUT, SUBTENANT), Some(Refusal::NoOperation));
        assert_eq!(refusal(&policy, &caller, &Method::GET, "/admin/"), Some(Refusal::NoOperation));
        assert_eq!(
            refusal(&policy, &billing(&[]), &Method::GET, SUBTENANT),
            Some(Refusal::NotListed)
        );
    }

    #[test]
    fn a_caller_without_a_rule_is_denied_once_callers_are_named() {
        let nobody = Caller::Unidentified { proof: Proof::Listener };
        let unruled = Caller::Known { rule: None, name: "edge".into(), proof: Proof::Listener };
        let deny = policy(Access::Deny, Unmatched::Deny);
        assert_eq!(refusal(&deny, &nobody, &Method::GET, SUBTENANT), Some(Refusal::Unidentified));
        assert_eq!(refusal(&deny, &unruled, &Method::GET, SUBTENANT), Some(Refusal::NoRule));
        let allow = policy(Access::Allow, Unmatched::Deny);
        assert_eq!(refusal(&allow, &nobody, &Method::GET, SUBTENANT), None);
        assert_eq!(refusal(&allow, &unruled, &Method::GET, SUBTENANT), None);
    }

    #[test]
    fn an_unmatched_request_is_forwarded_only_for_callers_that_may_do_everything() {
        let policy = policy(Access::Allow, Unmatched::Forward);
        let nobody = Caller::Unidentified { proof: Proof::Listener };
        assert_eq!(refusal(&policy, &nobody, &Method::GET, "/other/"), None);
        assert_eq!(refusal(&policy, &billing(&["*"]), &Method::GET, "/other/"), None);
        let some = billing(&["subtenant.*", "*.get"]);
        assert_eq!(refusal(&policy, &some, &Method::GET, "/other/"), Some(Refusal::NotListed));
    }
}
