//! Serves one connection of a caller over HTTP/1.1 or HTTP/2, until it ends or the gateway drains.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{
    Drain, OnRefused, Settings,
    socket::CallerStream,
    strict::{CloseMode, HeadLimits, HttpVersion, StrictReader},
    timeout_io::TimeoutIo,
    tls::{AcceptedTls, Protocol, ServerTls},
};
use crate::{
    body::Body,
    error::{BoxError, Chain},
    proxy::{
        batched_io::{BatchedWriter, PeerProbe},
        call::{Arrival, Connection, Peer, SharedService, Standing, wake_filter::WakeFilter},
    },
};

/// The path of one listener's requests, as hyper needs it.
pub trait Path:
    tower::Service<
        Arrival,
        Response = Response<Self::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its responses.
    type Body: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static;
}

impl<P, B> Path for P
where
    P: tower::Service<Arrival, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    type Body = B;
}

/// Serves the connections of one listener on one worker.
pub(super) struct Server<P> {
    http1: http1::Builder,
    http1_over_tls: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// All connections share it, because no stage has state for one of them.
    path: SharedService<P>,
    settings: Settings,
    tls: Option<Arc<ServerTls>>,
    refused: OnRefused,
    drain: Drain,
}

impl<P: Path> Server<P> {
    /// A server with hyper set up for callers.
    pub(super) fn new(
        path: P,
        settings: Settings,
        tls: Option<Arc<ServerTls>>,
        refused: OnRefused,
        drain: Drain,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `TimeoutIo` limits the time of a head and idle time.
            .header_read_timeout(None)
            // `PeerProbe` detects a caller that leaves. hyper would read for that, into a new buffer
            // while a request uses the old one.
            .half_close(true)
            .max_buf_size(settings.head_bytes.max(MIN_BUFFER));
        // `StrictReader` has the limit. With a limit of its own hyper allocates for each request.
        if settings.header_count > HYPER_HEADERS {
            http1.max_headers(settings.header_count);
        }
        let mut http1_over_tls = http1.clone();
        http1_over_tls.half_close(false);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.concurrent_streams)
            .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(Some(PENDING_RESETS))
            .max_local_error_reset_streams(Some(LOCAL_RESETS))
            .keep_alive_interval(Some(settings.timeouts.idle))
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let path = SharedService::new(path);
        Self { http1, http1_over_tls, http2, path, settings, tls, refused, drain }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: CallerStream,
        peer: Peer,
        standing: Standing,
    ) {
        let stream = BatchedWriter::new(stream);
        match &self.tls {
            None => {
                let connection = Connection::with_standing(peer, Vec::new(), Some(standing));
                let channel = Channel::Plain(stream.probe());
                self.run(stream, connection, Protocol::Unknown, channel).await;
            }
            // Boxed, like everything that only some connections need: each connection has the size of
            // its largest state.
            Some(tls) => Box::pin(self.handshake(stream, peer, standing, tls)).await,
        }
    }

    /// Does the TLS handshake first, within the time limit of a head.
    async fn handshake(
        &self,
        stream: BatchedWriter<CallerStream>,
        peer: Peer,
        standing: Standing,
        tls: &ServerTls,
    ) {
        let limit = self.settings.timeouts.head;
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(limit, tls.accept(stream)) => accepted,
            () = drained(&self.drain, None) => return,
        };
        match accepted {
            Ok(Ok(AcceptedTls { stream, revoked, names, protocol })) => {
                let connection = Connection::with_standing(peer, names, Some(standing));
                Box::pin(self.run(stream, connection, protocol, Channel::Tls(revoked))).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(?peer, error = %Chain(&error), "a handshake failed");
                if let Some(kind) = error.kind() {
                    (self.refused)(kind);
                }
            }
            Err(_) => tracing::debug!(?peer, "a handshake took too long"),
        }
    }

    async fn run<S>(
        &self,
        stream: S,
        connection: Arc<Connection>,
        protocol: Protocol,
        channel: Channel,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits =
            HeadLimits { bytes: self.settings.head_bytes, fields: self.settings.header_count };
        let io = TimeoutIo::new(stream, Arc::clone(&connection), self.settings.timeouts);
        let close_mode = match channel {
            Channel::Plain(_) => CloseMode::Drop,
            Channel::Tls(_) => CloseMode::Shutdown,
        };
        let mut io = StrictReader::new(io, Arc::clone(&connection), limits, protocol, close_mode);
        let mut draining = pin!(async {
            match &channel {
                Channel::Plain(_) => drained(&self.drain, Some(&connection)).await,
                Channel::Tls(revoked) => tokio::select! {
                    () = drained(&self.drain, Some(&connection)) => {}
                    () = revoked.cancelled() => {}
                },
            }
        });
        let protocol = tokio::select! {
            protocol = io.protocol() => protocol,
            () = draining.as_mut() => return,
        };
        let handler = Handler {
            path: self.path.clone(),
            connection: Arc::clone(&connection),
            leaving: Arc::clone(&self.drain.leaving),
        };
        let ended = match protocol {
            Ok(HttpVersion::Http1) => {
                let http1 = match channel {
                    Channel::Plain(_) => &self.http1,
                    Channel::Tls(_) => {
                        connection.read_ahead();
                        &self.http1_over_tls
                    }
                };
                let serving = pin!(http1.serve_connection(TokioIo::new(io), handler));
                let caller_left = poll_fn(|cx| channel.poll_closed(&connection, cx));
                let serving = async {
                    tokio::select! {
                        biased;
                        ended = self.serve_until(serving, draining) => Some(ended),
                        () = caller_left => None,
                    }
                };
                let Some(ended) = WakeFilter::new(serving).await else {
                    let peer = connection.peer();
                    return tracing::debug!(?peer, "a caller left in the middle of a call");
                };
                ended
            }
            Ok(HttpVersion::Http2) => {
                let serving = self.http2.serve_connection(TokioIo::new(io), handler);
                self.serve_until(Box::pin(serving).as_mut(), draining).await
            }
            Err(error) => {
                let peer = connection.peer();
                return tracing::debug!(?peer, %error, "a connection began with something else");
            }
        };
        if let Err(error) = ended {
            let peer = connection.peer();
            tracing::debug!(?peer, error = %Chain(&error), "a connection broke off");
        }
    }

    /// Serves until the connection ends, or shuts it down gracefully when the drain begins.
    async fn serve_until<C>(
        &self,
        mut serving: Pin<&mut C>,
        draining: Pin<&mut impl Future<Output = ()>>,
    ) -> hyper::Result<()>
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            () = draining => serving.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = serving => ended,
            () = self.drain.cut.cancelled() => Ok(()),
        }
    }
}

