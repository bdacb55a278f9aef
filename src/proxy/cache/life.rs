//! What is stored under a path, and how long it may live, for `explain --cache`.

use serde::Serialize;
use tokio::time::Instant;

use super::{
    handle::Cache,
    storage::key::{TargetName, path_of},
};
use crate::{domain::CanonicalTarget, proxy::profile::Validity};

/// A stored response, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredLife {
    /// The profile that it belongs to.
    pub profile: String,
    /// Whether its target has a query.
    pub has_query: bool,
    /// The upstream's status.
    pub status: u16,
    /// The call that fetched it.
    pub request_id: String,
    /// The chain of the trail that has that call, if another gateway of the fleet fetched it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_chain: Option<String>,
    /// How long ago it was fetched.
    pub stored_seconds: u64,
    /// `coherent`, `fresh`, `stale` or `dropped`.
    pub state: &'static str,
    /// How long it stays so, if it is coherent or fresh.
    pub left_seconds: u64,
}

impl Cache {
    /// The responses that are stored under the path of a target, whatever their query, the oldest first.
    pub fn stored(&self, target: &CanonicalTarget) -> Vec<StoredLife> {
        let name = TargetName::of(target);
        let path = path_of(name.as_str());
        let now = Instant::now();
        let mut found = Vec::new();
        self.store().for_each(|key, response| {
            if key.path() != path {
                return;
            }
            let provenance = &response.provenance;
            let is_current = provenance.is_current(&self.store().epochs);
            let policy = &response.policy;
            let coherent = policy
                .coherent
                .filter(|_| provenance.mark.validity(now) == Validity::Coherent)
                .and_then(|lifetime| policy.freshness.with_lifetime(lifetime).left(now));
            let (state, left) = match (is_current, coherent, policy.ttl(now)) {
                (false, ..) => ("dropped", None),
                (true, Some(left), _) => ("coherent", Some(left)),
                (true, None, Some(left)) => ("fresh", Some(left)),
                (true, None, None) => ("stale", None),
            };
            found.push(StoredLife {
                profile: key.profile().to_string(),
                has_query: key.has_query(),
                status: response.status.as_u16(),
                request_id: provenance.request_id.to_string(),
                source_chain: provenance.chain.as_deref().map(str::to_owned),
                stored_seconds: policy.freshness.resident(now).as_secs(),
                state,
                left_seconds: left.unwrap_or_default().as_secs(),
            });
        });
        found.sort_by_key(|stored| std::cmp::Reverse(stored.stored_seconds));
        found.truncate(MOST);
        found
    }
}

/// The most responses that are told.
const MOST: usize = 100;
