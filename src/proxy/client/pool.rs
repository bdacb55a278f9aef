//! The connections of one worker to one upstream: the idle ones over HTTP/1.1, or the one over HTTP/2 that
//! all calls share.

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
    connect::{ConnectError, Connector, UpstreamStream},
    http1::Http1Conn,
};
use crate::{audit::UpstreamTls, body::Body, domain::Origin};

/// Connections to one upstream.
pub(super) struct Pool {
    connector: Connector,
    idle_timeout: Duration,
    limit: AdaptiveLimit,
    state: Mutex<PoolState>,
    /// Held while an HTTP/2 connection is opened, so that all waiting calls share it.
    opening: tokio::sync::Mutex<()>,
    _renewing: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct PoolState {
    /// The connection that was used last is at the end and is taken first, so the others can expire.
    idle: Vec<IdleConn>,
    http2: Option<Http2Conn>,
    /// Whether the last connection was HTTP/2.
    is_http2: bool,
    /// Whether a task closes idle connections.
    has_reaper: bool,
    /// Increases when the open connections must not be used any more.
    epoch: u64,
}

struct IdleConn {
    conn: Box<Http1Conn>,
    since: Instant,
}

/// An HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub(super) struct Http2Conn {
    pub(super) sender: http2::SendRequest<Body>,
    pub(super) tls: Option<Arc<UpstreamTls>>,
}

/// A connection for one request.
pub(super) enum Checkout {
    /// An HTTP/1.1 connection for this request alone, and since when it was idle.
    Http1(Box<Http1Conn>, Instant),
    /// A shared HTTP/2 connection.
    Http2(Http2Conn),
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
            limit: AdaptiveLimit::new(),
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            _renewing: AbortOnDropHandle::new(tokio::spawn(renew(Weak::clone(pool), rotations))),
        })
    }

    /// The origin of the upstream.
    pub(super) fn origin(&self) -> &Origin {
        self.connector.origin()
    }

    /// The limit of requests in flight.
    pub(super) fn limit(&self) -> &AdaptiveLimit {
        &self.limit
    }

    /// Takes an open connection.
    pub(super) fn take(&self) -> Option<Checkout> {
        let mut state = self.state.lock();
        if let Some(conn) = &state.http2 {
            if !conn.sender.is_closed() {
                return Some(Checkout::Http2(conn.clone()));
            }
            state.http2 = None;
        }
        let idle = state.idle.pop()?;
        Some(Checkout::Http1(idle.conn, idle.since))
    }

    /// Opens a connection, or takes the HTTP/2 connection that another call has opened meanwhile.
    pub(super) async fn open(&self) -> Result<Checkout, CheckoutError> {
        let is_http2 = self.state.lock().is_http2;
        let _opening = if is_http2 { Some(self.opening.lock().await) } else { None };
        if is_http2 && let Some(checkout) = self.take() {
            return Ok(checkout);
        }
        let epoch = self.state.lock().epoch;
        let stream = self.connector.connect().await?;
        if !stream.is_http2() {
            let conn = Http1Conn::open(stream, epoch).await?;
            self.state.lock().is_http2 = false;
            return Ok(Checkout::Http1(conn, Instant::now()));
        }
        let conn = open_http2(stream).await?;
        let mut state = self.state.lock();
        state.is_http2 = true;
        if state.epoch == epoch {
            state.http2 = Some(conn.clone());
        }
        Ok(Checkout::Http2(conn))
    }

    /// Takes back a connection whose response has been read to its end.
    pub(super) fn put(self: &Arc<Self>, mut conn: Box<Http1Conn>) {
        if !conn.finish() {
            return;
        }
        let mut state = self.state.lock();
        if conn.epoch() != state.epoch {
            return;
        }
        state.idle.push(IdleConn { conn, since: Instant::now() });
        if !mem::replace(&mut state.has_reaper, true) {
            drop(tokio::spawn(close_idle(Arc::downgrade(self), self.idle_timeout)));
        }
    }

    /// Stops using the open connections for further requests. Their exchanges continue.
    fn renew(&self) {
        let mut state = self.state.lock();
        state.epoch = state.epoch.wrapping_add(1);
        state.http2 = None;
        let idle = mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }

    /// Closes the connections that were idle for too long. Returns when the next one expires.
    fn close_old(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let fresh = state.idle.iter().position(|idle| idle.since + self.idle_timeout > now);
        let old = fresh.unwrap_or(state.idle.len());
        let closed: Vec<_> = state.idle.drain(..old).collect();
        let next = state.idle.first().map(|idle| idle.since + self.idle_timeout);
        state.has_reaper = next.is_some();
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
            .field("requests", &self.limit.requests())
            .field("http2", &state.http2.is_some())
            .finish_non_exhaustive()
    }
}

/// Renews the pool at each rotation.
async fn renew(pool: Weak<Pool>, mut rotations: watch::Receiver<u64>) {
    while rotations.changed().await.is_ok() {
        let Some(pool) = pool.upgrade() else { return };
        pool.renew();
    }
}

/// Closes idle connections as they expire, while there are any.
async fn close_idle(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut next = Instant::now() + idle_timeout;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let Some(oldest) = pool.close_old() else { return };
        next = oldest;
    }
}

/// Starts HTTP/2. A task of its own polls the connection, because many calls use it.
async fn open_http2(stream: UpstreamStream) -> hyper::Result<Http2Conn> {
    let tls = stream.tls().cloned();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        // The connection's window has room for a thousand full streams, so that a slow caller does not
        // block the others.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // A caller that leaves resets its stream. h2 would count a thousand resets as an attack of the
        // peer and end the connection with all its calls; these are our own.
        .max_local_error_reset_streams(None)
        .handshake(TokioIo::new(stream))
        .await?;
    drop(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an HTTP/2 connection to the upstream ended");
        }
    }));
    Ok(Http2Conn { sender, tls })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    /// It could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was opened and ended before HTTP started.
    #[error("the connection ended before it could be used")]
    Handshake(#[from] hyper::Error),
}

/// Bytes of a response that the upstream may send before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all responses of a connection together.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// The interval of HTTP/2 PINGs.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