/// The transport of a connection.
enum Channel {
    Plain(PeerProbe<CallerStream>),
    /// TLS, and the token that is cancelled when its listener does not accept the handshake any more.
    Tls(CancellationToken),
}

impl Channel {
    /// Waits until the caller leaves during a call, if hyper does not detect that.
    fn poll_closed(&self, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(probe) if connection.active_calls() > 0 => probe.poll_closed(cx),
            Self::Plain(_) | Self::Tls(_) => Poll::Pending,
        }
    }
}

impl<P> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Returns when a connection must end because of the drain. The first request of a new connection may be
/// on its way, so the connection gets time for the handshake and that request.
async fn drained(drain: &Drain, connection: Option<&Arc<Connection>>) {
    Cancelled { token: &drain.stop, wait: drain.stop.cancelled(), is_waiting: false }.await;
    if !connection.is_some_and(|connection| connection.is_used()) {
        tokio::select! {
            () = tokio::time::sleep(FIRST_REQUEST) => {}
            () = drain.cut.cancelled() => {}
        }
    }
}

pin_project! {
    /// Waits for a token. It is polled with all work of its connection, and a check of the token costs a
    /// fifth of a poll of the waiting future. It must stay in one task, whose waker is registered by the
    /// first poll.
    struct Cancelled<'t> {
        token: &'t CancellationToken,
        #[pin]
        wait: WaitForCancellationFuture<'t>,
        is_waiting: bool,
    }
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if *this.is_waiting && !this.token.is_cancelled() {
            return Poll::Pending;
        }
        *this.is_waiting = true;
        this.wait.poll(cx)
    }
}

/// Calls the path with hyper's requests.
struct Handler<P> {
    path: SharedService<P>,
    connection: Arc<Connection>,
    leaving: Arc<AtomicBool>,
}

impl<P: Path> hyper::service::Service<Request<Incoming>> for Handler<P> {
    type Response = Response<P::Body>;
    type Error = Infallible;
    type Future = HandlerFuture<P::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // HTTP/2 has GOAWAY for it, and forbids `Connection`.
        let is_last = self.leaving.load(Ordering::Relaxed) && request.version() < Version::HTTP_2;
        let request = request.map(Body::from);
        let arrival = Arrival { request, connection: Arc::clone(&self.connection) };
        HandlerFuture { response: self.path.call(arrival), is_last }
    }
}

pin_project! {
    /// The future of [`Handler`]. `is_last` closes the connection after the response.
    struct HandlerFuture<F> {
        #[pin]
        response: F,
        is_last: bool,
    }
}

impl<F, B> Future for HandlerFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(cx));
        if *this.is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

impl<P> fmt::Debug for Handler<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({:?})", self.connection)
    }
}

/// The time for the first request of a connection when the drain begins.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// The number of fields that hyper accepts by default, without an allocation.
const HYPER_HEADERS: usize = 100;
/// The smallest read buffer that hyper accepts.
const MIN_BUFFER: usize = 8192;
/// Streams that a peer opens and resets before they are accepted ("rapid reset").
const PENDING_RESETS: usize = 20;
/// Streams that are reset because the peer broke the protocol.
const LOCAL_RESETS: usize = 100;
/// The time for the answer to a PING.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
