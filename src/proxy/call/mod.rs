//! What belongs to one call: its connection, its context, its permits, the states it passes, and the
//! way to call the next stage.

mod connection;
mod connection_limits;
mod context;
mod interim;
mod permits;
mod shared_service;
mod states;
mod target_error;

pub use self::{
    connection::{Connection, PeerCertificate, RefusedConnection},
    connection_limits::{ConnectionLimiter, ConnectionLimits, ConnectionPermit, Standing},
    context::{CallContext, CallFacts, KeepOpen},
    interim::{Interim, InterimQueue},
    permits::{CallPermit, CallerPermit, ConcurrencyLimits},
    states::{
        Arrival, Authorized, ChosenBy, Fetch, Head, Identified, Intended, Loaded, Opened, Outbound,
        REQUEST_ID, Received, Recorded, Resolved, Selected, Unreadable,
    },
};
pub(in crate::proxy) use self::{context::CallEnd, shared_service::SharedService};
