//! What belongs to one call: its connection, its context, its permits, the states it passes, and the
//! way to call the next stage.

mod connection;
mod connection_limits;
mod context;
mod parse_error;
mod peer;
mod permits;
mod shared_service;
mod states;
pub(in crate::proxy) mod wake_filter;

pub use self::{
    connection::{ActiveCall, Connection},
    connection_limits::{ConnectionLimiter, ConnectionLimits, ConnectionPermit, Standing},
    context::{CallContext, CallFacts},
    parse_error::ParseError,
    peer::Peer,
    permits::{CallPermit, CallerPermit, ConcurrencyLimits},
    states::{
        Arrival, Authorized, Fetch, Head, Identified, Intended, Opened, Outbound, REQUEST_ID,
        Received, Recorded, Resolved,
    },
};
pub(in crate::proxy) use self::{context::CallEnd, shared_service::SharedService};
