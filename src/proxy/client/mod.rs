//! Last on the path: sends a request to Pigello and brings its answer.
//!
//! Where a request goes is the profile's alone; nothing a caller sends has a say in scheme, host,
//! port or TLS name. Redirects are answers like any other and never followed: HTTP clients that
//! follow them take custom secret headers along.

mod address;
mod classify;
mod connect;
mod pool;
mod adaptive_limit;
mod http1;
mod read_gate;

use std::{
    mem,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header};
use hyper::client::conn::TrySendError;
use tokio::{sync::watch, time::Instant};
use tower::Service;

pub use address::Refused;
pub use connect::{ConnectError, Connector, Stream, upstream_tls};

use self::{
    classify::Failure,
    http1::Answer,
    pool::{Checkout, Pool},
};
use super::call::Outbound;
use crate::{audit::UpstreamTls, body::Body, domain::Origin, error::Error};

/// One upstream, with what it takes to reach it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port.
    pub origin: Origin,
    /// Dial this address instead of resolving the host. TLS name and `Host` stay the origin's.
    pub connect_to: Option<SocketAddr>,
    /// Whether the host's name may lead to an address of the inner network.
    pub allow_private: bool,
    /// How long connecting may take: resolving, TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// How TLS is spoken; `None` for a plain upstream.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// The way to one upstream. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Upstream {
    pool: Arc<Pool>,
}

impl Upstream {
    /// No connection yet. They belong to the runtime that this is called on. With each of
    /// `rotations` the connections that carried the old credentials are closed: those that nobody
    /// uses at once, the others when their calls are over.
    pub fn new(settings: Settings, rotations: watch::Receiver<u64>) -> Self {
        let idle_timeout = settings.idle_timeout;
        Self { pool: Pool::new(Connector::new(settings), idle_timeout, rotations) }
    }

    /// Sends a request over an open connection, if there is one, or a new one. One that turns out to
    /// be dead before a byte of the request was written is no failure: the next one is taken, which
    /// is no retry of anything that Pigello may have seen.
    ///
    /// The request is lent until it is sent: each `async` that it is moved through has room of its own
    /// for it, in memory that every call takes and gives back. It begins now, at `began`.
    async fn send(&self, request: &mut Request<Body>, began: Instant) -> Result<Answered, Failure> {
        let is_repeatable = request.method().is_idempotent();
        loop {
            let (line, is_new) = match self.pool.take() {
                Some(line) => (line, false),
                // In memory of its own, because hardly a call needs it.
                None => (Box::pin(self.pool.open()).await?, true),
            };
            if let Checkout::Own(wire, since) = &line
                && !is_new
                && (!is_repeatable || began.duration_since(*since) > REUSE_WITHOUT_CHECK)
                && !wire.is_idle()
            {
                // The upstream has closed it, most likely. The runtime looks before anything is sent.
                tokio::task::yield_now().await;
            }
            let mut failure = match self.send_over(line, request).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            match failure.take_message() {
                Some(unsent) if !is_new => *request = unsent,
                _ => return Err(failure.into_error().into()),
            }
        }
    }

    async fn send_over(
        &self,
        line: Checkout,
        request: &mut Request<Body>,
    ) -> Result<Answered, TrySendError<Request<Body>>> {
        match line {
            Checkout::Own(mut wire, _) => {
                let request = as_http1(mem::take(request), self.pool.origin());
                let (head, body) = wire.exchange(request).await?.into_parts();
                let tls = wire.tls().cloned();
                let body = Answer::body(body, wire, &self.pool).await;
                Ok(Answered { response: Response::from_parts(head, body), tls })
            }
            Checkout::Shared(mut shared) => {
                let request = as_http2(mem::take(request), self.pool.origin());
                let response = shared.sender.try_send_request(request).await?;
                Ok(Answered { response: response.map(Body::from), tls: shared.tls })
            }
        }
    }
}

fn as_http1(mut request: Request<Body>, origin: &Origin) -> Request<Body> {
    if request.uri().authority().is_some()
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        // It was meant for an HTTP/2 connection that is no more.
        *request.uri_mut() = target.into();
    }
    request.headers_mut().insert(header::HOST, origin.host_header().clone());
    request
}

fn as_http2(mut request: Request<Body>, origin: &Origin) -> Request<Body> {
    // HTTP/2 has the origin in the target.
    request.headers_mut().remove(header::HOST);
    if let Some(target) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = origin.uri_of(target);
    }
    request
}

/// A connection that was in use so shortly before is taken as it is for what can be sent again.
const REUSE_WITHOUT_CHECK: Duration = Duration::from_millis(1);

/// One call outside the path, over a connection of its own. The target is a path and query.
pub async fn ask(settings: Settings, mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let (_never, rotations) = watch::channel(0);
    let answered = Upstream::new(settings, rotations).send(&mut request, Instant::now()).await;
    answered.map(|answered| answered.response).map_err(|failure| classify::classify(failure, None))
}

/// An answer, and the TLS of the connection that it came over.
struct Answered {
    response: Response<Body>,
    tls: Option<Arc<UpstreamTls>>,
}

impl Service<Outbound> for Upstream {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outbound: Outbound) -> Self::Future {
        let Outbound { mut request, draft } = outbound;
        let upstream = self.clone();
        Box::pin(async move {
            let _open = upstream.pool.window().enter().await;
            let began = Instant::now();
            let result = upstream.send(&mut request, began).await;
            let took = Some(began.elapsed());
            let Answered { mut response, tls } = result.map_err(|failure| {
                draft.note(|facts| facts.upstream_time = took);
                classify::classify(failure, draft.body_error())
            })?;
            draft.note(|facts| {
                facts.upstream_time = took;
                facts.upstream_status = Some(response.status());
                facts.upstream_tls = tls;
            });
            super::http_policy::hop_by_hop::strip(response.headers_mut());
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests;
