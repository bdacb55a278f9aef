//! The beginning of the path: accepts callers' connections and serves HTTP on them.
//!
//! A listener has a socket, and one acceptor that hands each connection to a worker, and calls its path with
//! each request. It limits what a caller can take before there is a request: connections, bytes of a head,
//! the time for a head, idle time.
//!
//! | part | |
//! | --- | --- |
//! | `socket`, `inherited` | listening sockets and accepted connections |
//! | `acceptor` | hands accepted connections to workers |
//! | `alone` | serves without workers |
//! | `tls` | TLS, and the names in callers' certificates |
//! | `connection` | one connection: TLS, then HTTP until it ends |
//! | [`http1`], [`http2`] | the two protocols |
//! | `path`, `swap` | the service that is called with each request; a reload replaces it |

mod acceptor;
mod alone;
mod connection;
mod date;
pub mod http1;
pub mod http2;
mod inherited;
mod path;
mod socket;
mod swap;
mod timer;
mod tls;
mod transport;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Server;
pub use self::{
    acceptor::{Accepted, Acceptor, AcceptorEnd, WorkerQueue},
    alone::serve_alone,
    http1::response_head::keep_alive_fields,
    inherited::Inherited,
    path::Path,
    socket::{BindError, Bound, SocketAccess},
    swap::{Swap, Swapped},
    tls::{ServerTls, ServerTlsError, TlsFiles},
};
use crate::proxy::call::RefusedConnection;

/// Called for a connection, or a stream of HTTP/2, that is refused before it is a request.
pub type OnRefused = Arc<dyn Fn(RefusedConnection) + Send + Sync>;

/// The time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimeouts {
    /// From the first byte of a head to its last byte.
    pub head: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For the caller to take more bytes of its response.
    pub write: Duration,
}

/// The limits of one connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time limits.
    pub timeouts: ConnectionTimeouts,
    /// Most bytes of a request head.
    pub head_bytes: usize,
    /// Most header fields.
    pub header_count: usize,
    /// The fields of a response over HTTP/1 whose connection is kept.
    pub keep_alive_fields: String,
    /// Most concurrent streams of an HTTP/2 connection.
    pub concurrent_streams: u32,
    /// The age at which an HTTP/2 connection ends, more or less a tenth.
    pub connection_age: Option<Duration>,
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
    /// Whether the gateway will stop soon.
    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

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
