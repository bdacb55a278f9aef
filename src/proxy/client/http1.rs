//! One HTTP/1.1 connection to the upstream, driven by the call that uses it.
//!
//! hyper's side of a connection is a future that somebody has to poll. On a task of its own it would
//! cost each call several changes between two tasks: the request goes over in one, the head of the
//! answer comes back in another, each piece of the body in two. Here the call polls it itself, in the
//! same poll that looks for the answer. While nobody uses a connection nobody polls it, so that the
//! upstream has closed it is found out when it is taken next: before anything of a request is sent.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, task::AtomicWaker};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;

use super::{connect::Stream, pool::Pool, read_gate::ReadGate};
use crate::{
    audit::UpstreamTls,
    body::{Body, SMALL_BODY},
    error::BoxError,
    proxy::batched_io::PeerProbe,
};

type Connection = http1::Connection<TokioIo<ReadGate<Stream>>, Body>;

/// A connection that carries one exchange after the other.
pub(super) struct Http1Conn {
    sender: http1::SendRequest<Body>,
    /// `None` when it has ended. That it is dropped gives back a request it has not looked at.
    connection: Option<Connection>,
    relay: Arc<Relay>,
    /// `relay` as the waker that both halves of the exchange get.
    waker: Waker,
    lookout: PeerProbe<TcpStream>,
    tls: Option<Arc<UpstreamTls>>,
    epoch: u64,
}

impl Http1Conn {
    /// Begins to speak HTTP/1.1 over an open stream, in an epoch of the pool.
    pub(super) async fn open(stream: Stream, epoch: u64) -> hyper::Result<Box<Self>> {
        let (tls, lookout) = (stream.tls().cloned(), stream.lookout());
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        let io = TokioIo::new(ReadGate::new(stream, waker.clone()));
        let (sender, connection) = http1::Builder::new().handshake(io).await?;
        let connection = Some(connection);
        Ok(Box::new(Self { sender, connection, relay, waker, lookout, tls, epoch }))
    }

    /// What the audit trail says of its TLS.
    pub(super) fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        self.tls.as_ref()
    }

    /// When it was opened, in epochs of the pool.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the upstream has said nothing since the last answer, not even that it closes.
    pub(super) fn is_idle(&self) -> bool {
        self.lookout.is_idle()
    }

    /// Sends a request and waits for the head of its answer. If the connection turns out to be dead
    /// before anything of the request was sent, the error has the request.
    pub(super) fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + Send {
        let answer = self.sender.try_send_request(request);
        Exchange {
            answer,
            connection: &mut self.connection,
            relay: &self.relay,
            waker: &self.waker,
        }
    }

    /// The next piece of an answer's body.
    fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let wanted = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
        self.relay.run(&self.waker, cx, wanted, |cx| drive(&mut self.connection, cx))
    }

    /// Whether another request can be sent. To be asked when an answer has been read to its end: it
    /// lets go of the call that polled the connection.
    pub(super) fn is_free(&mut self) -> bool {
        if !self.sender.is_ready() {
            drive(&mut self.connection, &mut Context::from_waker(&self.waker));
        }
        drop(self.relay.call.take());
        self.connection.is_some() && self.sender.is_ready()
    }
}

pin_project! {
    /// Waits for the head of an answer, and drives the connection meanwhile.
    struct Exchange<'a, A> {
        #[pin]
        answer: A,
        connection: &'a mut Option<Connection>,
        relay: &'a Relay,
        waker: &'a Waker,
    }
}

impl<A: Future> Future for Exchange<'_, A> {
    type Output = A::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let wanted = |cx: &mut Context<'_>| this.answer.as_mut().poll(cx);
        this.relay.run(this.waker, cx, wanted, |cx| drive(this.connection, cx))
    }
}

/// Moves a connection on, as far as it goes without waiting.
fn drive(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|connection| connection.poll_unpin(cx).is_ready()) {
        *connection = None;
    }
}

impl fmt::Debug for Http1Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", if self.connection.is_some() { "open" } else { "closed" })
    }
}

/// Between the two halves of an exchange, which wake each other, and the call's task, which needs to
/// know only what comes from outside.
#[derive(Default)]
struct Relay {
    state: AtomicU8,
    call: AtomicWaker,
}

impl Relay {
    /// Polls for what is wanted and drives the connection, until neither wakes the other.
    fn run<T>(
        &self,
        waker: &Waker,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut drive: impl FnMut(&mut Context<'_>),
    ) -> Poll<T> {
        self.call.register(cx.waker());
        let inner = &mut Context::from_waker(waker);
        loop {
            self.state.store(POLLING, Ordering::Release);
            if let Poll::Ready(found) = wanted(inner) {
                return Poll::Ready(found);
            }
            drive(inner);
            let parked =
                self.state.compare_exchange(POLLING, PARKED, Ordering::AcqRel, Ordering::Acquire);
            if parked.is_ok() {
                return Poll::Pending;
            }
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == PARKED {
            self.call.wake();
        }
    }
}

/// Nobody is polling: what wakes must wake the call.
const PARKED: u8 = 0;
/// The call is polling and has seen everything so far.
const POLLING: u8 = 1;
/// Something has happened that the call has not seen.
const WOKEN: u8 = 2;

/// The body of an answer. Its connection is free for others when it has been read to its end, and
/// closed when it is dropped before.
pub(super) struct Answer {
    body: Incoming,
    wire: Option<Box<Http1Conn>>,
    pool: Arc<Pool>,
    /// What came with the head and is not the whole body.
    ahead: Option<Result<Frame<Bytes>, BoxError>>,
}

impl Answer {
    /// The body of an answer that came over a connection. Most are small and come with their head:
    /// such a body is in memory, and its connection is free.
    pub(super) async fn body(body: Incoming, wire: Box<Http1Conn>, pool: &Arc<Pool>) -> Body {
        if body.is_end_stream() {
            pool.put(wire);
            return Body::empty();
        }
        let is_small = body.size_hint().exact().is_some_and(|length| length <= SMALL_BODY as u64);
        let mut answer = Self { body, wire: Some(wire), pool: Arc::clone(pool), ahead: None };
        if is_small {
            let now = poll_fn(|cx| Poll::Ready(Pin::new(&mut answer).poll_frame(cx))).await;
            match now {
                Poll::Ready(Some(Ok(frame))) if answer.wire.is_none() => {
                    return frame.into_data().map_or_else(|_| Body::empty(), Body::full);
                }
                Poll::Ready(Some(frame)) => answer.ahead = Some(frame),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        Body::wrap(answer)
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(frame) = this.ahead.take() {
            return Poll::Ready(Some(frame));
        }
        let Some(wire) = &mut this.wire else { return Poll::Ready(None) };
        let frame = ready!(wire.poll_body(&mut this.body, cx));
        match &frame {
            Some(Ok(_)) if !this.body.is_end_stream() => {}
            Some(Err(_)) => this.wire = None,
            Some(Ok(_)) | None => {
                if let Some(wire) = this.wire.take() {
                    this.pool.put(wire);
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let ahead = self.ahead.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        match (ahead, rest.exact()) {
            (Some(ahead), Some(rest)) => SizeHint::with_exact(rest + ahead.len() as u64),
            _ => rest,
        }
    }
}
