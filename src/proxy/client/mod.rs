//! The end of the path: sends requests to Pigello over pooled connections.
//!
//! The profile alone decides about scheme, host, port and TLS name, whatever a caller sends. A redirect
//! is a response like any other and is never followed: a client that follows one sends custom secret
//! headers to the new host.

mod adaptive_limit;
mod address;
mod classify;
mod connect;
mod exchange_waker;
mod http1;
mod http2;
mod in_flight;
mod interim;
mod pool;
mod response_body;
mod sync;

use std::{
    collections::HashMap,
    mem,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::ready;
use http::{HeaderMap, Request, Response, StatusCode, header};
use tokio::{sync::watch, time::Instant};
use tower::Service;

pub use address::AddressRefused;
pub use connect::{
    ConnectError, ConnectTimeouts, Connector, HttpVersions, UpstreamStream, upstream_tls,
};
pub use pool::KeepLimits;

use self::{
    classify::RequestError,
    pool::{Checkout, Pool},
    response_body::ResponseBody,
};
use super::{call::Outbound, http_policy::hop_by_hop};
use crate::{
    audit::UpstreamTls,
    body::Body,
    domain::{Origin, ProfileName},
    error::{Error, Kind},
    outbound::{ForwardProxy, Observed, Resolver, RevocationVerifier},
};

/// How to reach one upstream.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The address to dial, instead of resolving the host. TLS name and `Host` are still the origin's.
    pub connect_to: Option<SocketAddr>,
    /// Whether the host's name may resolve to a private address.
    pub allow_private: bool,
    /// The forward proxy that leads to it.
    pub proxy: Option<Arc<ForwardProxy>>,
    /// The source address of connections, if it is set.
    pub local_address: Option<IpAddr>,
    /// Resolves the host.
    pub resolver: Resolver,
    /// The time limits of a new connection.
    pub connect: ConnectTimeouts,
    /// How long connections are kept.
    pub keep: KeepLimits,
    /// Whether a saturated worker sends fewer requests at a time.
    pub adaptive_concurrency: bool,
    /// The versions of HTTP, which the TLS settings offer.
    pub http: HttpVersions,
    /// The TLS settings; `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What the TLS settings ask about revocation. Connections from before a change of its lists are closed
    /// like those with old credentials.
    pub revocation: Option<Arc<RevocationVerifier>>,
    /// Where it is noted what the upstream shows of itself.
    pub observed: Arc<Observed>,
}

/// The client of one upstream. Clones share its connections.
#[derive(Clone, Debug)]
pub struct UpstreamClient {
    pool: Arc<Pool>,
    observed: Arc<Observed>,
}

impl UpstreamClient {
    /// A client without a connection, for the runtime that this is called on. Each of `rotations` closes
    /// the connections that carried the old credentials: idle ones at once, others after their calls.
    /// Profiles that share a client have none.
    pub fn new(settings: Settings, rotations: Option<watch::Receiver<u64>>) -> Self {
        let (keep, adapts) = (settings.keep, settings.adaptive_concurrency);
        let lists = settings.revocation.as_ref().map(|verifier| verifier.changes());
        let renewals = rotations.into_iter().chain(lists);
        let observed = Arc::clone(&settings.observed);
        Self { pool: Pool::new(Connector::new(settings), keep, adapts, renewals), observed }
    }

    /// Sends a request over a pooled connection or a new one. If a pooled connection is dead before a byte
    /// of the request was written, the next one is taken, because Pigello has seen nothing.
    ///
    /// The request is borrowed until it is sent: each `async` that it is moved through would have room of
    /// its own for it. `began` is now.
    async fn send(
        &self,
        request: &mut Request<Body>,
        began: Instant,
    ) -> Result<Sent, RequestError> {
        let is_repeatable = request.method().is_idempotent();
        loop {
            let (checkout, is_new) = match self.pool.take(began) {
                Some(checkout) => (checkout, false),
                // Boxed, because few calls need it.
                None => Box::pin(self.pool.open()).await?,
            };
            if let Checkout::Http1(conn, since) = &checkout
                && !is_new
                && (!is_repeatable || began.duration_since(*since) > REUSE_WITHOUT_CHECK)
                && !conn.is_idle()
            {
                // The upstream has probably closed it. hyper notices that when the runtime has polled.
                tokio::task::yield_now().await;
            }
            match self.send_over(checkout, request).await {
                Ok(sent) if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(RequestError::Switched);
                }
                Ok(sent) if hop_by_hop::has_transfer_coding(sent.response.headers()) => {
                    return Err(RequestError::TransferCoding);
                }
                Ok(sent) => return Ok(sent),
                Err(Unsent { request: Some(unsent), .. }) if !is_new => *request = unsent,
                Err(Unsent { error, .. }) => return Err(error),
            }
        }
    }

    async fn send_over(
        &self,
        checkout: Checkout,
        request: &mut Request<Body>,
    ) -> Result<Sent, Unsent> {
        match checkout {
            Checkout::Http1(mut conn, _) => {
                let request = as_http1(mem::take(request), self.pool.origin());
                let response = conn.send(request).await.map_err(|mut failure| Unsent {
                    request: failure.take_message(),
                    error: failure.into_error().into(),
                })?;
                let (head, body) = response.into_parts();
                let tls = conn.tls().cloned();
                let body = ResponseBody::read(body, conn, &self.pool).await;
                Ok(Sent { response: Response::from_parts(head, body), tls })
            }
            Checkout::Http2(stream) => {
                let request = as_http2(mem::take(request), self.pool.origin());
                let tls = stream.tls().cloned();
                let response = stream.send(request).await.map_err(|mut failure| Unsent {
                    request: failure.unsent.take(),
                    error: failure.into(),
                })?;
                if !head_fits(response.headers()) {
                    return Err(Unsent { request: None, error: RequestError::HeadTooLarge });
                }
                Ok(Sent { response, tls })
            }
        }
    }
}

