//! Callers: an HTTP client over TCP or a Unix socket, and one that sends raw bytes.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// Someone who calls the gateway; each call takes a connection of its own.
#[derive(Clone, Debug)]
pub struct Caller {
    place: Place,
    http2: bool,
    token: Option<String>,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// A header as text, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The label of the problem that the gateway answered with.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert!(self.header("proxy-status").starts_with("pigello-gateway; error="), "{self:?}");
        problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }
}

impl Caller {
    pub fn tcp(address: SocketAddr) -> Self {
        Self { place: Place::Tcp(address), http2: false, token: None }
    }

    pub fn unix(path: PathBuf) -> Self {
        Self { place: Place::Unix(path), http2: false, token: None }
    }

    /// The same caller, over HTTP/2 with prior knowledge.
    pub fn http2(&self) -> Self {
        Self { http2: true, ..self.clone() }
    }

    /// The same caller, with this bearer token.
    pub fn bearing(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The TCP address.
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(_) => panic!("a Unix socket has no TCP address"),
        }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.call(Method::GET, target, &[], Bytes::new()).await
    }

    pub async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(Method::GET, target, headers, Bytes::new()).await
    }

    /// Sends JSON.
    pub async fn send(&self, method: Method, target: &str, body: impl Into<Bytes>) -> Answer {
        self.call(method, target, &[("content-type", "application/json")], body.into()).await
    }

    /// One call on a connection of its own.
    pub async fn call(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let uri = if self.http2 { format!("http://localhost{target}") } else { target.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        if !self.http2 && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", "localhost");
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Full::new(body)).unwrap()).await.expect("the gateway answers")
    }

    /// One request on a connection of its own; an error is a connection that broke off.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        self.stream(request).await
    }

    /// The same, with any body.
    pub async fn stream<B>(&self, request: Request<B>) -> Result<Answer, hyper::Error>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        match &self.place {
            Place::Tcp(address) => {
                self.exchange(TcpStream::connect(address).await.unwrap(), request).await
            }
            Place::Unix(path) => {
                self.exchange(UnixStream::connect(path).await.unwrap(), request).await
            }
        }
    }

    async fn exchange<S, B>(&self, stream: S, request: Request<B>) -> Result<Answer, hyper::Error>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let response = if self.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        };
        let (parts, body) = response.into_parts();
        #[expect(clippy::disallowed_methods, reason = "the tests know how long the answers are")]
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

/// Sends bytes as they are and returns everything that comes back until the connection closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    String::from_utf8_lossy(&raw_bytes(address, bytes).await).into_owned()
}

/// The same, as bytes.
pub async fn raw_bytes(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as a close.
    drop(stream.read_to_end(&mut answer).await);
    answer
}
