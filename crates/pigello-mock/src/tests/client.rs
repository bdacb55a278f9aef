//! A client that trusts the mock's authority. Every call has a connection of its own, so that no test
//! depends on another call.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Credentials, MockPigello,
    body::{self, BoxError},
};

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A call.
pub(super) struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    version: Version,
}

/// A call with the made-up credentials, over HTTP/2.
pub(super) fn call(method: Method, target: &str) -> Call {
    let mut headers = HeaderMap::new();
    Credentials::made_up().write_to(&mut headers);
    let target = target.to_owned();
    Call { method, target, headers, body: Bytes::new(), version: Version::HTTP_2 }
}

pub(super) fn get(target: &str) -> Call {
    call(Method::GET, target)
}

impl Call {
    pub(super) fn credentials(mut self, credentials: &Credentials) -> Self {
        credentials.write_to(&mut self.headers);
        self
    }

    pub(super) fn http1(mut self) -> Self {
        self.version = Version::HTTP_11;
        self
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(super) fn without(mut self, name: &HeaderName) -> Self {
        self.headers.remove(name);
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The whole response.
    pub(super) async fn send(self, mock: &MockPigello) -> Result<Answer, BoxError> {
        let (head, body) = self.open(mock).await?.into_parts();
        let body = body::read(body, 16 * 1024 * 1024).await?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// The head of the response; its body may be incomplete.
    pub(super) async fn open(self, mock: &MockPigello) -> Result<Response<Incoming>, BoxError> {
        let version = self.version;
        let request = self.request(mock);
        let alpn: &[&[u8]] = if version == Version::HTTP_2 { &[b"h2"] } else { &[b"http/1.1"] };
        match mock.authority() {
            None => {
                let stream = TcpStream::connect(mock.address()).await?;
                send(stream, version, request).await
            }
            Some(authority) => {
                let roots = authority.roots();
                let stream = connect(mock, roots, "api.pigello.test", alpn).await?;
                send(stream, version, request).await
            }
        }
    }

    fn request(self, mock: &MockPigello) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body));
        let target = match self.version {
            Version::HTTP_2 => format!("https://api.pigello.test{}", self.target),
            _ => self.target,
        };
        *request.method_mut() = self.method;
        *request.uri_mut() = target.parse().unwrap();
        *request.headers_mut() = self.headers;
        if self.version != Version::HTTP_2 {
            let host = mock.address().to_string();
            request.headers_mut().insert(http::header::HOST, host.parse().unwrap());
        }
        request
    }
}

/// A TLS connection to the mock by one of its names.
pub(super) async fn connect(
    mock: &MockPigello,
    roots: RootCertStore,
    name: &str,
    alpn: &[&[u8]],
) -> Result<TlsStream<TcpStream>, BoxError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(mock.address()).await?;
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

async fn send<S>(
    stream: S,
    version: Version,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

/// The next data of a body.
pub(super) async fn next_data(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    body.frame().await.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}