/// A request without a response. It is given back if none of it was sent.
struct Unsent {
    request: Option<Request<Body>>,
    error: RequestError,
}

/// Whether the head of a response over HTTP/2 is within the limits of one over HTTP/1.1, which hyper checks.
fn head_fits(fields: &HeaderMap) -> bool {
    let bytes = fields.iter().fold(0_usize, |sum, (name, value)| {
        sum.saturating_add(name.as_str().len()).saturating_add(value.len())
    });
    fields.len() <= MOST_FIELDS && bytes <= MOST_HEAD_BYTES
}

/// The most fields of a response, which is hyper's limit for HTTP/1.1.
const MOST_FIELDS: usize = 100;
/// The most bytes of their names and values.
const MOST_HEAD_BYTES: usize = 64 * 1024;

fn as_http1(mut request: Request<Body>, origin: &Origin) -> Request<Body> {
    if request.uri().authority().is_some()
        && let Some(target) = request.uri().path_and_query().cloned()
    {
        // An HTTP/2 connection was closed before it was sent.
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

/// A connection that was in use this recently is not probed, if the request can be sent again.
const REUSE_WITHOUT_CHECK: Duration = Duration::from_millis(1);

/// Sends one request outside the path, over a connection of its own. Its target is a path and query.
pub async fn ask(settings: Settings, mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let sent = UpstreamClient::new(settings, None).send(&mut request, Instant::now()).await;
    sent.map(|sent| sent.response).map_err(|failure| classify::classify(failure, None))
}

/// The response to a request, and the TLS session that it came over.
struct Sent {
    response: Response<Body>,
    tls: Option<Arc<UpstreamTls>>,
}

/// The clients of one worker: one for each `[profiles.…]` table. The members of a template share their client.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<HashMap<ProfileName, UpstreamClient>>);

impl Upstreams {
    /// The clients, by table.
    pub fn new(clients: HashMap<ProfileName, UpstreamClient>) -> Self {
        Self(Arc::new(clients))
    }
}

impl Service<Outbound> for Upstreams {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Attempt;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outbound: Outbound) -> Self::Future {
        if let Some(upstream) = self.0.get(&outbound.table) {
            return upstream.call(outbound);
        }
        let detail = "the call has a profile without an upstream";
        Box::pin(ready(Err(Error::new(Kind::Internal, detail))))
    }
}

impl UpstreamClient {
    /// Makes one attempt of a call.
    fn call(&self, outbound: Outbound) -> Attempt {
        let Outbound { mut request, lease, context, .. } = outbound;
        interim::pass_on(&mut request, &context, &lease);
        let upstream = self.clone();
        Box::pin(async move {
            let _permit = match upstream.pool.limit() {
                Some(limit) => {
                    let (permit, waited) = limit.acquire().await;
                    if !waited.is_zero() {
                        context.note(|facts| {
                            facts.queue_time = facts.queue_time.saturating_add(waited);
                        });
                    }
                    Some(permit)
                }
                None => None,
            };
            let began = Instant::now();
            let result = upstream.send(&mut request, began).await;
            let took = began.elapsed();
            let Sent { mut response, tls } = result.map_err(|failure| {
                context.note(|facts| facts.upstream_time = Some(took));
                classify::classify(failure, context.body_error())
            })?;
            upstream.observed.response(response.headers(), took);
            context.note(|facts| {
                facts.upstream_time = Some(took);
                facts.upstream_status = Some(response.status());
                facts.upstream_tls = tls;
            });
            hop_by_hop::strip(response.headers_mut());
            Ok(response)
        })
    }
}

/// An attempt of a call.
type Attempt = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

#[cfg(test)]
mod tests;
