//! Opens a connection to the upstream: a name's addresses are raced, each through TCP and TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{ClientConfig, ProtocolVersion, pki_types::ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Settings,
    address::{self, AddressRefused},
};
use crate::{
    audit::UpstreamTls,
    domain::Origin,
    outbound::{
        ForwardProxy, Observed, ResolveError, Resolver, TlsError, Transport, Trust, TunnelError,
        certificate_refusal, client_tls, forward_proxy,
        race::{Dial, Finish, race},
        socket_of,
    },
    proxy::batched_io::{BatchedWriter, PeerProbe},
};

/// The versions of HTTP for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersions {
    /// HTTP/2 if the upstream offers it in the TLS handshake, else HTTP/1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 alone.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 alone; without TLS with prior knowledge (RFC 9113 §3.3).
    #[serde(rename = "2")]
    Http2,
}

/// TLS settings for the upstream, which offer those versions of HTTP.
pub fn upstream_tls(trust: Trust<'_>, http: HttpVersions) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = client_tls(trust, None)?;
    let offered: &[&[u8]] = match http {
        HttpVersions::Auto => &[H2, b"http/1.1"],
        HttpVersions::Http1 => &[b"http/1.1"],
        HttpVersions::Http2 => &[H2],
    };
    config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

const H2: &[u8] = b"h2";

/// Opens connections to one upstream.
#[derive(Clone)]
pub struct Connector {
    target: Arc<ConnectTarget>,
}

struct ConnectTarget {
    origin: Origin,
    connect_to: Option<SocketAddr>,
    local_address: Option<IpAddr>,
    allow_private: bool,
    proxy: Option<Arc<ForwardProxy>>,
    resolver: Resolver,
    timeouts: ConnectTimeouts,
    tls: Option<TlsConnector>,
    http: HttpVersions,
    observed: Arc<Observed>,
}

/// The time limits of a new connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTimeouts {
    /// For the name service.
    pub resolve: Duration,
    /// For TCP and TLS of one address.
    pub connect: Duration,
}

impl Connector {
    /// A connector for that upstream.
    pub fn new(settings: Settings) -> Self {
        let target = ConnectTarget {
            origin: settings.origin,
            connect_to: settings.connect_to,
            local_address: settings.local_address,
            allow_private: settings.allow_private,
            proxy: settings.proxy,
            resolver: settings.resolver,
            timeouts: settings.connect,
            tls: settings.tls.map(TlsConnector::from),
            http: settings.http,
            observed: settings.observed,
        };
        Self { target: Arc::new(target) }
    }

    /// The origin of the upstream.
    pub(super) fn origin(&self) -> &Origin {
        &self.target.origin
    }

    /// Opens a connection to the address that answers first.
    pub async fn connect(&self) -> Result<UpstreamStream, ConnectError> {
        let target = &*self.target;
        let host = target.dialled().host();
        let addresses = target.addresses().await?;
        let Finish { winner, losers } = race(target, &addresses, target.timeouts.connect).await;
        for loser in losers {
            target.resolver.demote(host, loser.ip());
        }
        let winner = winner.unwrap_or(Err(ConnectError::NoAddress));
        let (stream, address) = winner.inspect_err(|_| target.resolver.expire(host))?;
        target.resolver.promote(host, address.ip());
        Ok(stream)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", self.target.origin)
    }
}

impl ConnectTarget {
    /// The server of TCP connections: a proxy, or the upstream itself.
    fn dialled(&self) -> &Origin {
        self.proxy.as_ref().map_or(&self.origin, |proxy| proxy.origin())
    }

    /// The addresses to try. Each was checked, and no name is resolved a second time. A proxy is the
    /// operator's choice, and resolves the upstream's name itself.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Some(address) = self.connect_to {
            return Ok(vec![address]);
        }
        let host = self.dialled().host();
        let is_chosen = self.proxy.is_some() || host.parse::<IpAddr>().is_ok();
        let resolved = self.resolver.resolve(host, self.timeouts.resolve).await?;
        let mut refused = None;
        let mut addresses = Vec::with_capacity(resolved.len());
        for address in resolved {
            match if is_chosen { Ok(()) } else { self.check(address) } {
                Ok(()) => addresses.push(SocketAddr::new(address, self.dialled().port())),
                Err(reason) => refused = Some(ConnectError::Address(reason)),
            }
        }
        if let Some(local) = self.local_address {
            addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
        }
        match refused {
            Some(refused) if addresses.is_empty() => Err(refused),
            _ => Ok(addresses),
        }
    }

    fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        if self.tls.is_none() && !address.is_loopback() {
            return Err(AddressRefused::Plain);
        }
        address::check(address, self.allow_private || self.origin.is_loopback())
    }
}

impl Dial for ConnectTarget {
    type Stream = TcpStream;
    type Connection = UpstreamStream;
    type Error = ConnectError;

