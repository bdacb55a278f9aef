//! A forward proxy, which opens tunnels with `CONNECT` (RFC 9110 §9.3.6).
//!
//! The tunnel carries TLS from end to end, so the proxy sees the name of the server, and nothing of a
//! request. Whether a name leads to an address that may be called is then for the proxy to decide.

use std::{
    env, fmt, io,
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

use super::tls::{TlsError, Trust, certificate_refusal, client_tls};
use crate::{
    domain::{Origin, ProxyChoice, is_excluded},
    process::files::{self, ReadableByOthers, WritableByOthers},
};

/// Which forward proxy leads to a server: the keys `proxy`, `proxy_authorization_file` and `no_proxy` of its table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardProxySettings {
    /// The proxy, if there is one.
    pub choice: Option<ProxyChoice>,
    /// The file with its credentials, one line `user:password`.
    pub credentials: Option<PathBuf>,
    /// Hosts and domains that are called without it.
    pub excluded: Vec<String>,
}

impl ForwardProxySettings {
    /// The proxy that calls to a server take, if they take one.
    pub fn proxy_to(&self, server: &Origin) -> Option<Origin> {
        if self.excludes(server) {
            return None;
        }
        match self.choice.as_ref()? {
            ProxyChoice::At(origin) => Some(origin.clone()),
            ProxyChoice::Environment if variables_exclude(server) => None,
            ProxyChoice::Environment => variable(["https_proxy", "HTTPS_PROXY"])?.parse().ok(),
        }
    }

    /// Whether the list names the server.
    pub fn excludes(&self, server: &Origin) -> bool {
        is_excluded(server.host(), self.excluded.iter().map(String::as_str))
    }
}

/// Whether the variables for proxies leave a server out: `NO_PROXY` names it, or it is on this machine, which a
/// proxy cannot reach.
pub fn variables_exclude(server: &Origin) -> bool {
    let list = variable(["no_proxy", "NO_PROXY"]).unwrap_or_default();
    server.is_loopback() || is_excluded(server.host(), list.split(','))
}

/// The first of the two that is set, unless it is empty.
fn variable(names: [&str; 2]) -> Option<String> {
    let value = names.into_iter().find_map(env::var_os)?;
    value.into_string().ok().filter(|text| !text.is_empty())
}

/// A proxy, and how to reach it.
pub struct ForwardProxy {
    origin: Origin,
    /// `Proxy-Authorization` (RFC 9110 §11.7.2).
    authorization: Option<HeaderValue>,
    /// For a proxy that is called with TLS itself.
    tls: Option<TlsConnector>,
}

impl ForwardProxy {
    /// The proxy that leads to a server, if one does. Reads the file with its credentials. The platform's
    /// roots vouch for the proxy itself.
    pub fn open(
        settings: &ForwardProxySettings,
        server: &Origin,
    ) -> Result<Option<Arc<Self>>, ForwardProxyError> {
        let Some(origin) = settings.proxy_to(server) else { return Ok(None) };
        if !server.is_tls() {
            return Err(ForwardProxyError::Plain { server: server.to_string() });
        }
        let authorization = settings.credentials.as_deref().map(authorization).transpose()?;
        let tls = origin.is_tls().then(|| client_tls(Trust::Roots(None), None)).transpose()?;
        let tls = tls.map(|tls| TlsConnector::from(Arc::new(tls)));
        Ok(Some(Arc::new(Self { origin, authorization, tls })))
    }

    /// Its address.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Opens a tunnel to a host through a connection to the proxy.
    async fn tunnel(
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
                let stream =
                    tls.connect(name, stream).await.map_err(TunnelError::from_handshake)?;
                Either::Right(Box::new(stream))
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

/// Makes a connection to a server of one to it, or of one to the proxy that leads to it.
pub async fn through(
    proxy: Option<&ForwardProxy>,
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<Transport, TunnelError> {
    match proxy {
        Some(proxy) => proxy.tunnel(stream, host, port).await,
        None => Ok(Either::Left(stream)),
    }
}

/// The value of `Proxy-Authorization`, which no error and no log shows.
fn authorization(file: &Path) -> Result<HeaderValue, ForwardProxyError> {
    files::keep_writers_out(file)?;
    files::keep_readers_out(file)?;
    let unreadable = |source| ForwardProxyError::Unreadable { path: file.to_owned(), source };
    let text = Zeroizing::new(files::read_named(file).map_err(unreadable)?);
    let line = text.trim_ascii();
    let no_credentials = || ForwardProxyError::NoCredentials { path: file.to_owned() };
    if line.iter().any(u8::is_ascii_control) {
        return Err(no_credentials());
    }
    // The value itself has a scheme and no colon (RFC 9110 §11.4).
    let value = if line.contains(&b':') {
        let encoded = Zeroizing::new(base64::prelude::BASE64_STANDARD.encode(line));
        HeaderValue::from_str(&Zeroizing::new(format!("Basic {}", *encoded)))
    } else if line.contains(&b' ') {
        HeaderValue::from_bytes(line)
    } else {
        return Err(no_credentials());
    };
    let mut value = value.map_err(|_| no_credentials())?;
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
    /// Others may write them.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
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
    #[error("{} has neither one line `user:password` nor a value such as `Bearer …`", path.display())]
    NoCredentials {
        /// The file.
        path: PathBuf,
    },
    /// The server is called without TLS.
    #[error("a forward proxy would see what is sent to {server}, because that is plain `http://`")]
    Plain {
        /// The server.
        server: String,
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
    /// The proxy's own certificate is not valid for its name.
    #[error("the forward proxy's certificate was refused")]
    Certificate(#[source] rustls::Error),
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

impl TunnelError {
    fn from_handshake(error: io::Error) -> Self {
        match certificate_refusal(&error) {
            Some(refusal) => Self::Certificate(refusal.clone()),
            None => Self::Io(error),
        }
    }
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

#[cfg(test)]
mod tests;
