//! One connection of a caller: HTTP/1.1 or HTTP/2, until it ends or the gateway drains.

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
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{
    Drain, Refused, Settings,
    socket::Stream,
    strict::{CloseMode, HeadLimits, Spoken, StrictReader},
    timeout_io::TimeoutIo,
    tls::{Accepted, Protocol, ServerTls},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    error::Chain,
    proxy::{
        batched_io::{BatchedWriter, PeerProbe},
        call::{Arrival, Connection, Peer},
        server::wake_filter::WakeFilter,
        stages::{audit::RecordedBody, shared::SharedService},
    },
};

/// The path of one listener's requests, as hyper needs it.
pub trait Path:
    tower::Service<
        Arrival,
        Response = Response<RecordedBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<P> Path for P where
    P: tower::Service<
            Arrival,
            Response = Response<RecordedBody>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves the connections of one listener on one worker.
pub(super) struct Server<P> {
    http1: http1::Builder,
    http1_over_tls: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// One for all connections: a stage has nothing that belongs to one of them.
    path: SharedService<P>,
    settings: Settings,
    tls: Option<Arc<ServerTls>>,
    refused: Refused,
    drain: Drain,
}

impl<P: Path> Server<P> {
    /// hyper, set up for callers.
    pub(super) fn new(
        path: P,
        settings: Settings,
        tls: Option<Arc<ServerTls>>,
        refused: Refused,
        drain: Drain,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // `TimeoutIo` watches over heads and idle times.
            .header_read_timeout(None)
            // A lookout sees that a caller leaves. hyper would read to see it, into memory that it takes
            // anew while the last request is in use.
            .half_close(true)
            .max_buf_size(settings.head_bytes.max(MIN_BUFFER));
        // `StrictReader` holds the limit. With one of its own hyper takes memory for every request.
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
            .keep_alive_interval(Some(settings.patience.idle))
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let path = SharedService::new(path);
        Self { http1, http1_over_tls, http2, path, settings, tls, refused, drain }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(self: Arc<Self>, stream: Stream, peer: Peer) {
        let stream = BatchedWriter::new(stream);
        match &self.tls {
            None => {
                let connection = Connection::new(peer, Vec::new());
                let channel = Channel::Plain(stream.lookout());
                self.run(stream, connection, Protocol::Unknown, channel).await;
            }
            // In memory of its own, like everything that only some connections need: every
            // connection takes as much as its largest state.
            Some(tls) => Box::pin(self.handshake(stream, peer, tls)).await,
        }
    }

    /// Shakes hands first; a handshake that fails or takes too long is a refusal.
    async fn handshake(&self, stream: BatchedWriter<Stream>, peer: Peer, tls: &ServerTls) {
        let patience = self.settings.patience.head;
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(patience, tls.accept(stream)) => accepted,
            () = ending(&self.drain, None) => return,
        };
        match accepted {
            Ok(Ok(Accepted { stream, over, names, protocol })) => {
                let connection = Connection::new(peer, names);
                Box::pin(self.run(stream, connection, protocol, Channel::Tls(over))).await;
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
        let io = TimeoutIo::new(stream, Arc::clone(&connection), self.settings.patience);
        let farewell = match channel {
            Channel::Plain(_) => CloseMode::Implied,
            Channel::Tls(_) => CloseMode::Said,
        };
        let mut io = StrictReader::new(io, Arc::clone(&connection), limits, protocol, farewell);
        let mut to_end = pin!(async {
            match &channel {
                Channel::Plain(_) => ending(&self.drain, Some(&connection)).await,
                Channel::Tls(over) => tokio::select! {
                    () = ending(&self.drain, Some(&connection)) => {}
                    () = over.cancelled() => {}
                },
            }
        });
        let protocol = tokio::select! {
            protocol = io.protocol() => protocol,
            () = to_end.as_mut() => return,
        };
        let handler = Handler {
            path: self.path.clone(),
            connection: Arc::clone(&connection),
            leaving: Arc::clone(&self.drain.leaving),
        };
        let ended = match protocol {
            Ok(Spoken::Http1) => {
                let http1 = match channel {
                    Channel::Plain(_) => &self.http1,
                    Channel::Tls(_) => {
                        connection.read_ahead();
                        &self.http1_over_tls
                    }
                };
                let serving = pin!(http1.serve_connection(TokioIo::new(io), handler));
                let left = poll_fn(|cx| channel.poll_closed(&connection, cx));
                let until = async {
                    tokio::select! {
                        biased;
                        ended = self.until(serving, to_end) => Some(ended),
                        () = left => None,
                    }
                };
                let Some(ended) = WakeFilter::new(until).await else {
                    let peer = connection.peer();
                    return tracing::debug!(?peer, "a caller left in the middle of a call");
                };
                ended
            }
            Ok(Spoken::Http2) => {
                let serving = self.http2.serve_connection(TokioIo::new(io), handler);
                self.until(Box::pin(serving).as_mut(), to_end).await
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

    /// Serves until the connection ends by itself, or as soon as it can once it is to end.
    async fn until<C>(
        &self,
        mut serving: Pin<&mut C>,
        to_end: Pin<&mut impl Future<Output = ()>>,
    ) -> hyper::Result<()>
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            () = to_end => serving.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = serving => ended,
            () = self.drain.cut.cancelled() => Ok(()),
        }
    }
}

/// What a connection's bytes go over.
enum Channel {
    Plain(PeerProbe<Stream>),
    /// TLS, until its listener lets nobody in any more.
    Tls(CancellationToken),
}

impl Channel {
    /// Waits until a caller has left whose call is under way, where hyper does not see that.
    fn poll_closed(&self, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(lookout) if connection.active_calls() > 0 => lookout.poll_closed(cx),
            Self::Plain(_) | Self::Tls(_) => Poll::Pending,
        }
    }
}

impl<P> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Returns when a connection is to end because of the drain. It was accepted, so its first request, which
/// may be on its way, is still answered, and the handshake before it is let finish.
async fn ending(drain: &Drain, connection: Option<&Arc<Connection>>) {
    Cancelled { token: &drain.stop, wait: drain.stop.cancelled(), is_waiting: false }.await;
    if !connection.is_some_and(|connection| connection.is_used()) {
        tokio::select! {
            () = tokio::time::sleep(FIRST_REQUEST) => {}
            () = drain.cut.cancelled() => {}
        }
    }
}

pin_project! {
    /// Waits for a token. It is asked again with every piece of its connection's work: where nothing
    /// has happened, a look at the token costs a fifth of asking the queue of those who wait for it. It
    /// must stay in one task, which is in that queue from the first time on.
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

/// Hands hyper's requests to the path.
struct Handler<P> {
    path: SharedService<P>,
    connection: Arc<Connection>,
    leaving: Arc<AtomicBool>,
}

impl<P: Path> hyper::service::Service<Request<Incoming>> for Handler<P> {
    type Response = Response<RecordedBody>;
    type Error = Infallible;
    type Future = Answering<P::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // HTTP/2 has a word of its own for it (GOAWAY), and forbids this one.
        let last = self.leaving.load(Ordering::Relaxed) && request.version() < Version::HTTP_2;
        let arrival = Arrival { request, connection: Arc::clone(&self.connection) };
        Answering { answer: self.path.forward(arrival), last }
    }
}

pin_project! {
    /// The answer to a request, and whether the connection is to end with it.
    struct Answering<F> {
        #[pin]
        answer: F,
        last: bool,
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response<RecordedBody>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.answer.poll(cx));
        if *this.last {
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

/// How long a connection without a request has for its first one when the drain begins.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// As many fields as hyper takes without being asked to, and without allocating for them.
const HYPER_HEADERS: usize = 100;
/// hyper refuses a smaller read buffer.
const MIN_BUFFER: usize = 8192;
/// Streams that a peer opened and reset before they were looked at ("rapid reset").
const PENDING_RESETS: usize = 20;
/// Streams that had to be reset because the peer broke the protocol.
const LOCAL_RESETS: usize = 100;
/// How long a peer may take to answer a PING.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
