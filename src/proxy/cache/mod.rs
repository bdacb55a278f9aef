//! The cache stage: answers repeated reads from stored responses. It comes after `authorize` and before the
//! credentials.
//!
//! It is a shared cache (RFC 9111) that also knows the API and its credentials. A stored response
//! belongs to one profile and to the generation of credentials that fetched it, so no other credentials
//! get it. A write through the gateway invalidates what it changes at once, for all profiles with tables of
//! their own, or for the member of a template that wrote. Calls that want the same response at the same time share
//! one fetch. Data of people with a protected identity is
//! never stored. Each answer says where it comes from, to its caller (`Cache-Status`, `Age`) and in the
//! audit log.
//!
//! ```text
//! read ─ lookup ─┬─ fresh ─────────────────────────────▶ answer      no task, no box, no lock
//!                └─ stale, or none ─ join ─┬─ lead ─ shared ─┬─ found ──────────▶ answer and stored response
//!                                          │                 └─ fetch ─ record ─▶ the same
//!                                          └─ wait ─────────────────▶ the leader's stored response
//! write ─ upstream ─ invalidate ───────────────────────▶ answer
//! ```
//!
//! `eligibility` says which requests it has a part in, `policy` has the decisions of the RFC, `storage` the responses in memory, `coalesce` the
//! fetches that calls share, `shared` what the members of a fleet share.

mod answer;
mod clock;
mod coalesce;
mod eligibility;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod invalidate;
mod life;
mod lookup;
mod outcome;
mod policy;
mod record;
mod service;
mod settings;
mod shared;
mod shared_stats;
mod status;
mod storage;
mod wait;

pub use clock::{SystemClock, WallClock};
pub use eligibility::Bypass;
pub use handle::{Affected, Cache, Noticed};
pub use life::StoredLife;
pub use service::{CacheFuture, CacheLayer, Cached, cache};
pub use settings::{Rule, Settings, SharedSettings};
pub use shared_stats::{SharedResult, SharedStats};
pub use storage::{
    epochs::object_of,
    store::{CacheStats, OperationUsage},
};

#[cfg(test)]
pub(crate) mod tests;
