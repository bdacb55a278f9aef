//! What belongs to one call: its connection, its context, its permits, and the states it passes.

mod connection;
mod context;
mod parse_error;
mod permits;
mod states;

pub use connection::{ActiveCall, Connection, Peer};
pub(in crate::proxy) use context::CallEnd;
pub use context::{Draft, Facts};
pub use parse_error::ParseError;
pub use permits::ConcurrencyLimits;
pub use states::{
    Arrival, Authorized, Fetch, Head, Identified, Intended, Opened, Outbound, REQUEST_ID, Received,
    Recorded, Resolved,
};
