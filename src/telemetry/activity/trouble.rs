//! The last calls that were refused, that failed, or that Pigello answered with an error.
//!
//! Of a target only the outline is kept: segments that could be identifiers or personal data become
//! placeholders, and the query is dropped.

use std::{collections::VecDeque, time::SystemTime};

use http::{Method, StatusCode};

use super::MOST_TROUBLES;
use crate::{
    audit::{Outcome, Record},
    domain::{LabelValue, ListenerName, Proof, RequestId, is_uuid},
};

/// The reason for the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The gateway refused the call or failed: the label of a [`Kind`](crate::error::Kind).
    Error(&'static str),
    /// Pigello answered with this status, 500 or above.
    Answer(u16),
}

/// A refused or failed call, and the number of equal calls merged into it.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Time of the last of them.
    pub time: SystemTime,
    /// Request id of the last of them.
    pub request_id: RequestId,
    /// How many calls had the same caller, operation, outline and reason.
    pub count: u64,
    /// The listener.
    pub listener: ListenerName,
    /// The caller's name, if it was proved.
    pub caller: Option<LabelValue>,
    /// The proof of the connection.
    pub proof: Option<Proof>,
    /// The operation, if one matched.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// The outline of the path: `/accounts/users/customer/subtenant/{pk}/`. `None` without a path.
    pub outline: Option<String>,
    /// The response status.
    pub status: Option<u16>,
    /// The reason.
    pub cause: Cause,
    /// Whether the call was served all the same, because the policy only reports.
    pub reported: bool,
    /// The outcome on the trail.
    pub outcome: Outcome,
}

impl Cause {
    fn of(record: &Record) -> Option<Self> {
        let answered = || {
            let status = record.upstream_status.filter(StatusCode::is_server_error)?;
            Some(Self::Answer(status.as_u16()))
        };
        record.error.or(record.would_refuse).map(Self::Error).or_else(answered)
    }
}

impl Trouble {
    fn of(record: &Record, cause: Cause) -> Self {
        Self {
            time: record.time,
            request_id: record.request_id,
            count: 1,
            listener: record.listener.clone(),
            caller: record.caller.clone(),
            proof: record.caller_proof.clone(),
            operation: record.operation.clone(),
            method: record.method.clone(),
            outline: record.target.as_ref().map(|target| outline(target.path()).collect()),
            status: record.status.map(|status| status.as_u16()),
            cause,
            reported: is_reported(record),
            outcome: record.outcome,
        }
    }

    /// Merges an equal call.
    fn again(&mut self, record: &Record) {
        self.time = record.time;
        self.request_id = record.request_id;
        self.count += 1;
        self.proof.clone_from(&record.caller_proof);
        self.status = record.status.map(|status| status.as_u16());
        self.reported = is_reported(record);
        self.outcome = record.outcome;
    }

    fn is_like(&self, record: &Record, cause: Cause) -> bool {
        self.cause == cause
            && self.caller == record.caller
            && self.operation == record.operation
            && self.method == record.method
            && self.listener == record.listener
            && match (&self.outline, &record.target) {
                (Some(known), Some(target)) => {
                    let rest = outline(target.path())
                        .try_fold(known.as_str(), |rest, part| rest.strip_prefix(part));
                    rest == Some("")
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

fn is_reported(record: &Record) -> bool {
    record.error.is_none() && record.would_refuse.is_some()
}

/// The latest last.
#[derive(Debug, Default)]
pub(super) struct Troubles(VecDeque<Trouble>);

impl Troubles {
    /// Merges an equal call without allocating. In a flood of refusals nearly all equal the last
    /// one.
    pub(super) fn add(&mut self, record: &Record) {
        let Some(cause) = Cause::of(record) else { return };
        let alike = self.0.iter().rposition(|known| known.is_like(record, cause));
        let trouble = match alike.and_then(|at| self.0.remove(at)) {
            Some(mut known) => {
                known.again(record);
                known
            }
            None => Trouble::of(record, cause),
        };
        if self.0.len() == MOST_TROUBLES {
            self.0.pop_front();
        }
        self.0.push_back(trouble);
    }

    pub(super) fn latest_first(&self) -> Vec<Trouble> {
        self.0.iter().rev().cloned().collect()
    }
}

/// The parts of a path: words of the API, and `{pk}` or `{…}` for everything else.
fn outline(path: &str) -> impl Iterator<Item = &str> {
    let parts = path.split('/').take(MOST_SEGMENTS).enumerate().flat_map(|(place, segment)| {
        let shown = match segment {
            word if is_word(word) => word,
            id if is_uuid(id) => "{pk}",
            _ => "{…}",
        };
        [if place > 0 { "/" } else { "" }, shown]
    });
    parts.chain(path.split('/').nth(MOST_SEGMENTS).map(|_| "/…"))
}

/// Short, lower-case letters with hyphens or underscores, like the API's words: no number, no
/// address, nothing random.
fn is_word(segment: &str) -> bool {
    segment.len() <= LONGEST_WORD
        && segment.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'))
}

/// Twice the depth of the API's deepest path.
const MOST_SEGMENTS: usize = 16;
/// Longer than any word in the API's paths.
const LONGEST_WORD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_has_the_words_of_a_path_and_nothing_else() {
        let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        for (path, told) in [
            ("/", "/"),
            (
                "/accounts/users/customer/subtenant/list/",
                "/accounts/users/customer/subtenant/list/",
            ),
            (&*format!("/accounts/subtenant/{id}/"), "/accounts/subtenant/{pk}/"),
            ("/people/201701272394/", "/people/{…}/"),
            ("/people/anna@example.se/", "/people/{…}/"),
            ("/a/..%2fb//c;d=1/", "/a/{…}//{…}/"),
            ("/%32%30%31%37/", "/{…}/"),
            ("/Kx8sSecretLooking/", "/{…}/"),
        ] {
            assert_eq!(outline(path).collect::<String>(), told);
        }
        let path = "/a".repeat(100);
        let deep: String = outline(&path).collect();
        assert!(deep.ends_with("/a/…") && deep.len() < 64, "{deep}");
        for known in crate::domain::builtin_operations() {
            let path = known.template().replace("{pk}", id);
            assert_eq!(outline(&path).collect::<String>(), known.template());
        }
        let long = format!("/{}/", "a".repeat(33));
        assert_eq!(outline(&long).collect::<String>(), "/{…}/");
    }
}
