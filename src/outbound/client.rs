//! An HTTP/1.1 client for one server, over TCP, TLS or a Unix socket, or through a forward proxy.
//!
//! Redirects are not followed: a client that follows them sends its token elsewhere. One time limit covers
//! connecting, the request and the response. The body of a response has a size limit and is read into
//! memory that is wiped, because a vault's responses hold secrets.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{self, Instant, error::Elapsed},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::{
    forward_proxy::{self, ForwardProxy, ForwardProxyError, ForwardProxySettings, TunnelError},
    observed::Observed,
    race::{Dial, Finish, race},
    resolve::{ResolveError, Resolver},
    tls::{ClientCertificate, TlsError, Trust, client_tls},
};
use crate::{
    domain::{Address, Origin},
    secret::SecretBuffer,
};

/// How long TCP, a proxy's tunnel and TLS of one address may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an idle connection stays open: long enough for a login and the read after it. An old idle
/// connection may be dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// As many idle connections are kept as a vault is read over at once.
const MAX_IDLE: usize = 8;

/// Calls one server. Connects when it has to, and keeps a few idle connections.
pub struct Client {
    server: ServerAddress,
    host: HeaderValue,
    limits: CallLimits,
    /// The one that was used last is at the end.
    idle: Arc<Mutex<Vec<IdleConnection>>>,
}

/// The bounds of one call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// From connecting to the last byte of the response.
    pub time: Duration,
    /// The body of the response, in bytes.
    pub body: usize,
}

enum ServerAddress {
    Tcp(TcpServer),
    Unix(PathBuf),
}

struct TcpServer {
    host: String,
    port: u16,
    proxy: Option<Arc<ForwardProxy>>,
    tls: Option<TlsConnector>,
    observed: Arc<Observed>,
}

type Connection = SendRequest<Full<Bytes>>;

struct IdleConnection {
    connection: Connection,
    ends: Instant,
    /// Closes the connection at the end of its time.
    _timer: AbortOnDropHandle<()>,
}

impl Client {
    /// A client for an origin. Reads the certificate files for `https` and the proxy's credentials, and opens
    /// no connection.
    pub fn new(
        origin: &Origin,
        trust: Trust<'_>,
        certificate: Option<&ClientCertificate>,
        proxy: &ForwardProxySettings,
        limits: CallLimits,
    ) -> Result<Self, ClientSetupError> {
        let tls = origin.is_tls().then(|| client_tls(trust, certificate)).transpose()?;
        let server = ServerAddress::Tcp(TcpServer {
            host: origin.host().to_owned(),
            port: origin.port(),
            proxy: ForwardProxy::open(proxy, origin)?,
            tls: tls.map(|tls| TlsConnector::from(Arc::new(tls))),
            observed: Arc::default(),
        });
        Ok(Self::to(server, origin.host_header().clone(), limits))
    }

    /// A client without TLS for an address of this machine.
    pub fn local(address: &Address, limits: CallLimits) -> Self {
        let server = match address {
            Address::Tcp(address) => ServerAddress::Tcp(TcpServer {
                host: address.ip().to_string(),
                port: address.port(),
                proxy: None,
                tls: None,
                observed: Arc::default(),
            }),
            Address::Unix(path) => ServerAddress::Unix(path.clone()),
        };
        Self::to(server, HeaderValue::from_static("localhost"), limits)
    }

    fn to(server: ServerAddress, host: HeaderValue, limits: CallLimits) -> Self {
        Self { server, host, limits, idle: Arc::default() }
    }

    /// Has what the server shows of itself noted there.
    #[must_use]
    pub fn observed_in(mut self, observed: Arc<Observed>) -> Self {
        if let ServerAddress::Tcp(server) = &mut self.server {
            server.observed = observed;
        }
        self
    }

