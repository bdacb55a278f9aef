//! The beginning of the path: accepts callers' connections and serves HTTP on them.
//!
//! A listener owns a socket and calls its path with each request. It limits what a caller can take
//! before there is a request: connections, bytes of a head, the time for a head, idle time. All workers
//! accept from the same socket, so a caller is not bound to one of them.
//!
//! | part | |
//! | --- | --- |
//! | `socket`, `inherited` | listening sockets and accepted connections |
//! | `tls` | TLS, and the names in callers' certificates |
//! | `connection` | one connection: TLS, then HTTP until it ends |
//! | [`http1`], [`http2`] | the two protocols |
//! | `path`, `swap` | the service that is called with each request; a reload replaces it |

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
    fmt, io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Server;
pub use self::{
    http1::response_head::keep_alive_fields,
    inherited::Inherited,
    path::Path,
    socket::{BindError, Bound, TokioSocket},
    swap::{Swap, Swapped},
    tls::{ServerTls, ServerTlsError, TlsFiles},
};
use crate::{domain::ListenerName, error::Kind};

/// Called for a connection, or a stream of HTTP/2, that is refused before it is a request.
pub type OnRefused = Arc<dyn Fn(Kind) + Send + Sync>;

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

/// A listener on one worker.
pub struct Listener<P> {
    /// Its name.
    pub name: ListenerName,
    /// The path of its requests.
    pub path: P,
    /// The limits of its connections.
    pub settings: Settings,
    /// TLS towards callers.
    pub tls: Option<Arc<ServerTls>>,
    /// Called for connections whose handshake fails.
    pub refused: OnRefused,
    /// The permits for further connections of the gateway.
    pub connections: Arc<Semaphore>,
    /// The gauge of open connections.
    pub open: Gauge,
    /// Cancelled when it must accept no more. Open connections continue.
    pub closing: CancellationToken,
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

impl<P> fmt::Debug for Listener<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.name)
    }
}

impl<P: Path> Listener<P> {
    /// Accepts connections until it is closed or the drain begins.
    pub async fn serve(self, socket: Bound, drain: Drain) -> io::Result<()> {
        let acceptor = socket.into_tokio()?;
        let Self { name, path, settings, tls, refused, connections, open, closing } = self;
        let server = Arc::new(Server::new(path, settings, tls, refused, drain.clone()));
        let mut stopping = pin!(async {
            tokio::select! {
                () = drain.stop.cancelled() => {}
                () = closing.cancelled() => {}
            }
        });
        loop {
            let next = async {
                // The permit comes first: over the limit, connections wait in the kernel's queue and
                // cost this process no memory.
                let permit = Arc::clone(&connections).acquire_owned().await.ok()?;
                Some((permit, acceptor.accept().await))
            };
            // In this order: no connection is accepted by settings that a reload has just replaced.
            let next = tokio::select! {
                biased;
                () = stopping.as_mut() => return Ok(()),
                next = next => next,
            };
            let Some((permit, accepted)) = next else { return Ok(()) };
            match accepted {
                Ok((stream, peer)) => {
                    let permit = ConnectionPermit::new(open.clone(), permit);
                    let server = Arc::clone(&server);
                    drop(drain.tracker.spawn(async move {
                        let _permit = permit;
                        server.serve(stream, peer).await;
                    }));
                }
                Err(error) => {
                    // Probably out of file descriptors. Connections that end will free some.
                    tracing::warn!(listener = %name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Counts a connection until it is dropped.
struct ConnectionPermit {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionPermit {
    fn new(open: Gauge, permit: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self { open, _permit: permit }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.open.dec();
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
