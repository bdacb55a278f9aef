//! One HTTP/2 connection to the upstream, which calls share.
//!
//! A call takes a stream only while the upstream allows one more, so no request waits inside the
//! connection: one that waited there could be sent after its caller was given up.

use std::{
    error::Error as _,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{CheckoutError, UpstreamStream};
use crate::{audit::UpstreamTls, body::Body, error::BoxError};

/// An open connection.
pub(super) struct Http2Conn {
    sender: http2::SendRequest<Body>,
    tls: Option<Arc<UpstreamTls>>,
    /// When it is old.
    ends: Instant,
    /// The streams that the upstream allows at the same time, by its last SETTINGS.
    allowed: Arc<AtomicUsize>,
    /// The streams that calls have.
    streams: AtomicUsize,
    idle_since: Mutex<Instant>,
    /// A call has reported that it is lost.
    is_reported: AtomicBool,
}

impl Http2Conn {
    /// Starts HTTP/2, and waits until the upstream has said how many streams it allows. A task of its own
    /// polls the connection, because many calls use it.
    pub(super) async fn open(
        stream: UpstreamStream,
        ends: Instant,
    ) -> Result<Arc<Self>, CheckoutError> {
        let tls = stream.tls().cloned();
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // While calls wait: a flow that a router has forgotten is given up in five seconds.
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            // The connection's window has room for a thousand full streams, so that a slow caller does not
            // block the others.
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(0)
            .max_header_list_size(HEADER_LIST)
            // A caller that leaves resets its stream. h2 would count a thousand resets as an attack of the
            // peer and end the connection with all its calls; these are our own.
            .max_local_error_reset_streams(None)
            .handshake(TokioIo::new(stream))
            .await?;
        let settled = settle(&mut connection);
        timeout(SETTINGS_TIMEOUT, settled).await.map_err(|_| CheckoutError::NoStream)??;
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let writes = Arc::clone(&allowed);
        drop(tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                let ended = connection.poll_unpin(cx);
                // Each request polls the connection, so a change is seen then.
                writes.store(connection.current_max_send_streams(), Ordering::Release);
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection to the upstream ended");
            }
        }));
        Ok(Arc::new(Self {
            sender,
            tls,
            ends,
            allowed,
            streams: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            is_reported: AtomicBool::new(false),
        }))
    }

    /// Whether further calls may use it.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        !self.sender.is_closed() && now < self.ends
    }

    /// When it is old.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// Since when it has no call; `None` while it has one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock();
        (self.streams.load(Ordering::Acquire) == 0).then_some(since)
    }

    /// A stream, if the upstream allows one more.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Http2Stream> {
        let most = self.allowed.load(Ordering::Acquire);
        let more = |streams: usize| streams.checked_add(1).filter(|streams| *streams <= most);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Http2Stream { permit: StreamPermit(Arc::clone(self)) })
    }
}

/// Waits until the upstream has said how many streams it allows. hyper tells nobody when that is.
async fn settle(connection: &mut Driver) -> hyper::Result<()> {
    while connection.current_max_send_streams() == 0 {
        tokio::select! {
            ended = &mut *connection => ended?,
            () = sleep(SETTINGS_RECHECK) => {}
        }
    }
    Ok(())
}

type Driver = http2::Connection<TokioIo<UpstreamStream>, Body, TokioExecutor>;

/// A stream for one request.
pub(super) struct Http2Stream {
    permit: StreamPermit,
}

impl Http2Stream {
    /// Its TLS session, for the record.
    pub(super) fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        self.permit.0.tls.as_ref()
    }

    /// Sends the request and waits for the head of its response. The error has the request, if none of it
    /// was sent.
    pub(super) async fn send(self, request: Request<Body>) -> Result<Response<Body>, Http2Error> {
        let mut sender = self.permit.0.sender.clone();
        match sender.try_send_request(request).await {
            Ok(response) => {
                let permit = self.permit;
                Ok(response.map(|body| Body::wrap(Http2Body { body, _permit: permit })))
            }
            Err(error) => Err(self.permit.0.failure(error)),
        }
    }
}

impl Http2Conn {
    fn failure(&self, mut failure: TrySendError<Request<Body>>) -> Http2Error {
        let unsent = failure.take_message();
        let error = failure.into_error();
        let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        let is_reset = cause.is_some_and(h2::Error::is_reset);
        // RFC 9113 §8.7: streams above the last one of a GOAWAY, and those that were refused.
        let is_unprocessed = cause.is_some_and(|cause| {
            cause.is_remote()
                && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
        });
        let is_repeated = !is_reset && self.is_reported.swap(true, Ordering::AcqRel);
        Http2Error { unsent, error, is_unprocessed, is_repeated }
    }
}

/// Why a request has no response.
pub(super) struct Http2Error {
    /// The request, if none of it was sent.
    pub(super) unsent: Option<Request<Body>>,
    pub(super) error: hyper::Error,
    /// The upstream has certainly not processed the request.
    pub(super) is_unprocessed: bool,
    /// Another call has failed with the same connection.
    pub(super) is_repeated: bool,
}

/// Counts a stream until it is dropped.
struct StreamPermit(Arc<Http2Conn>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        // Written first: whoever sees no stream sees since when.
        *self.0.idle_since.lock() = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A response body, whose stream is free when it is dropped.
struct Http2Body {
    body: Incoming,
    _permit: StreamPermit,
}

impl HttpBody for Http2Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Http2Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http2Conn({} streams)", self.streams.load(Ordering::Relaxed))
    }
}

/// Bytes of a response that the upstream may send before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all responses of a connection together.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// A longer header list ends its stream, and a much longer one the connection. The client refuses a shorter
/// one by itself, with an error that says so.
const HEADER_LIST: u32 = 512 * 1024;
/// The time without bytes of the upstream, after which it is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long its answer may take.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the upstream's first SETTINGS may take.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked for them.
const SETTINGS_RECHECK: Duration = Duration::from_millis(1);
