//! The configurations under which the records of a bundle were decided, and when each came into force.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    audit::{self, CallLine, ReadItem},
    cli::audit::error::AuditError,
};

/// A configuration that was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyInForce {
    /// The `policy` of its records.
    pub(super) policy: String,
    /// How many of the bundle's records.
    pub(super) records: u64,
    /// The marker that says when it came into force; `None` if the trail no longer has it.
    pub(super) since: Option<ComesIntoForce>,
}

/// The `configuration` line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ComesIntoForce {
    /// Its number.
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) cause: String,
    pub(super) who: Option<String>,
}

/// The policies of records: how many, and the first one's number.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies(BTreeMap<String, (u64, u64)>);

impl Policies {
    /// The next record.
    pub(super) fn add(&mut self, call: &CallLine<'_>) {
        let Some(policy) = call.policy.as_deref() else { return };
        match self.0.get_mut(policy) {
            Some((count, _)) => *count += 1,
            None => drop(self.0.insert(policy.to_owned(), (1, call.seq))),
        }
    }

    /// Looks for the lines that brought them into force.
    pub(super) fn find_markers(&self, directory: &Path) -> Result<Vec<PolicyInForce>, AuditError> {
        let mut markers = BTreeMap::new();
        let until = self.0.values().map(|(_, first)| *first).max().unwrap_or(0);
        audit::read_through(&audit::files(directory)?, |item| {
            let ReadItem::Line(line) = item else { return Ok(ControlFlow::Continue(())) };
            let Some(head) = audit::line_head(line) else { return Ok(ControlFlow::Continue(())) };
            if head.seq > until {
                return Ok(ControlFlow::Break(()));
            }
            if head.kind == "configuration"
                && let Ok(Marker { policy, result, cause, who }) = serde_json::from_slice(line)
                && result == "applied"
                && self.0.get(&policy).is_some_and(|(_, first)| head.seq <= *first)
            {
                let since =
                    ComesIntoForce { seq: head.seq, time: head.time.to_owned(), cause, who };
                markers.insert(policy, since);
            }
            Ok::<_, AuditError>(ControlFlow::Continue(()))
        })?;
        let policies = self.0.iter().map(|(policy, (records, _))| PolicyInForce {
            policy: policy.clone(),
            records: *records,
            since: markers.remove(policy),
        });
        Ok(policies.collect())
    }
}

/// The fields of a `configuration` line.
#[derive(Deserialize)]
struct Marker {
    policy: String,
    result: String,
    cause: String,
    who: Option<String>,
}
