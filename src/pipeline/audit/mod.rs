//! The audit stages: a record that opens at the edge, and the promise to keep it.
//!
//! [`open()`] stands first on the path. It opens one record for every request hyper parsed and closes
//! it exactly once: on the last byte of the answer, or when the answer, its future or the connection
//! is dropped before that. So refusals, callers that leave and panics are on the trail too.
//!
//! [`write_ahead()`] stands behind the permission: no secret leaves the process for a call that the
//! trail cannot answer for.

mod guard;
mod open;
mod write_ahead;

pub use guard::RecordedBody;
pub use open::{Edges, Open, OpenLayer, open};
pub use write_ahead::{WriteAhead, WriteAheadLayer, write_ahead};
