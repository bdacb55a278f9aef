//! One call to a vault's HTTP API.
//!
//! Redirects are never followed: the clients that do send the token along to wherever they are
//! pointed. Bodies are capped, read into wiped buffers, and every call has its time.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time;
use zeroize::Zeroizing;

use super::{VaultError, VaultSettings};
use crate::{credentials::tls::client_tls, domain::Span, secret::SecretBuffer};

/// No answer that is of use here comes near it.
const MAX_BODY: usize = 1024 * 1024;
/// A healthy vault answers in milliseconds, one that elects a leader within a few seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A login and a read share a connection; two reads, half a minute apart, do not. A connection
/// that lay idle for long is a connection that may be dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A vault that can be called.
pub(super) struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: String,
    namespace: Option<HeaderValue>,
}

/// What to call.
pub(super) struct Call<'a> {
    /// What it is, for messages.
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// Below `/v1/`, without outer slashes.
    pub(super) path: &'a str,
    pub(super) token: Option<&'a HeaderValue>,
    pub(super) body: Option<SecretBuffer>,
}

/// What came back: a success, or a refusal that the caller understands.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: SecretBuffer,
}

impl Client {
    /// Reads the certificate files, and opens no connection yet.
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let origin = settings.address()?;
        let address = origin.to_string();
        if !origin.is_tls() && !origin.is_loopback() {
            return Err(VaultError::Plaintext { address });
        }
        let tls = client_tls(settings.ca_file().as_deref(), settings.client_certificate.as_ref())?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .retry_canceled_requests(false)
            .build(connector);
        let namespace = settings
            .namespace()
            .as_deref()
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|source| VaultError::Namespace { source: source.into() })?;
        Ok(Self { http, address, namespace })
    }

    /// Calls, and sorts out what says nothing about the call itself: a vault that is away, sealed,
    /// busy or elsewhere.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, VaultError> {
        let name = call.name;
        let exchange = async {
            let response = self.http.request(self.request(call)?).await.map_err(|source| {
                VaultError::Unreachable { address: self.address.clone(), source: source.into() }
            })?;
            let status = response.status();
            if status.is_redirection() {
                return Err(VaultError::Redirect { status });
            }
            if status.is_server_error() || matches!(status.as_u16(), 429 | 472..=474) {
                return Err(VaultError::Unavailable { status });
            }
            let body = self.read(response.into_body(), name).await?;
            Ok(Answer { status, body })
        };
        let Ok(outcome) = time::timeout(CALL_TIMEOUT, exchange).await else {
            let (address, limit) = (self.address.clone(), Span(CALL_TIMEOUT));
            return Err(VaultError::Timeout { address, limit });
        };
        outcome
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, VaultError> {
        let uri = format!("{}/v1/{}", self.address, escape(call.path));
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(header::ACCEPT, "application/json")
            // An agent or a proxy may want it, so that a page in a browser cannot call it.
            .header("x-vault-request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = call.token {
            // Sensitive already: HPACK never indexes it, and Debug does not print it.
            request = request.header("x-vault-token", token);
        }
        let body = match call.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from_owner(body)
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body)).map_err(|source| VaultError::Unreachable {
            address: self.address.clone(),
            source: source.into(),
        })
    }

    async fn read(
        &self,
        mut body: Incoming,
        call: &'static str,
    ) -> Result<SecretBuffer, VaultError> {
        let expected = body.size_hint().exact();
        let expected = expected.map_or(Ok(MAX_BODY), usize::try_from).unwrap_or(usize::MAX);
        if expected > MAX_BODY {
            return Err(VaultError::TooLarge { call });
        }
        // Never grown, because growing would leave copies behind.
        let mut buffer = Zeroizing::new(Vec::with_capacity(expected));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| VaultError::Unreachable {
                address: self.address.clone(),
                source: source.into(),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if buffer.len() + data.len() > MAX_BODY {
                return Err(VaultError::TooLarge { call });
            }
            buffer.extend_from_slice(&data);
        }
        Ok(buffer)
    }
}

/// Escapes what has a meaning in a URL; slashes stay.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            _ => {
                escaped.push('%');
                for digit in [byte >> 4, byte & 0xf] {
                    escaped
                        .extend(char::from_digit(digit.into(), 16).map(|d| d.to_ascii_uppercase()));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_and_keeps_its_slashes() {
        assert_eq!(
            escape("secret/data/pigello/a b?c#d%e"),
            "secret/data/pigello/a%20b%3Fc%23d%25e"
        );
        assert_eq!(escape("ställe"), "st%C3%A4lle");
    }
}
