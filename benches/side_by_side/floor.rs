//! The floors: what answering and forwarding cost at least with the libraries the gateway uses.
//!
//! A bare hyper server that answers from memory, and a bare hyper proxy with rustls that strips, adds
//! the seven, forwards and writes a line. No permission, no cache, no trail, no limits: a gateway
//! cannot be cheaper on these libraries, and how far it is from them is what its own work costs.

use std::{
    cell::RefCell,
    convert::Infallible,
    fs::File,
    io::{BufWriter, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pigello_mock::MADE_UP_VALUES;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};
use tokio_rustls::TlsConnector;

use super::{
    failure::{During as _, Failure},
    upstream::SUBTENANT,
};

/// Which floor.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    floor: Floor,
}

#[derive(Debug, Subcommand)]
enum Floor {
    /// Answers from memory.
    Server {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Forwards.
    Proxy {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where it forwards to.
        #[arg(long)]
        upstream: SocketAddr,
        /// Whom it trusts.
        #[arg(long)]
        ca: PathBuf,
        /// Where it writes a line a call.
        #[arg(long)]
        log: PathBuf,
    },
}

/// Serves until SIGTERM.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during("cannot start a runtime")?;
    match &arguments.floor {
        Floor::Server { listen } => runtime.block_on(LocalSet::new().run_until(server(*listen))),
        Floor::Proxy { listen, upstream, ca, log } => {
            let proxy = Rc::new(Proxy::new(*upstream, ca, log)?);
            runtime.block_on(LocalSet::new().run_until(forward(*listen, Rc::clone(&proxy))))?;
            let mut log = proxy.log.borrow_mut();
            log.flush().during("cannot finish the log")
        }
    }
}

async fn server(listen: SocketAddr) -> Result<(), Failure> {
    let socket = TcpListener::bind(listen).await.during("cannot listen")?;
    accept(&socket, |stream| async move {
        let service = service_fn(async |_: Request<Incoming>| {
            let mut answer = Response::new(Full::new(Bytes::from_static(SUBTENANT.as_bytes())));
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, json);
            Ok::<_, Infallible>(answer)
        });
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    })
    .await
}

async fn forward(listen: SocketAddr, proxy: Rc<Proxy>) -> Result<(), Failure> {
    let socket = TcpListener::bind(listen).await.during("cannot listen")?;
    accept(&socket, |stream| {
        let proxy = Rc::clone(&proxy);
        async move {
            let service =
                service_fn(async |request| Ok::<_, Infallible>(proxy.call(request).await));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await
}

/// Accepts until SIGTERM. How a connection ends is the caller's to notice.
async fn accept<F: Future<Output = ()> + 'static>(
    socket: &TcpListener,
    serve: impl Fn(TcpStream) -> F,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).during("cannot listen for signals")?;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = terminate.recv() => return Ok(()),
        };
        if let Ok((stream, _)) = accepted
            && stream.set_nodelay(true).is_ok()
        {
            drop(tokio::task::spawn_local(serve(stream)));
        }
    }
}

struct Proxy {
    upstream: SocketAddr,
    tls: TlsConnector,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
    log: RefCell<BufWriter<File>>,
    seven: Vec<(HeaderName, HeaderValue)>,
}

impl Proxy {
    fn new(upstream: SocketAddr, ca: &Path, log: &Path) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(ca).during("cannot read the authority")?;
        roots.add(root).during("cannot trust the authority")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .during("cannot set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let file = File::create(log).during("cannot open the log")?;
        let seven = MADE_UP_VALUES
            .iter()
            .map(|(name, value)| (name.header(), HeaderValue::from_static(value)));
        Ok(Self {
            upstream,
            tls: TlsConnector::from(Arc::new(tls)),
            idle: RefCell::default(),
            log: RefCell::new(BufWriter::with_capacity(64 * 1024, file)),
            seven: seven.collect(),
        })
    }

    async fn call(&self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.prepare(request.headers_mut());
        let line = format!("\"{} {} HTTP/1.1\"", request.method(), request.uri());
        let answer = self.exchange(request).await;
        let answer = answer.unwrap_or_else(|_| {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        });
        // What cannot be written shows in the check: there is not one line a call.
        drop(writeln!(self.log.borrow_mut(), "{line} {}", answer.status().as_u16()));
        answer
    }

    fn prepare(&self, fields: &mut HeaderMap) {
        let own = fields.keys().filter(|name| name.as_str().starts_with("x-pigello-"));
        for name in own.cloned().collect::<Vec<_>>() {
            fields.remove(name);
        }
        fields.remove(header::CONNECTION);
        fields.insert(header::HOST, HeaderValue::from_static("localhost"));
        for (name, value) in &self.seven {
            fields.insert(name, value.clone());
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        let mut sender = self.sender().await?;
        let (head, body) = sender.send_request(request).await.during("no answer")?.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the body is limited")]
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|_| Failure::new("no whole answer"))?.to_bytes();
        self.idle.borrow_mut().push(sender);
        Ok(Response::from_parts(head, Full::new(body)))
    }

    /// The connection that was used last, or a new one.
    async fn sender(&self) -> Result<SendRequest<Incoming>, Failure> {
        loop {
            let Some(mut idle) = self.idle.borrow_mut().pop() else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(self.upstream).await.during("cannot connect")?;
        stream.set_nodelay(true).during("cannot set TCP_NODELAY")?;
        let name = ServerName::try_from("localhost").during("no name")?;
        let stream = self.tls.connect(name, stream).await.during("no TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.during("no HTTP")?;
        drop(tokio::task::spawn_local(async move { drop(connection.await) }));
        Ok(sender)
    }
}

/// More than the upstream answers with.
const MAX_BODY: usize = 1024 * 1024;
