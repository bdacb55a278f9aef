//! SharedService the permission, before the credentials: answers repeated reads from memory.
//!
//! A shared cache by RFC 9111, with what the gateway knows besides. An object belongs to the profile
//! and the generation of credentials that fetched it, so new credentials find nothing of the old
//! ones'. A write through the gateway makes what it changes unreachable, for everybody and at once.
//! Callers who want the same object at the same time share one fetch. People under protection are
//! never in it. And every answer says where it is from, to its caller (`Cache-Status`, `Age`) and to
//! the trail.
//!
//! ```text
//! read ─ find ─┬─ fresh ───────────────────────────────▶ answer         no task, no box, no lock
//!              └─ stale, or nothing ─ join ─┬─ lead ─ fetch ─ record ──▶ answer and object
//!                                           └─ follow ────────────────▶ the leader's object
//! write ─ forward ─ invalidate ────────────────────────▶ answer
//! ```

mod answer;
mod fetch;
mod coalesce;
#[cfg(fuzzing)]
pub mod fuzzing;
mod invalidate;
mod lookup;
mod policy;
mod record;
mod service;
mod settings;
mod status;
mod storage;
mod wait;

pub use service::{CacheFuture, CacheLayer, Cached, Generation, Scope, cache};
pub use settings::{Rule, Settings};
pub use storage::store::{Held, Stats, Store, SystemClock, WallClock};

#[cfg(test)]
mod tests;
