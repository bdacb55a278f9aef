//! The connections of one worker to one upstream: idle ones over HTTP/1.1, and those over HTTP/2, which
//! calls share.

use std::{
    fmt, mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    adaptive_limit::AdaptiveLimit,
    connect::{CheckoutError, Connector},
    http1::Http1Conn,
    http2::{Http2Conn, Http2Stream},
};
use crate::domain::Origin;

/// How long connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct KeepLimits {
    /// Without a call.
    pub idle: Duration,
    /// Since they were opened, give or take a tenth. A call that is under way then is finished.
    pub age: Duration,
}

impl KeepLimits {
    /// When a connection that is opened now is old. Connections that were opened together do not end
    /// together.
    fn ends(&self) -> Instant {
        Instant::now() + self.age.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}

/// Connections to one upstream.
pub(super) struct Pool {
    connector: Connector,
    keep: KeepLimits,
    /// `None` if the settings want none.
    limit: Option<AdaptiveLimit>,
    state: Mutex<PoolState>,
    /// Held while a connection is opened that calls could share: all that wait get it, or its failure.
    opening: tokio::sync::Mutex<Opening>,
    /// The number of times that such a connection was opened or failed.
    openings: AtomicU64,
    _renewing: Vec<AbortOnDropHandle<()>>,
}

#[derive(Default)]
struct PoolState {
    /// The connection that was used last is at the end and is taken first, so the others can expire.
    idle: Vec<IdleConn>,
    /// More than one if calls need more streams than the upstream lets one connection have.
    http2: Vec<Arc<Http2Conn>>,
    /// Whether the last connection was HTTP/1.1, of which each call needs one of its own.
    is_http1: bool,
    /// Whether a task closes connections that are idle or old.
    has_reaper: bool,
    /// Increases when the open connections must not be used any more.
    epoch: u64,
}

#[derive(Default)]
struct Opening {
    /// Why the last one failed.
    failure: Option<Arc<CheckoutError>>,
}

struct IdleConn {
    conn: Box<Http1Conn>,
    since: Instant,
}

/// A connection for one request.
pub(super) enum Checkout {
    /// An HTTP/1.1 connection for this request alone, and since when it was idle.
    Http1(Box<Http1Conn>, Instant),
    /// A stream of a shared HTTP/2 connection.
    Http2(Http2Stream),
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        keep: KeepLimits,
        adapts: bool,
        renewals: impl IntoIterator<Item = watch::Receiver<u64>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|pool| Self {
            limit: adapts.then(|| AdaptiveLimit::new(connector.origin().clone())),
            connector,
            keep,
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            openings: AtomicU64::new(0),
            _renewing: renewals
                .into_iter()
                .map(|changes| tokio::spawn(renew(Weak::clone(pool), changes)))
                .map(AbortOnDropHandle::new)
                .collect(),
        })
    }

    /// The origin of the upstream.
    pub(super) fn origin(&self) -> &Origin {
        self.connector.origin()
    }

    /// The limit of requests in flight, if there is one.
    pub(super) fn limit(&self) -> Option<&AdaptiveLimit> {
        self.limit.as_ref()
    }

    /// Takes an open connection that is not old.
    pub(super) fn take(&self, now: Instant) -> Option<Checkout> {
        let mut state = self.state.lock();
        if !state.http2.is_empty() {
            state.http2.retain(|conn| conn.is_usable(now));
            if let Some(stream) = state.http2.iter().find_map(Http2Conn::stream) {
                return Some(Checkout::Http2(stream));
            }
        }
        while let Some(IdleConn { conn, since }) = state.idle.pop() {
            if now < conn.ends() {
                return Some(Checkout::Http1(conn, since));
            }
        }
        None
    }

    /// Opens a connection, or takes an HTTP/2 connection that another call has opened meanwhile. Returns
    /// whether it is new.
    pub(super) async fn open(self: &Arc<Self>) -> Result<(Checkout, bool), CheckoutError> {
        if self.state.lock().is_http1 {
            return self.open_one().await;
        }
        let before = self.openings.load(Ordering::Acquire);
        let mut opening = self.opening.lock().await;
        if before != self.openings.load(Ordering::Acquire) {
            if let Some(checkout) = self.take(Instant::now()) {
                return Ok((checkout, false));
            }
            if let Some(failure) = &opening.failure {
                return Err(CheckoutError::Shared(Arc::clone(failure)));
            }
            if self.state.lock().is_http1 {
                drop(opening);
                return self.open_one().await;
            }
        }
        let opened = self.open_one().await;
        self.openings.fetch_add(1, Ordering::AcqRel);
        match opened {
            Ok(opened) => {
                opening.failure = None;
                Ok(opened)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                opening.failure = Some(Arc::clone(&failure));
                Err(CheckoutError::First(failure))
            }
        }
    }

    async fn open_one(self: &Arc<Self>) -> Result<(Checkout, bool), CheckoutError> {
        let epoch = self.state.lock().epoch;
        let stream = self.connector.connect().await?;
        let ends = self.keep.ends();
        if !stream.is_http2() {
            let conn = Http1Conn::open(stream, epoch, ends).await?;
            self.state.lock().is_http1 = true;
            return Ok((Checkout::Http1(conn, Instant::now()), true));
        }
        let conn = Http2Conn::open(stream, ends).await?;
        // It has taken no call, so there is room for one.
        let stream = Http2Conn::stream(&conn).ok_or(CheckoutError::NoStream)?;
        let mut state = self.state.lock();
        state.is_http1 = false;
        if state.epoch == epoch {
            state.http2.push(conn);
            self.reap(&mut state);
        }
        Ok((Checkout::Http2(stream), true))
    }

    /// Takes back a connection whose response has been read to its end.
    pub(super) fn put(self: &Arc<Self>, mut conn: Box<Http1Conn>) {
        if !conn.finish() {
            return;
        }
        let since = Instant::now();
        let mut state = self.state.lock();
        if conn.epoch() != state.epoch || conn.ends() <= since {
            return;
        }
        state.idle.push(IdleConn { conn, since });
        self.reap(&mut state);
    }

    /// Has idle and old connections closed from now on.
    fn reap(self: &Arc<Self>, state: &mut PoolState) {
        if !mem::replace(&mut state.has_reaper, true) {
            drop(tokio::spawn(close_old(Arc::downgrade(self), self.keep.idle)));
        }
    }

    /// Stops using the open connections for further requests. Their exchanges continue.
    fn renew(&self) {
        let mut state = self.state.lock();
        state.epoch = state.epoch.wrapping_add(1);
        let unused = (mem::take(&mut state.http2), mem::take(&mut state.idle));
        drop(state);
        drop(unused);
    }

    /// Closes the connections that were idle for too long or are old. Returns when to look again.
    fn close_old(&self) -> Option<Instant> {
        let now = Instant::now();
        let idle = self.keep.idle;
        let mut state = self.state.lock();
        let idle_ends = |conn: &IdleConn| (conn.since + idle).min(conn.conn.ends());
        let old: Vec<_> = state.idle.extract_if(.., |conn| idle_ends(conn) <= now).collect();
        let http2_ends = |conn: &Arc<Http2Conn>| match conn.idle_since() {
            Some(since) => (since + idle).min(conn.ends()),
            // It may be idle at any moment.
            None => now + BUSY_RECHECK.min(idle),
        };
        let old_http2: Vec<_> =
            state.http2.extract_if(.., |conn| http2_ends(conn) <= now).collect();
        let next = state.idle.iter().map(idle_ends).chain(state.http2.iter().map(http2_ends)).min();
        state.has_reaper = next.is_some();
        drop(state);
        drop((old, old_http2));
        next
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Pool")
            .field("idle", &state.idle.len())
            .field("limit", &self.limit)
            .field("http2", &state.http2.len())
            .finish_non_exhaustive()
    }
}

/// Renews the pool at each change: a rotation of credentials, or other revocation lists.
async fn renew(pool: Weak<Pool>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let Some(pool) = pool.upgrade() else { return };
        pool.renew();
    }
}

/// Closes connections as their time ends, while there are any.
async fn close_old(pool: Weak<Pool>, idle: Duration) {
    let mut next = Instant::now() + BUSY_RECHECK.min(idle);
    loop {
        tokio::time::sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let Some(soonest) = pool.close_old() else { return };
        next = soonest;
    }
}

/// How often a connection with calls is looked at.
const BUSY_RECHECK: Duration = Duration::from_secs(1);