    /// Sends a request and waits for the head of the response. Its URI is a path, and its `Host` is the server
    /// unless it says another.
    pub async fn send(&self, request: Request<Bytes>) -> Result<PendingResponse<'_>, ClientError> {
        let began = Instant::now();
        let end = began + self.limits.time;
        let exchange = time::timeout_at(end, self.exchange(request.map(Full::new)));
        let (connection, response) = exchange.await??;
        let (head, body) = response.into_parts();
        if let ServerAddress::Tcp(server) = &self.server {
            server.observed.response(&head.headers, began.elapsed());
        }
        Ok(PendingResponse {
            status: head.status,
            headers: head.headers,
            body,
            connection,
            end,
            client: self,
        })
    }

    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Connection, http::Response<Incoming>), ClientError> {
        request.headers_mut().entry(header::HOST).or_insert_with(|| self.host.clone());
        let idle = self.idle.lock().pop().map(|idle| idle.connection);
        if let Some(mut connection) = idle
            && connection.ready().await.is_ok()
        {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((connection, response)),
                // The server closed the connection before any of the request was written.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await?;
        Ok((connection, response))
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        match &self.server {
            ServerAddress::Unix(path) => start(UnixStream::connect(path).await?).await,
            ServerAddress::Tcp(server) => {
                let (host, port) = server.dialled();
                let resolver = Resolver::system();
                // The time limit of the call is the one for the name service.
                let addresses = resolver.resolve(host, self.limits.time).await?;
                let addresses: Vec<_> =
                    addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
                let Finish { winner, losers } = race(server, &addresses, CONNECT_TIMEOUT).await;
                for loser in losers {
                    resolver.demote(host, loser.ip());
                }
                let winner = winner.unwrap_or(Err(ClientError::NoAddress));
                let (connection, address) = winner.inspect_err(|_| resolver.expire(host))?;
                resolver.promote(host, address.ip());
                Ok(connection)
            }
        }
    }

    /// Connects to the server, and closes the connection: whether the server can be reached.
    pub async fn reach(&self) -> Result<(), ClientError> {
        time::timeout(self.limits.time, self.connect()).await?.map(drop)
    }

    /// Closes the idle connections. The next call opens one.
    pub fn close_idle(&self) {
        self.idle.lock().clear();
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() == MAX_IDLE {
            return;
        }
        let ends = Instant::now() + IDLE_TIMEOUT;
        let pool = Arc::downgrade(&self.idle);
        let timer = AbortOnDropHandle::new(tokio::spawn(async move {
            time::sleep_until(ends).await;
            if let Some(pool) = pool.upgrade() {
                pool.lock().retain(|idle| idle.ends > ends);
            }
        }));
        idle.push(IdleConnection { connection, ends, _timer: timer });
    }
}

impl TcpServer {
    /// Host and port of TCP connections: those of the proxy, or the server's own.
    fn dialled(&self) -> (&str, u16) {
        match self.proxy.as_deref().map(ForwardProxy::origin) {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (&self.host, self.port),
        }
    }
}

/// Connects through one address: TCP, a tunnel if there is a proxy, TLS if there is some, HTTP.
impl Dial for TcpServer {
    type Stream = TcpStream;
    type Connection = Connection;
    type Error = ClientError;

    async fn open(&self, address: SocketAddr) -> Result<TcpStream, ClientError> {
        if self.tls.is_none() && !address.ip().is_loopback() {
            return Err(ClientError::Plain(address.ip()));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Connection, ClientError> {
        let proxy = self.proxy.as_deref();
        let stream = forward_proxy::through(proxy, stream, &self.host, self.port).await?;
        let Some(tls) = &self.tls else { return start(stream).await };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let stream = tls.connect(name, stream).await?;
        self.observed.handshake(stream.get_ref().1.peer_certificates());
        start(stream).await
    }

    fn too_slow(address: SocketAddr) -> ClientError {
        let text = format!("connecting to {address} took too long");
        io::Error::new(io::ErrorKind::TimedOut, text).into()
    }
}

/// Starts HTTP on a connection.
async fn start<S>(stream: S) -> Result<Connection, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The exchange learns of errors as well.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

/// A response whose body is not read.
pub struct PendingResponse<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    body: Incoming,
    connection: Connection,
    end: Instant,
    client: &'a Client,
}

impl PendingResponse<'_> {
    /// Reads the body. The connection is used again only if it was read.
    pub async fn body(mut self) -> Result<SecretBuffer, ClientError> {
        let limit = self.client.limits.body;
        let length = self.body.size_hint().exact();
        let length = length.map_or(limit, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if length > limit {
            return Err(ClientError::TooLarge);
        }
        // Never grown, because a buffer that grows leaves copies behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(length));
        while let Some(frame) = time::timeout_at(self.end, self.body.frame()).await? {
            let Ok(data) = frame?.into_data() else { continue };
            if buffer.len() + data.len() > limit {
                return Err(ClientError::TooLarge);
            }
            buffer.extend_from_slice(&data);
        }
        self.client.keep(self.connection);
        Ok(buffer)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.host)
    }
}

impl fmt::Debug for PendingResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetupError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The forward proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] ForwardProxyError),
}

