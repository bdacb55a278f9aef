//! The beginning of the path: accepts callers' connections and serves HTTP on them.
//!
//! A listener has a socket, and one acceptor that hands each connection to a worker, and calls its path with
//! each request. It limits what a caller can take before there is a request: connections, bytes of a head,
//! the time for a head, idle time.
//!
//! The bytes of a connection pass, from the inside out: `socket` → `batched_io` → `tls` → `timeout_io`
//! (time limits) → `strict` (refuses what is ambiguous) → hyper (`connection`).

mod acceptor;
mod connection;
pub mod http2;
mod inherited;
mod socket;
pub mod strict;
mod swap;
mod timeout_io;
mod tls;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Server;
pub use self::{
    acceptor::{Accepted, Acceptor, AcceptorEnd, WorkerQueue},
    connection::Path,
    inherited::Inherited,
    socket::{BindError, Bound},
    swap::{Swap, Swapped},
    timeout_io::ConnectionTimeouts,
    tls::{ServerTls, ServerTlsError, TlsFiles},
};
use crate::error::Kind;

/// Called for a connection that is refused before it has a request.
pub type OnRefused = Arc<dyn Fn(Kind) + Send + Sync>;

/// The limits of one connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time limits.
    pub timeouts: ConnectionTimeouts,
    /// Most bytes of a request head.
    pub head_bytes: usize,
    /// Most header fields.
    pub header_count: usize,
    /// Most concurrent streams of an HTTP/2 connection.
    pub concurrent_streams: u32,
}

/// A listener on one worker: serves the connections that its acceptor hands to the worker.
pub struct Listener<P> {
    server: Arc<Server<P>>,
    tracker: TaskTracker,
}

/// When a listener stops, and how its connections end.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Set some time before the stop: responses over HTTP/1 then close their connection, so that callers
    /// have found another gateway when this one stops.
    pub leaving: Arc<AtomicBool>,
    /// No new connections are accepted; open ones finish their calls.
    pub stop: CancellationToken,
    /// Connections that are still open are cut off.
    pub cut: CancellationToken,
    /// The open connections.
    pub tracker: TaskTracker,
}

impl Drain {
    /// No drain.
    pub fn new() -> Self {
        Self {
            leaving: Arc::default(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Path> Listener<P> {
    /// Serves `path`, with TLS if it has settings for that. `refused` is called for connections whose
    /// handshake fails.
    pub fn new(
        path: P,
        settings: Settings,
        tls: Option<Arc<ServerTls>>,
        refused: OnRefused,
        drain: Drain,
    ) -> Self {
        let tracker = drain.tracker.clone();
        Self { server: Arc::new(Server::new(path, settings, tls, refused, drain)), tracker }
    }

    /// Serves a connection on the runtime that this is called on, until it ends.
    pub fn serve(&self, accepted: Accepted) {
        let (stream, peer, counted) = match accepted.attach() {
            Ok(attached) => attached,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be served");
                return;
            }
        };
        let server = Arc::clone(&self.server);
        let standing = counted.permit.standing();
        let connection = standing.clone();
        let task = self.tracker.spawn(async move {
            let _counted = counted;
            server.serve(stream, peer, standing).await;
        });
        connection.is_served_by(task.abort_handle());
    }
}

impl<P> fmt::Debug for Listener<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({:?})", self.server)
    }
}
