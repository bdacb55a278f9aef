//! The last calls that were refused or failed, or that Pigello itself answered with an error.
//!
//! Of a request's target only an outline is kept: what could be an identifier, a person's number or
//! anything else that is not a word of the API is left out, and the query altogether.

use std::{collections::VecDeque, time::SystemTime};

use http::{Method, StatusCode};

use super::MOST_TROUBLES;
use crate::{
    audit::{Outcome, Record},
    domain::{LabelValue, ListenerName, Proof, RequestId, is_uuid},
};

/// Why a call is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The gateway refused it or failed: the label of a [`Kind`](crate::error::Kind).
    Error(&'static str),
    /// Pigello answered with this status, 500 or above, and the caller got it.
    Answer(u16),
}

/// A call that was refused or failed, and how many like it came since the one before was shown.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When the last of them came in.
    pub time: SystemTime,
    /// The last of them.
    pub request_id: RequestId,
    /// How many are alike: the same caller, operation, outline and reason.
    pub count: u64,
    /// Where it came in.
    pub listener: ListenerName,
    /// The caller's name, if it proved one.
    pub caller: Option<LabelValue>,
    /// What the connection showed of the caller.
    pub proof: Option<Proof>,
    /// The operation, if it matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// The outline of the path: `/accounts/users/customer/subtenant/{pk}/`. `None` of no path.
    pub outline: Option<String>,
    /// The status the caller got.
    pub status: Option<u16>,
    /// Why.
    pub cause: Cause,
    /// Whether it went on all the same, because the policy only reports.
    pub reported: bool,
    /// What became of the call.
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

    /// The same once more.
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
    /// Makes nothing new for a call that is like one that is there: where refusals come in a flood,
    /// that is nearly all of them, and the last one is the one they are like.
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

/// A path with its words, and `{pk}` or `{…}` for everything else, in parts.
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

/// Short, of lower-case letters and the signs that join them, as the words of the API are: no number,
/// no address, nothing that is random.
fn is_word(segment: &str) -> bool {
    segment.len() <= LONGEST_WORD
        && segment.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'))
}

/// Twice as many as the deepest path of the API has.
const MOST_SEGMENTS: usize = 16;
/// Longer than any word of the API's paths.
const LONGEST_WORD: usize = 24;

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
        let long = format!("/{}/", "a".repeat(25));
        assert_eq!(outline(&long).collect::<String>(), "/{…}/");
    }
}
