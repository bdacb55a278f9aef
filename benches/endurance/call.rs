//! Calls that callers make, and one caller with its connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use uuid::Uuid;

/// An operation whose answers are never stored.
pub const LIST: &str = "/accounts/users/customer/tenant/list/";

/// An operation whose answers are stored for a minute, of object number `n`.
pub fn subtenant(n: u64) -> String {
    format!("/accounts/users/customer/subtenant/00000000-0000-4000-8000-{n:012x}/")
}

/// A whole answer, as far as the bench looks at it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The call's `X-Request-Id`.
    pub id: Option<u128>,
    /// The set that the upstream saw when it made this answer: `a.17`.
    pub set: Option<String>,
    /// `Cache-Status`.
    pub cache: Option<HeaderValue>,
    pub body: Bytes,
}

impl Answer {
    /// Whether it came from the gateway's memory.
    pub fn is_hit(&self) -> bool {
        self.cache_status().contains("; hit")
    }

    /// `Cache-Status`; empty if there is none.
    pub fn cache_status(&self) -> &str {
        self.cache.as_ref().and_then(|cache| cache.to_str().ok()).unwrap_or_default()
    }
}

/// One caller, who keeps a connection as long as it can.
#[derive(Debug)]
pub struct Caller {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// For the admin listener.
    token: Option<&'static str>,
    /// The profile of its calls.
    profile: Option<HeaderValue>,
}

impl Caller {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None, token: None, profile: None }
    }

    /// One who asks the admin listener.
    pub fn of_admin(address: SocketAddr, token: &'static str) -> Self {
        Self { token: Some(token), ..Self::new(address) }
    }

    /// Makes a `GET` call and reads the whole answer.
    pub async fn get(&mut self, target: &str) -> Result<Answer, Broken> {
        self.call(Method::GET, target, Bytes::new()).await
    }

    /// Makes a `GET` call for a profile, and reads the whole answer.
    pub async fn get_as(&mut self, target: &str, profile: &str) -> Result<Answer, Broken> {
        self.profile = HeaderValue::from_bytes(profile.as_bytes()).ok();
        self.call(Method::GET, target, Bytes::new()).await
    }

    /// Makes a call and reads the whole answer.
    pub async fn call(
        &mut self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Answer, Broken> {
        let response = self.head(method, target, body).await?;
        let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let id = id.and_then(|id| Uuid::parse_str(id).ok()).map(|id| id.as_u128());
        let set = response.headers().get("x-set").and_then(|set| set.to_str().ok());
        let (set, status) = (set.map(str::to_owned), response.status().as_u16());
        let cache = response.headers().get("cache-status").cloned();
        let body = read(response.into_body()).await.map_err(|error| self.broken(error))?;
        Ok(Answer { status, id, set, cache, body })
    }

    /// Makes a call and returns once the answer's head is there. Dropping the answer leaves it.
    pub async fn head(
        &mut self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<http::Response<Incoming>, Broken> {
        let request = Request::builder().method(method).uri(target).header("host", "localhost");
        let mut request = request.body(Full::new(body)).unwrap();
        if let Some(token) = self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            request.headers_mut().insert("authorization", value);
        }
        if let Some(profile) = &self.profile {
            request.headers_mut().insert("pigello-gateway-profile", profile.clone());
        }
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.connect().await?;
        }
        let sender = self.sender.as_mut().unwrap();
        sender.ready().await.map_err(Broken::Exchange)?;
        let sent = sender.send_request(request).await;
        sent.map_err(|error| self.broken(error))
    }

    /// Closes the connection.
    pub fn leave(&mut self) {
        self.sender = None;
    }

    async fn connect(&mut self) -> Result<(), Broken> {
        let stream = TcpStream::connect(self.address).await.map_err(Broken::Connect)?;
        stream.set_nodelay(true).map_err(Broken::Connect)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Broken::Exchange)?;
        tokio::spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    fn broken(&mut self, error: hyper::Error) -> Broken {
        self.sender = None;
        Broken::Exchange(error)
    }
}

/// A call that got no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the connection broke off")]
    Exchange(#[source] hyper::Error),
}

/// Reads a body, which the bench's own upstream sent and so is of bounded size.
async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.is_empty() && http_body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}
