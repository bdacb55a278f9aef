//! Serves the page of a gateway whose admin listener is a Unix socket on a loopback port, because a browser
//! opens no Unix socket.
//!
//! Every user of the machine reaches the port, so the relay grants nothing: each request that it passes on has
//! `Forwarded`, and the gateway asks it for a session (see [`access`](super::access)).

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::guard::SEC_FETCH_SITE;
use crate::{
    body::{Body, collect_limited},
    domain::{Address, ListenerName, Peer},
    outbound::{CallLimits, Client, ClientError},
    proxy::{
        call::Arrival,
        http_policy::HostRules,
        server::{self, BindError, Bound, ConnectionTimeouts, SocketAccess, serve_alone},
    },
};

/// A loopback port in front of a gateway's Unix socket.
#[derive(Debug)]
pub struct Relay {
    socket: Bound,
    gateway: Address,
}

impl Relay {
    /// Takes a port of 127.0.0.1; 0 takes a free one.
    pub fn open(port: u16, gateway: Address) -> Result<Self, BindError> {
        let address = Address::Tcp(([127, 0, 0, 1], port).into());
        Ok(Self { socket: Bound::bind(&address, SocketAccess::Owner)?, gateway })
    }

    /// The address of the port.
    pub fn address(&self) -> &Address {
        self.socket.address()
    }

    /// Serves until it is cancelled.
    pub async fn serve(self, ending: CancellationToken) -> std::io::Result<()> {
        let path = RelayPath(Arc::new(Forwarding {
            hosts: HostRules::new(self.socket.address(), &[]),
            gateway: Client::local(&self.gateway, LIMITS),
        }));
        let settings = server::Settings {
            timeouts: ConnectionTimeouts { head: TIME, idle: IDLE, write: TIME },
            keep_alive_fields: server::keep_alive_fields(IDLE),
            head_bytes: 64 * 1024,
            header_count: 100,
            concurrent_streams: 16,
            connection_age: None,
        };
        let name = ListenerName::new("page");
        serve_alone(name, self.socket, CONNECTIONS, settings, None, path, ending).await
    }
}

struct Forwarding {
    hosts: HostRules,
    gateway: Client,
}

impl Forwarding {
    async fn call(&self, request: Request<Body>, peer: Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Err(error) = self.hosts.check(head.version, &head.uri, &head.headers) {
            return text(error.kind().status(), format!("{}\n", error.detail()));
        }
        let Ok(body) = collect_limited(body, MOST_OF_FORM).await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "this is too much for a form\n".to_owned());
        };
        let mut passed = Request::new(body);
        *passed.method_mut() = head.method;
        *passed.uri_mut() = head.uri.path_and_query().cloned().map(Into::into).unwrap_or_default();
        *passed.headers_mut() = fields(&head.headers, peer);
        self.ask(passed).await.unwrap_or_else(|error| {
            text(StatusCode::BAD_GATEWAY, format!("the gateway does not answer: {error}\n"))
        })
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Body>, ClientError> {
        let pending = self.gateway.send(request).await?;
        let (status, mut headers) = (pending.status, pending.headers.clone());
        for of_connection in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
        {
            headers.remove(of_connection);
        }
        let mut response = Response::new(Body::full(pending.body().await?.to_vec()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// What a browser says that the gateway has to know, and that it comes from somebody else than the relay.
fn fields(all: &HeaderMap, peer: Peer) -> HeaderMap {
    const PASSED: [HeaderName; 6] = [
        header::HOST,
        header::ORIGIN,
        header::COOKIE,
        header::CONTENT_TYPE,
        header::ACCESS_CONTROL_REQUEST_METHOD,
        SEC_FETCH_SITE,
    ];
    let mut passed = HeaderMap::new();
    for name in PASSED {
        for value in all.get_all(&name) {
            passed.append(&name, value.clone());
        }
    }
    let peer = match peer {
        Peer::Tcp(address) => format!("for=\"{address}\""),
        Peer::Unix { .. } => "for=unknown".to_owned(),
    };
    let unknown = HeaderValue::from_static("for=unknown");
    passed.insert(header::FORWARDED, HeaderValue::try_from(peer).unwrap_or(unknown));
    passed
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    response
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct RelayPath(Arc<Forwarding>);

impl Service<Arrival> for RelayPath {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Arrival { request, connection, .. }: Arrival) -> Self::Future {
        let forwarding = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match request {
                Ok(request) => forwarding.call(request, connection.peer()).await,
                Err(unreadable) => {
                    let error = unreadable.into_error();
                    text(error.kind().status(), format!("{}\n", error.detail()))
                }
            })
        })
    }
}

/// A browser opens six.
const CONNECTIONS: usize = 32;
const MOST_OF_FORM: usize = 64 * 1024;
const TIME: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_mins(1);
/// The page of a gateway with many callers has some hundred kilobytes.
const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(30), body: 16 * 1024 * 1024 };
