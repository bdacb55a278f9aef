//! What belongs to one call: its connection, its context, its permits, and the states it passes.

mod connection;
mod context;
mod parse_error;
mod permits;
mod states;

pub use self::{
    connection::{ActiveCall, Connection, Peer},
    context::{CallContext, CallFacts},
    parse_error::ParseError,
    permits::{CallPermit, CallerPermit, ConcurrencyLimits},
    states::{
        Arrival, Authorized, Fetch, Head, Identified, Intended, Opened, Outbound, REQUEST_ID,
        Received, Recorded, Resolved,
    },
};
pub(in crate::proxy) use context::CallEnd;
