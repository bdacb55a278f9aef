//! Before the path: accepts callers' connections and speaks HTTP with them.
//!
//! A listener owns a socket and hands each request hyper parsed to its path. It bounds what a caller
//! can take before there is a request: connections, header bytes, the time for a head, the time a
//! connection may be idle. Every worker accepts from the same socket, so no caller is pinned to one.

mod connection;
mod inherited;
mod timeout_io;
mod socket;
mod swap;
pub(in crate::proxy) mod wake_filter;
mod tls;
pub mod strict;

use std::{
    fmt, io,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::connection::Server;
pub use self::{
    connection::Path,
    inherited::Inherited,
    socket::{BindError, Bound, TokioSocket},
    swap::{Swap, Swapped},
    timeout_io::ConnectionTimeouts,
    tls::{ServerTls, ServerTlsError, TlsFiles},
};
use crate::{domain::ListenerName, error::Kind};

/// Told of a connection that is refused before there is a request.
pub type Refused = Arc<dyn Fn(Kind) + Send + Sync>;

/// What one connection may cost.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a head may take, and a connection may be idle.
    pub patience: ConnectionTimeouts,
    /// Bytes of a request head that are read at most.
    pub head_bytes: usize,
    /// Header fields that are read at most.
    pub header_count: usize,
    /// Streams of one HTTP/2 connection at a time.
    pub concurrent_streams: u32,
}

/// A listener on one worker.
pub struct Listener<P> {
    /// Its name.
    pub name: ListenerName,
    /// The path of its requests.
    pub path: P,
    /// What a connection may cost.
    pub settings: Settings,
    /// TLS towards callers.
    pub tls: Option<Arc<ServerTls>>,
    /// Told of connections whose handshake fails.
    pub refused: Refused,
    /// How many more connections the gateway takes.
    pub connections: Arc<Semaphore>,
    /// How many are open.
    pub open: Gauge,
    /// Cancelled when it is to accept no more; connections that are open go on.
    pub closing: CancellationToken,
}

/// When a listener stops, and how its connections end.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Set some time before: callers over HTTP/1 are told not to keep their connections, so that they
    /// have found another gateway by the time this one stops.
    pub leaving: Arc<AtomicBool>,
    /// No new connections; open ones finish the calls under way.
    pub stop: CancellationToken,
    /// Whatever is still open is cut off.
    pub cut: CancellationToken,
    /// The connections that are open.
    pub tracker: TaskTracker,
}

impl Drain {
    /// Nothing is draining.
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
        let mut over = pin!(async {
            tokio::select! {
                () = drain.stop.cancelled() => {}
                () = closing.cancelled() => {}
            }
        });
        loop {
            let next = async {
                // The permit comes first: over the limit, connections wait in the kernel's queue
                // instead of costing this process memory.
                let permit = Arc::clone(&connections).acquire_owned().await.ok()?;
                Some((permit, acceptor.accept().await))
            };
            // In this order: nobody is let in by what a reload has just replaced.
            let next = tokio::select! {
                biased;
                () = over.as_mut() => return Ok(()),
                next = next => next,
            };
            let Some((permit, accepted)) = next else { return Ok(()) };
            match accepted {
                Ok((stream, peer)) => {
                    let taken = Taken::new(open.clone(), permit);
                    let server = Arc::clone(&server);
                    drop(drain.tracker.spawn(async move {
                        let _taken = taken;
                        server.serve(stream, peer).await;
                    }));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: connections that end will free some.
                    tracing::warn!(listener = %name, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The place that a connection takes, until it is dropped.
struct Taken {
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Taken {
    fn new(open: Gauge, permit: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self { open, _permit: permit }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.open.dec();
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
