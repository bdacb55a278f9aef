//! One HTTP/1.1 connection to the upstream, polled by the call that uses it.
//!
//! hyper's connection is a future that needs polling. On a task of its own it would cost each call
//! several switches between two tasks: for the request, for the head of the response, and two for each
//! frame of the body. So the call polls it, together with the future of its response. Nobody polls an
//! idle connection, so a connection that the upstream has closed is found when it is taken from the
//! pool, before a part of a request is sent.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{connect::UpstreamStream, exchange_waker::ExchangeWaker};
use crate::{audit::UpstreamTls, body::Body, outbound::Transport, proxy::batched_io::PeerProbe};

type Driver = http1::Connection<TokioIo<UpstreamStream>, Body>;

/// A connection that carries one exchange after another.
pub(super) struct Http1Conn {
    sender: http1::SendRequest<Body>,
    /// `None` when it has ended. Dropping it gives back a request that it has not read.
    driver: Option<Driver>,
    exchange: Arc<ExchangeWaker>,
    /// `exchange` as the waker of both futures.
    waker: Waker,
    probe: PeerProbe<Transport>,
    tls: Option<Arc<UpstreamTls>>,
    epoch: u64,
    ends: Instant,
}

impl Http1Conn {
    /// Starts HTTP/1.1 on an open stream, in an epoch of the pool. The connection is old when it `ends`.
    pub(super) async fn open(
        stream: UpstreamStream,
        epoch: u64,
        ends: Instant,
    ) -> hyper::Result<Box<Self>> {
        let (tls, probe) = (stream.tls().cloned(), stream.probe());
        let exchange = Arc::new(ExchangeWaker::default());
        let waker = Waker::from(Arc::clone(&exchange));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        let driver = Some(driver);
        Ok(Box::new(Self { sender, driver, exchange, waker, probe, tls, epoch, ends }))
    }

    /// Its TLS session, for the record.
    pub(super) fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        self.tls.as_ref()
    }

    /// The epoch of the pool in which it was opened.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it is old.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// Whether the upstream has sent nothing since the last response and has not closed it.
    pub(super) fn is_idle(&self) -> bool {
        self.probe.is_idle()
    }

    /// Sends a request and waits for the head of its response. The error has the request, if the
    /// connection was dead before a part of it was sent.
    pub(super) fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>> + Send {
        let response = self.sender.try_send_request(request);
        DrivenResponse {
            response,
            driver: &mut self.driver,
            exchange: &self.exchange,
            waker: &self.waker,
        }
    }

    /// The next frame of a response body.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = |cx: &mut Context<'_>| Pin::new(&mut *body).poll_frame(cx);
        self.exchange.poll(&self.waker, cx, frame, |cx| drive(&mut self.driver, cx))
    }

    /// Ends an exchange whose response has been read to its end. Returns whether the connection can
    /// carry another one.
    pub(super) fn finish(&mut self) -> bool {
        if !self.sender.is_ready() {
            drive(&mut self.driver, &mut Context::from_waker(&self.waker));
        }
        self.exchange.forget_task();
        self.driver.is_some() && self.sender.is_ready()
    }
}

pin_project! {
    /// Waits for the head of a response, and polls the connection meanwhile.
    struct DrivenResponse<'a, R> {
        #[pin]
        response: R,
        driver: &'a mut Option<Driver>,
        exchange: &'a ExchangeWaker,
        waker: &'a Waker,
    }
}

impl<R: Future> Future for DrivenResponse<'_, R> {
    type Output = R::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let head = |cx: &mut Context<'_>| this.response.as_mut().poll(cx);
        this.exchange.poll(this.waker, cx, head, |cx| drive(this.driver, cx))
    }
}

/// Polls a connection once.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.poll_unpin(cx).is_ready()) {
        *driver = None;
    }
}

impl fmt::Debug for Http1Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http1Conn({})", if self.driver.is_some() { "open" } else { "closed" })
    }
}

/// The most bytes that are read and not used: the largest head of a response, and what is held of one
/// whose caller reads slowly.
const READ_BUFFER: usize = 64 * 1024;
