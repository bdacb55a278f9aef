//! Last on the path: sends a request to Pigello and brings its answer.
//!
//! Where a request goes is the profile's alone; nothing a caller sends has a say in scheme, host,
//! port or TLS name. Redirects are answers like any other and never followed: HTTP clients that
//! follow them take custom secret headers along.

mod address;
mod classify;
mod connect;
mod tls;

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::Response;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

pub use address::Refused;
pub use connect::{ConnectError, Connector};
pub use tls::{TlsError, Trust, client_config};

use super::request::Outbound;
use crate::{body::Body, domain::Origin, error::Error, trail::UpstreamTls};

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

/// A pool of connections to one upstream. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Upstream {
    origin: Arc<Origin>,
    client: Client<Connector, Body>,
}

impl Upstream {
    /// A pool without connections yet. It belongs to the runtime it is first used on.
    pub fn new(settings: Settings) -> Self {
        let origin = Arc::new(settings.origin.clone());
        let idle_timeout = settings.idle_timeout;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(idle_timeout)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_adaptive_window(true)
            // A request whose connection died before a byte of it was written is sent again on
            // another one; that is not a retry of anything Pigello may have seen.
            .retry_canceled_requests(true)
            .build(Connector::new(settings));
        Self { origin, client }
    }
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
        if let Some(target) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = self.origin.uri_of(target);
        }
        let response = self.client.request(request);
        Box::pin(async move {
            let began = Instant::now();
            let result = response.await;
            let took = Some(began.elapsed());
            let mut response = result.map_err(|error| {
                draft.note(|facts| facts.upstream_time = took);
                classify::classify(error, draft.body_error())
            })?;
            let tls = response.extensions_mut().remove::<Arc<UpstreamTls>>();
            draft.note(|facts| {
                facts.upstream_time = took;
                facts.upstream_status = Some(response.status());
                facts.upstream_tls = tls;
            });
            super::hop_by_hop::strip(response.headers_mut());
            Ok(response.map(Body::from))
        })
    }
}
