//! Opens a connection to the upstream: DNS, TCP and TLS, with one time limit for the three.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{ClientConfig, ProtocolVersion, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Settings,
    address::{self, AddressRefused},
};
use crate::{
    audit::UpstreamTls,
    domain::Origin,
    outbound::{TlsError, client_tls},
    proxy::batched_io::{BatchedWriter, PeerProbe},
};

/// TLS settings for the upstream, which offer HTTP/2 and HTTP/1.1.
pub fn upstream_tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = client_tls(ca_file, None)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Opens connections to one upstream.
#[derive(Clone)]
pub struct Connector {
    target: Arc<ConnectTarget>,
}

struct ConnectTarget {
    origin: Origin,
    connect_to: Option<SocketAddr>,
    allow_private: bool,
    timeout: Duration,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// A connector for that upstream.
    pub fn new(settings: Settings) -> Self {
        let target = ConnectTarget {
            origin: settings.origin,
            connect_to: settings.connect_to,
            allow_private: settings.allow_private,
            timeout: settings.connect_timeout,
            tls: settings.tls.map(TlsConnector::from),
        };
        Self { target: Arc::new(target) }
    }

    /// The origin of the upstream.
    pub(super) fn origin(&self) -> &Origin {
        &self.target.origin
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<UpstreamStream, ConnectError> {
        let connect = self.target.connect();
        let opened = tokio::time::timeout(self.target.timeout, connect).await;
        opened.unwrap_or(Err(ConnectError::Timeout))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", self.target.origin)
    }
}

impl ConnectTarget {
    async fn connect(&self) -> Result<UpstreamStream, ConnectError> {
        let tcp = self.dial().await?;
        tcp.set_nodelay(true).map_err(ConnectError::Io)?;
        let tcp = BatchedWriter::new(tcp);
        let Some(tls) = &self.tls else { return Ok(UpstreamStream::Plain(tcp)) };
        let name =
            ServerName::try_from(self.origin.host().to_owned()).map_err(|_| ConnectError::Name)?;
        let stream = tls.connect(name, tcp).await.map_err(ConnectError::from_handshake)?;
        let session = tls_session(&stream).map(Arc::new);
        Ok(UpstreamStream::Tls(Box::new(stream), session))
    }

    async fn dial(&self) -> Result<TcpStream, ConnectError> {
        if let Some(address) = self.connect_to {
            return TcpStream::connect(address).await.map_err(ConnectError::Io);
        }
        let addresses = tokio::net::lookup_host((self.origin.host(), self.origin.port()))
            .await
            .map_err(ConnectError::Resolve)?;
        let mut last = ConnectError::NoAddress;
        for address in addresses {
            // Only a checked address is dialled. The name is not resolved a second time.
            if let Err(refused) = self.check(address) {
                last = ConnectError::Address(refused);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = ConnectError::Io(error),
            }
        }
        Err(last)
    }

    fn check(&self, address: SocketAddr) -> Result<(), AddressRefused> {
        let is_literal = self.origin.host().parse::<IpAddr>().is_ok();
        if is_literal {
            return Ok(());
        }
        address::check(address.ip(), self.allow_private || self.origin.is_loopback())
    }
}

/// A connection to the upstream.
pub enum UpstreamStream {
    /// Plain, to a loopback address.
    Plain(BatchedWriter<TcpStream>),
    /// Verified TLS, and its session for the record.
    Tls(Box<TlsStream<BatchedWriter<TcpStream>>>, Option<Arc<UpstreamTls>>),
}

impl UpstreamStream {
    /// Whether ALPN chose HTTP/2. Without ALPN the protocol is HTTP/1.1.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Tls(stream, _) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Its TLS session, for the record.
    pub(super) fn tls(&self) -> Option<&Arc<UpstreamTls>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, session) => session.as_ref(),
        }
    }

    /// A probe of the socket.
    pub(super) fn probe(&self) -> PeerProbe<TcpStream> {
        match self {
            Self::Plain(stream) => stream.probe(),
            Self::Tls(stream, _) => stream.get_ref().0.probe(),
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
            Self::Plain(_) => "UpstreamStream(plain)",
            Self::Tls(..) => "UpstreamStream(TLS)",
        })
    }
}

/// The version and certificate of a finished handshake.
fn tls_session(stream: &TlsStream<BatchedWriter<TcpStream>>) -> Option<UpstreamTls> {
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
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
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
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, data),
            Self::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// DNS, TCP and TLS took longer than the limit.
    #[error("connecting took too long")]
    Timeout,
    /// The name could not be resolved.
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
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
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The upstream's certificate is not valid for its name.
    #[error("the certificate was refused")]
    Certificate(#[source] rustls::Error),
    /// The handshake failed otherwise.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
}

impl ConnectError {
    fn from_handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(
                tls @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented),
            ) => Self::Certificate(tls.clone()),
            _ => Self::Handshake(error),
        }
    }
}