/// Why there is no whole response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no connection, and nothing was sent.
    #[error("the connection failed")]
    Connect(#[from] io::Error),
    /// The name has no address, or the name service does not answer.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// Without TLS, the name leads to another machine.
    #[error(
        "the name leads to another machine ({_0}), and nothing would encrypt what is sent there"
    )]
    Plain(IpAddr),
    /// The forward proxy opens no tunnel.
    #[error("no tunnel")]
    Tunnel(#[from] TunnelError),
    /// The connection broke while it was used.
    #[error("the exchange broke off")]
    Exchange(#[from] hyper::Error),
    /// The body is over its limit.
    #[error("the answer is too large")]
    TooLarge,
    /// The time limit is over.
    #[error("it does not answer")]
    Timeout,
}

impl ClientError {
    /// Whether the server has certainly seen nothing.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Resolve(_)
            | Self::NoAddress
            | Self::Plain(_)
            | Self::Tunnel(_) => true,
            Self::Exchange(_) | Self::TooLarge | Self::Timeout => false,
        }
    }
}

impl From<Elapsed> for ClientError {
    fn from(_: Elapsed) -> Self {
        Self::Timeout
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(20), body: 10 };

    /// A server that sends these responses on every connection, one for each request, and then closes it.
    async fn serve(responses: &'static [&'static str]) -> (Client, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                for response in responses {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    noted.lock().push(String::from_utf8(head).unwrap());
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            }
        });
        let origin = format!("http://{address}").parse().unwrap();
        let (trust, proxy) = (Trust::Roots(None), ForwardProxySettings::default());
        (Client::new(&origin, trust, None, &proxy, LIMITS).unwrap(), heads)
    }

    async fn get(client: &Client) -> Result<(u16, SecretBuffer), ClientError> {
        let request = Request::builder().uri("/a?b").body(Bytes::new()).unwrap();
        let answer = client.send(request).await?;
        let status = answer.status.as_u16();
        Ok((status, answer.body().await?))
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_the_server_closes_it() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (client, heads) = serve(Box::leak(Box::new([ok, ok]))).await;
        for _ in 0..5 {
            let (status, body) = get(&client).await.unwrap();
            assert_eq!((status, body.as_slice()), (200, b"ok".as_slice()));
        }
        let heads = heads.lock();
        assert_eq!(heads.len(), 5);
        for head in &*heads {
            assert!(head.starts_with("GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_after_its_time() {
        let (client, _) = serve(&["HTTP/1.1 204 No Content\r\n\r\n"; 2]).await;
        assert_eq!(get(&client).await.unwrap().0, 204);
        assert_eq!(client.idle.lock().len(), 1);
        time::pause();
        time::sleep(IDLE_TIMEOUT + Duration::from_secs(1)).await;
        assert!(client.idle.lock().is_empty());
    }

    #[tokio::test]
    async fn calls_at_once_have_a_connection_each_and_a_few_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 1024];
                    while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        let (trust, proxy) = (Trust::Roots(None), ForwardProxySettings::default());
        let client = Client::new(&origin, trust, None, &proxy, LIMITS).unwrap();
        for _ in 0..2 {
            let calls = (0..MAX_IDLE + 4).map(|_| get(&client));
            assert!(future::join_all(calls).await.into_iter().all(|call| call.unwrap().0 == 204));
            assert_eq!(client.idle.lock().len(), MAX_IDLE);
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_a_long_or_broken_body_is_none() {
        let redirect =
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n";
        let (client, heads) = serve(Box::leak(Box::new([redirect]))).await;
        assert_eq!(get(&client).await.unwrap().0, 307);
        assert_eq!(heads.lock().len(), 1);
        for body in [
            "content-length: 11\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
        ] {
            let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{body}").leak();
            let (client, _) = serve(Box::leak(Box::new([answer]))).await;
            assert!(matches!(get(&client).await, Err(ClientError::TooLarge)), "{body}");
        }
        let (client, _) = serve(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"]).await;
        assert!(matches!(get(&client).await, Err(ClientError::Exchange(_))));
    }

    #[tokio::test]
    async fn without_tls_only_a_loopback_address_is_dialled() {
        let dial = TcpServer {
            host: "localhost".to_owned(),
            port: 80,
            proxy: None,
            tls: None,
            observed: Arc::default(),
        };
        let refused = dial.open("192.0.2.2:80".parse().unwrap()).await;
        assert!(matches!(refused, Err(ClientError::Plain(_))));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_told_from_one_that_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = CallLimits { time: Duration::from_millis(100), ..LIMITS };
        let client = Client::local(&Address::Tcp(listener.local_addr().unwrap()), limits);
        assert!(matches!(get(&client).await, Err(ClientError::Timeout)));
        drop(listener);
        assert!(matches!(get(&client).await, Err(ClientError::Connect(_))));
        let client = Client::local(&Address::Unix("/nowhere/socket".into()), limits);
        assert!(matches!(get(&client).await, Err(ClientError::Connect(_))));
    }
}
