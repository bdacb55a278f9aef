//! The connections of one worker to one upstream: those that nobody uses at the moment, and the one
//! that everybody shares where HTTP/2 was agreed on.

use std::{
    fmt, mem,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    adaptive_limit::AdaptiveLimit,
    connect::{ConnectError, Connector, Stream},
    http1::Http1Conn,
};
use crate::{audit::UpstreamTls, body::Body, domain::Origin};

/// Connections to one upstream.
pub(super) struct Pool {
    connector: Connector,
    idle_timeout: Duration,
    window: AdaptiveLimit,
    state: Mutex<State>,
    /// Held while an HTTP/2 connection is opened, so that one is enough for all who wait.
    opening: tokio::sync::Mutex<()>,
    /// Waits for rotations.
    _renewing: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    /// The one that was used last is at the end, and is taken first: the others get a chance to grow
    /// old.
    idle: Vec<Idle>,
    shared: Option<Shared>,
    /// Whether the upstream speaks HTTP/2, as far as it is known.
    is_shared: bool,
    /// Whether somebody sees to it that idle connections are closed.
    is_watched: bool,
    /// Moves on when connections are no longer to be used.
    epoch: u64,
}

struct Idle {
    wire: Box<Http1Conn>,
    since: Instant,
}

/// An HTTP/2 connection. Clones are the same one.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<Body>,
    pub(super) tls: Option<Arc<UpstreamTls>>,
}

/// What a request is sent over.
pub(super) enum Checkout {
    /// An HTTP/1.1 connection, for this request alone, and since when nobody has used it.
    Own(Box<Http1Conn>, Instant),
    /// An HTTP/2 connection.
    Shared(Shared),
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        idle_timeout: Duration,
        rotations: watch::Receiver<u64>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|pool| Self {
            connector,
            idle_timeout,
            window: AdaptiveLimit::new(),
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            _renewing: AbortOnDropHandle::new(tokio::spawn(renew(Weak::clone(pool), rotations))),
        })
    }

    /// Where its connections lead.
    pub(super) fn origin(&self) -> &Origin {
        self.connector.origin()
    }

    /// How many requests may be open.
    pub(super) fn window(&self) -> &AdaptiveLimit {
        &self.window
    }

    /// A connection that is open already.
    pub(super) fn take(&self) -> Option<Checkout> {
        let mut state = self.state.lock();
        if let Some(shared) = &state.shared {
            if !shared.sender.is_closed() {
                return Some(Checkout::Shared(shared.clone()));
            }
            state.shared = None;
        }
        let idle = state.idle.pop()?;
        Some(Checkout::Own(idle.wire, idle.since))
    }

    /// A new connection, or one that became free to share while it was waited for.
    pub(super) async fn open(&self) -> Result<Checkout, OpenError> {
        let is_shared = self.state.lock().is_shared;
        let _only_one = if is_shared { Some(self.opening.lock().await) } else { None };
        if is_shared && let Some(line) = self.take() {
            return Ok(line);
        }
        let epoch = self.state.lock().epoch;
        let stream = self.connector.connect().await?;
        if !stream.is_http2() {
            let wire = Http1Conn::open(stream, epoch).await?;
            self.state.lock().is_shared = false;
            return Ok(Checkout::Own(wire, Instant::now()));
        }
        let shared = share(stream).await?;
        let mut state = self.state.lock();
        state.is_shared = true;
        if state.epoch == epoch {
            state.shared = Some(shared.clone());
        }
        Ok(Checkout::Shared(shared))
    }

    /// Takes back a connection whose answer has been read to its end.
    pub(super) fn put(self: &Arc<Self>, mut wire: Box<Http1Conn>) {
        if !wire.is_free() {
            return;
        }
        let mut state = self.state.lock();
        if wire.epoch() != state.epoch {
            return;
        }
        state.idle.push(Idle { wire, since: Instant::now() });
        if !mem::replace(&mut state.is_watched, true) {
            drop(tokio::spawn(close_idle(Arc::downgrade(self), self.idle_timeout)));
        }
    }

    /// No request that comes from now on is sent over a connection that is open now. Exchanges under
    /// way go on.
    fn renew(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.shared = None;
        let idle = mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    /// Closes what has been idle for too long; when to look again, if anything is left.
    fn close_old(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let fresh = state.idle.iter().position(|idle| idle.since + self.idle_timeout > now);
        let old = fresh.unwrap_or(state.idle.len());
        let closed: Vec<_> = state.idle.drain(..old).collect();
        let next = state.idle.first().map(|idle| idle.since + self.idle_timeout);
        state.is_watched = next.is_some();
        drop(state);
        drop(closed);
        next
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Pool")
            .field("idle", &state.idle.len())
            .field("asked", &self.window.asked())
            .field("shared", &state.shared.is_some())
            .finish_non_exhaustive()
    }
}

/// Gives up what is open with each rotation.
async fn renew(pool: Weak<Pool>, mut rotations: watch::Receiver<u64>) {
    while rotations.changed().await.is_ok() {
        let Some(pool) = pool.upgrade() else { return };
        pool.renew();
    }
}

/// Closes idle connections when their time is over, as long as there are any.
async fn close_idle(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut next = Instant::now() + idle_timeout;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let Some(oldest) = pool.close_old() else { return };
        next = oldest;
    }
}

/// Begins to speak HTTP/2. Its connection needs to be driven whoever is waiting, so it has a task.
async fn share(stream: Stream) -> hyper::Result<Shared> {
    let tls = stream.tls().cloned();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        // Of one stream that nobody reads, the connection's window has room for a thousand: one slow
        // caller must not hold up the others.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Each caller that leaves is a stream that is reset. h2 takes a thousand of them for an attack
        // by the peer and ends the connection with all its calls; here they are our own.
        .max_local_error_reset_streams(None)
        .handshake(TokioIo::new(stream))
        .await?;
    drop(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection to the upstream ended");
        }
    }));
    Ok(Shared { sender, tls })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// It could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was open, and HTTP could not be spoken over it.
    #[error("the connection ended before it could be used")]
    Handshake(#[from] hyper::Error),
}

/// Bytes of an answer that the upstream may send before they are read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of a connection together.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// How often an HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
