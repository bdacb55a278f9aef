//! The audit stages: one record for each call, and proof that it can be kept.
//!
//! - [`open()`] is the first stage. It opens a record for each request and closes it exactly once: at
//!   the last byte of the response, or when the response, its future or the connection is dropped
//!   before that. So refusals, callers that leave and panics have records too. The record of a write
//!   whose answer is in memory closes when the answer is decided: Pigello has carried it out, whether
//!   or not the caller reads.
//! - [`admit()`] follows the permission: no call is served whose record the trail could not take.
//! - [`note_list_ids()`] follows it: with `audit.list_ids`, the record of a list has its objects.
//! - [`intend()`] follows the cache: on a synced trail, the intent is stored before a secret leaves.
//!
//! # Synced
//!
//! With [`Durability::Synced`](crate::audit::Durability::Synced) no response is complete before its
//! record is in stable storage. A response in memory (problem documents and hits too) waits as a
//! whole; of a streamed one the end waits. So the record closes when the response is about to be
//! handed to the connection, with the sizes it will have, and does not say whether the caller read it.
//! If the record cannot be kept, the caller gets a 503 or an incomplete body.

mod admit;
mod body;
mod guard;
mod intend;
mod list_ids;
mod listener;
mod open;

use std::time::Duration;

pub use self::{
    admit::admit,
    body::RecordedBody,
    intend::{Intend, intend},
    list_ids::{NoteListIds, note_list_ids},
    listener::ListenerContext,
    open::{MakeRefusal, OpenRecord, open},
};
use crate::{
    audit::Unwritable,
    error::{Error, Kind},
};

/// The error of a call whose record the trail cannot take.
fn unavailable(unwritable: Unwritable) -> Error {
    let detail = "the audit trail cannot be written, and calls that would not be on it are refused";
    Error::new(Kind::AuditUnavailable, detail)
        .because(unwritable)
        .retry_after(Duration::from_secs(1))
}