    async fn open(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        let failed = |error| ConnectError::Io(address, error);
        let stream = tcp(address, self.local_address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    async fn secure(&self, stream: TcpStream) -> Result<UpstreamStream, ConnectError> {
        let (host, port) = (self.origin.host(), self.origin.port());
        let transport = forward_proxy::through(self.proxy.as_deref(), stream, host, port).await?;
        let stream = BatchedWriter::new(transport);
        let is_http2 = self.http == HttpVersions::Http2;
        let Some(tls) = &self.tls else { return Ok(UpstreamStream::Plain(stream, is_http2)) };
        let name =
            ServerName::try_from(self.origin.host().to_owned()).map_err(|_| ConnectError::Name)?;
        let stream = tls.connect(name, stream).await.map_err(ConnectError::from_handshake)?;
        if is_http2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(ConnectError::NoHttp2);
        }
        self.observed.handshake(stream.get_ref().1.peer_certificates());
        let session = tls_session(&stream).map(Arc::new);
        Ok(UpstreamStream::Tls(Box::new(stream), session))
    }

    fn too_slow(address: SocketAddr) -> ConnectError {
        ConnectError::Timeout(address)
    }
}

async fn tcp(address: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(local) = local else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(address).await
}

/// A connection to the upstream.
pub enum UpstreamStream {
    /// Plain, to a loopback address, and whether it is HTTP/2.
    Plain(BatchedWriter<Transport>, bool),
    /// Verified TLS, and its session for the record.
    Tls(Box<TlsStream<BatchedWriter<Transport>>>, Option<Arc<UpstreamTls>>),
}

impl UpstreamStream {
    /// Whether it is HTTP/2. Without ALPN the protocol is HTTP/1.1.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_, is_http2) => *is_http2,
            Self::Tls(stream, _) => stream.get_ref().1.alpn_protocol() == Some(H2),
        }
    }

    /// Its TLS session, for the record.
    pub(super) fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        match self {
            Self::Plain(..) => None,
            Self::Tls(_, session) => session.as_ref(),
        }
    }

    /// A probe of the socket.
    pub(super) fn probe(&self) -> PeerProbe<Transport> {
        match self {
            Self::Plain(stream, _) => stream.probe(socket_of),
            Self::Tls(stream, _) => stream.get_ref().0.probe(socket_of),
        }
    }

    /// The protocols in words: `TLS 1.3 with a valid certificate, HTTP/2,`.
    pub fn describe(&self) -> String {
        let Self::Tls(stream, _) = self else { return "plain TCP".to_owned() };
        let session = stream.get_ref().1;
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let protocol = if self.is_http2() { "HTTP/2" } else { "HTTP/1.1" };
        format!("{version} with a valid certificate, {protocol},")
    }
}

impl std::fmt::Debug for UpstreamStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(..) => "UpstreamStream(plain)",
            Self::Tls(..) => "UpstreamStream(TLS)",
        })
    }
}

/// The version and certificate of a finished handshake.
fn tls_session(stream: &TlsStream<BatchedWriter<Transport>>) -> Option<UpstreamTls> {
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version()? {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        // No other version is offered.
        _ => return None,
    };
    let leaf = session.peer_certificates()?.first()?;
    let certificate = digest(&SHA256, leaf).as_ref().try_into().ok()?;
    Some(UpstreamTls { version, certificate })
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream, _) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP and TLS of an address took longer than the limit.
    #[error("connecting to {_0} took too long")]
    Timeout(SocketAddr),
    /// The name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The name resolves to an address that is not dialled.
    #[error(transparent)]
    Address(AddressRefused),
    /// The host is neither a DNS name nor an address.
    #[error("the host is not a name that TLS can verify")]
    Name,
    /// TCP failed.
    #[error("the connection to {_0} failed")]
    Io(SocketAddr, #[source] io::Error),
    /// The forward proxy opens no tunnel.
    #[error("no tunnel")]
    Tunnel(#[from] TunnelError),
    /// The upstream does not choose HTTP/2, and nothing else is wanted.
    #[error("the upstream does not speak HTTP/2")]
    NoHttp2,
    /// The upstream's certificate is not valid for its name.
    #[error("the certificate was refused")]
    Certificate(#[source] rustls::Error),
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

impl ConnectError {
    fn from_handshake(error: io::Error) -> Self {
        match certificate_refusal(&error) {
            Some(refusal) => Self::Certificate(refusal.clone()),
            None => Self::Handshake(error),
        }
    }
}

/// Why a request has no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    /// It could not be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was opened and ended before HTTP started.
    #[error("the connection ended before it could be used")]
    Handshake(#[from] hyper::Error),
    /// The upstream allows no stream on a new HTTP/2 connection.
    #[error("the upstream accepts no request on a new connection")]
    NoStream,
    /// It failed, and other calls may have waited for it.
    #[error(transparent)]
    First(Arc<Self>),
    /// Another call could not open it, while this one waited.
    #[error(transparent)]
    Shared(Arc<Self>),
}
