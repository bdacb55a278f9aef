//! The audit stages: a record that opens at the edge, and the promise to keep it.
//!
//! [`open()`] stands first on the path. It opens one record for every request hyper parsed and closes
//! it exactly once: on the last byte of the answer, or when the answer, its future or the connection
//! is dropped before that. So refusals, callers that leave and panics are on the trail too.
//!
//! [`write_ahead()`] stands behind the permission: no call is served that the trail cannot answer for.
//! [`intend()`] stands behind the cache: on a synced trail no secret leaves the process before the
//! trail says so.
//!
//! # Synced
//!
//! With [`Durability::Synced`](crate::audit::Durability::Synced) no answer leaves before its record
//! is in stable storage: one from memory (problems and hits too) waits as a whole, of one from the
//! wire the end waits. So the record is closed when the answer is about to be handed to the
//! connection, with the sizes it will have; whether the caller stayed to read it is not on the trail.
//! Where the record cannot be kept, the caller gets a 503 or a body that breaks off.

mod body;
mod guard;
mod intend;
mod open;
mod write_ahead;

pub use body::RecordedBody;
pub use intend::{Intend, IntendLayer, intend};
pub use open::{ListenerContext, Open, OpenLayer, Refusal, open};
pub use write_ahead::{WriteAhead, WriteAheadLayer, write_ahead};

use std::time::Duration;

use crate::{
    audit::Unwritable,
    error::{Error, Kind},
};

/// What a call fails with that would not be on the trail.
fn unavailable(unwritable: Unwritable) -> Error {
    let detail = "the audit trail cannot be written, and calls that would not be on it are refused";
    Error::new(Kind::AuditUnavailable, detail)
        .because(unwritable)
        .retry_after(Duration::from_secs(1))
}
