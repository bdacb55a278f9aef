//! Pigello as the benchmarks play it: TLS 1.3 and HTTP/1.1 with kept connections, the same answer to
//! every call of a method.
//!
//! It does as little as it can, and remembers what arrived. The mock of Pigello is no choice here: it
//! speaks HTTP/2, and works out what it answers.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pigello_mock::{Authority, MADE_UP_VALUES};
use rustls::{ServerConfig, version::TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::failure::{During as _, Failure};

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The method.
    pub method: Method,
    /// The target, byte for byte.
    pub target: String,
    /// The fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Arrived {
    /// The first of the seven that did not arrive once, with its value.
    pub fn lacks(&self) -> Option<HeaderName> {
        let mut seven = MADE_UP_VALUES.iter().map(|(name, value)| (name.header(), value));
        seven
            .find(|(name, value)| !self.fields.get_all(name).iter().eq([value.as_bytes()]))
            .map(|(name, _)| name)
    }
}

/// A running upstream. It lives on a thread of its own, as long as the process.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Upstream {
    /// Starts it on a free port, with a certificate for `localhost` of that authority.
    pub fn start(authority: &Authority) -> Result<Self, Failure> {
        let issued = authority.server(&["localhost"]).during("cannot issue a certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(issued.chain(), issued.private_key())
            })
            .during("cannot set up the upstream's TLS")?;
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .during("cannot open the upstream's socket")?;
        let address = socket.local_addr().during("the upstream's socket has no address")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .during("cannot start a runtime")?;
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let seen = Arc::clone(&arrived);
        let serving = move || runtime.block_on(accept(socket, &acceptor, &seen));
        drop(
            thread::Builder::new()
                .name("upstream".to_owned())
                .spawn(serving)
                .during("cannot start a thread")?,
        );
        Ok(Self { address, arrived })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived since this was last asked.
    pub fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Seen = Arc<Mutex<Vec<Arrived>>>;

async fn accept(socket: std::net::TcpListener, tls: &TlsAcceptor, seen: &Seen) {
    let Ok(socket) = TcpListener::from_std(socket) else { return };
    // A socket that cannot accept any more ends the benchmark: the next call gets no answer.
    while let Ok((stream, _)) = socket.accept().await {
        drop(tokio::spawn(serve(stream, tls.clone(), Arc::clone(seen))));
    }
}

/// One connection. How it ends is the other side's to report.
async fn serve(stream: TcpStream, tls: TlsAcceptor, seen: Seen) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(|request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(request, &seen).await) }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, seen: &Seen) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return plain(StatusCode::BAD_REQUEST, "");
    };
    let mut answer = if head.method == Method::GET {
        plain(StatusCode::OK, SUBTENANT)
    } else {
        plain(StatusCode::CREATED, CREATED)
    };
    if head.method == Method::GET {
        answer
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    }
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(Arrived {
        method: head.method,
        target: head.uri.to_string(),
        fields: head.headers,
        body: body.to_bytes(),
    });
    answer
}

fn plain(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// What a POST brings: 1 KB of JSON.
pub fn new_object() -> String {
    format!("{{\"notes\":\"{}\"}}", "made up; ".repeat(112))
}

/// What a GET is answered with: a subtenant as Pigello's reference has it, filled in.
pub const SUBTENANT: &str = include_str!("subtenant.json");
/// What anything else is answered with.
pub const CREATED: &str = include_str!("created.json");
/// More than any benchmark sends.
const MAX_BODY: usize = 1024 * 1024;
