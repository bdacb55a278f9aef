//! One connection of a caller: HTTP/1.1 or HTTP/2, until it ends or the gateway drains.

use std::{
    cell::RefCell,
    convert::Infallible,
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use pin_project_lite::pin_project;
use tokio_util::sync::CancellationToken;

use super::{
    Drain, Refused, Settings,
    patient_io::PatientIo,
    socket::Stream,
    tls::{Accepted, Protocol, ServerTls},
    wire::{HeadLimits, WireIo},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    error::Chain,
    pipeline::{
        audit::RecordedBody,
        connection::{Connection, Peer},
        request::Arrival,
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
        + 'static
{
}

/// hyper, set up for callers.
pub(super) fn server(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // `PatientIo` watches over heads and idle times.
        .header_read_timeout(None)
        .half_close(false)
        .max_buf_size(settings.head_bytes.max(MIN_BUFFER));
    // `WireIo` holds the limit. With one of its own hyper takes memory for every request.
    if settings.header_count > HYPER_HEADERS {
        server.http1().max_headers(settings.header_count);
    }
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.concurrent_streams)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .keep_alive_interval(Some(settings.patience.idle))
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    server
}

/// What it takes to serve one connection.
pub(super) struct Serving<P> {
    pub(super) server: auto::Builder<TokioExecutor>,
    pub(super) path: P,
    pub(super) settings: Settings,
    pub(super) drain: Drain,
}

impl<P: Path> Serving<P> {
    /// Serves a connection until it ends.
    pub(super) async fn plain(self, stream: Stream, peer: Peer) {
        let over = CancellationToken::new();
        self.run(stream, Connection::new(peer, Vec::new()), Protocol::Unknown, over).await;
    }

    /// Shakes hands first; a handshake that fails or takes too long is a refusal.
    pub(super) async fn tls(self, stream: Stream, peer: Peer, tls: &ServerTls, refused: &Refused) {
        let patience = self.settings.patience.head;
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(patience, tls.accept(stream)) => accepted,
            () = ending(&self.drain, None) => return,
        };
        match accepted {
            Ok(Ok(Accepted { stream, over, names, protocol })) => {
                self.run(stream, Connection::new(peer, names), protocol, over).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(?peer, error = %Chain(&error), "a handshake failed");
                if let Some(kind) = error.kind() {
                    refused(kind);
                }
            }
            Err(_) => tracing::debug!(?peer, "a handshake took too long"),
        }
    }

    async fn run<S>(
        self,
        stream: S,
        connection: Arc<Connection>,
        protocol: Protocol,
        over: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { server, path, settings, drain } = self;
        let limits = HeadLimits { bytes: settings.head_bytes, fields: settings.header_count };
        let io = PatientIo::new(stream, Arc::clone(&connection), settings.patience);
        let io = TokioIo::new(WireIo::new(io, Arc::clone(&connection), limits, protocol));
        // What was agreed on is spoken: the first bytes have no say in it (RFC 9113 §3.2).
        let server = match protocol {
            Protocol::Http2 => server.http2_only(),
            Protocol::Http1 => server.http1_only(),
            Protocol::Unknown => server,
        };
        let peer = connection.peer();
        let handler = Handler {
            path: RefCell::new(path),
            connection: Arc::clone(&connection),
            leaving: Arc::clone(&drain.leaving),
        };
        let mut serving = pin!(server.serve_connection(io, handler));
        let to_end = async {
            tokio::select! {
                () = ending(&drain, Some(&connection)) => {}
                () = over.cancelled() => {}
            }
        };
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = to_end => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = serving => ended,
                    () = drain.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(?peer, error = %Chain(error.as_ref()), "a connection broke off");
        }
    }
}

/// Returns when a connection is to end because of the drain. It was accepted, so its first request, which
/// may be on its way, is still answered, and the handshake before it is let finish.
async fn ending(drain: &Drain, connection: Option<&Arc<Connection>>) {
    drain.stop.cancelled().await;
    if !connection.is_some_and(|connection| connection.is_used()) {
        tokio::select! {
            () = tokio::time::sleep(FIRST_REQUEST) => {}
            () = drain.cut.cancelled() => {}
        }
    }
}

/// Hands hyper's requests to the path.
struct Handler<P> {
    /// hyper calls a service through a shared reference, one call at a time.
    path: RefCell<P>,
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
        // Every stage of the path is always ready, so there is nothing to poll before the call.
        let arrival = Arrival { request, connection: Arc::clone(&self.connection) };
        Answering { answer: self.path.borrow_mut().call(arrival), last }
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
