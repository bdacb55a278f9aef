//! A forward proxy, which opens tunnels with `CONNECT` (RFC 9110 §9.3.6).
//!
//! The tunnel carries TLS from end to end, so the proxy sees the name of the server, and nothing of a
//! request. Whether a name leads to an address that may be called is then for the proxy to decide.

use std::{
    fmt, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::{either::Either, task::AbortOnDropHandle};
use zeroize::Zeroizing;

use super::tls::{TlsError, client_tls};
use crate::{
    domain::Origin,
    process::files::{self, ReadableByOthers},
};

/// A proxy, and how to reach it.
pub struct ForwardProxy {
    origin: Origin,
    /// `Proxy-Authorization` (RFC 9110 §11.7.2).
    authorization: Option<HeaderValue>,
    /// For a proxy that is called with TLS itself.
    tls: Option<TlsConnector>,
}

impl ForwardProxy {
    /// The proxy at that address. Reads the file with its credentials, one line `user:password`.
    pub fn new(origin: Origin, credentials: Option<&Path>) -> Result<Self, ForwardProxyError> {
        let authorization = credentials.map(authorization).transpose()?;
        let tls = origin.is_tls().then(|| client_tls(None, None)).transpose()?;
        let tls = tls.map(|tls| TlsConnector::from(Arc::new(tls)));
        Ok(Self { origin, authorization, tls })
    }

    /// Its address.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Opens a tunnel to a host through a connection to the proxy.
    pub async fn tunnel(
        &self,
        stream: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<Transport, TunnelError> {
        let transport = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.origin.host().to_owned())
                    .map_err(io::Error::other)?;
                Either::Right(Box::new(tls.connect(name, stream).await?))
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(transport)).await?;
        // It ends with the tunnel's opening.
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::connect(&authority).header(header::HOST, &authority);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(TunnelError::Refused(response.status()));
        }
        let upgraded = hyper::upgrade::on(response).await?;
        match upgraded.downcast::<TokioIo<Transport>>() {
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            // The server speaks only when it is spoken to.
            _ => Err(TunnelError::Early),
        }
    }
}

/// The value of `Proxy-Authorization`, which no error and no log shows.
fn authorization(file: &Path) -> Result<HeaderValue, ForwardProxyError> {
    files::keep_readers_out(file)?;
    let unreadable = |source| ForwardProxyError::Unreadable { path: file.to_owned(), source };
    let text = Zeroizing::new(files::read_own(file).map_err(unreadable)?);
    let line = text.trim_ascii();
    if !line.contains(&b':') || line.iter().any(u8::is_ascii_control) {
        return Err(ForwardProxyError::NoCredentials { path: file.to_owned() });
    }
    let encoded = Zeroizing::new(base64::prelude::BASE64_STANDARD.encode(line));
    let mut value = HeaderValue::from_str(&format!("Basic {}", *encoded))
        .map_err(|_| ForwardProxyError::NoCredentials { path: file.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForwardProxy({})", self.origin)
    }
}

/// Why a proxy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ForwardProxyError {
    /// Others may read its credentials.
    #[error(transparent)]
    Readable(#[from] ReadableByOthers),
    /// The file cannot be read.
    #[error("cannot read the proxy's credentials in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file does not have a line `user:password`.
    #[error("{} does not have one line `user:password`", path.display())]
    NoCredentials {
        /// The file.
        path: PathBuf,
    },
    /// TLS to the proxy cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The proxy does not open it.
    #[error("the forward proxy answers {_0}")]
    Refused(StatusCode),
    /// Bytes came through the tunnel before any were sent.
    #[error("bytes came through the tunnel before any were sent")]
    Early,
    /// The connection to the proxy failed.
    #[error("the connection to the forward proxy failed")]
    Io(#[from] io::Error),
    /// The proxy does not speak HTTP.
    #[error("the exchange with the forward proxy broke off")]
    Exchange(#[from] hyper::Error),
}

/// A connection to a server: TCP to it or to a proxy, or TLS to a proxy.
pub type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The socket of a connection.
pub fn socket_of(transport: &Transport) -> BorrowedFd<'_> {
    match transport {
        Either::Left(stream) => stream.as_fd(),
        Either::Right(stream) => stream.get_ref().0.as_fd(),
    }
}
