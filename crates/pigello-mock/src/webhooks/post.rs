//! One attempt at a delivery: a connection of its own, HTTP/1.1, and only the status of the answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::body::BoxError;

use super::webhook::Webhook;

/// Posts a body of JSON and returns the status of the answer.
pub(super) async fn post(webhook: &Webhook, body: Bytes) -> Result<StatusCode, BoxError> {
    timeout(webhook.timeout, attempt(webhook, body)).await?
}

async fn attempt(webhook: &Webhook, body: Bytes) -> Result<StatusCode, BoxError> {
    let url = &webhook.url;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(if webhook.tls.is_some() { 443 } else { 80 });
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let authority = url.authority().ok_or("the URL has no host")?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "pigello-mock")
        .body(Full::new(body))?;
    let stream = TcpStream::connect((host, port)).await?;
    match &webhook.tls {
        None => exchange(stream, request).await,
        Some(config) => {
            let name = ServerName::try_from(host.to_owned())?;
            let connector = TlsConnector::from(Arc::clone(config));
            exchange(connector.connect(name, stream).await?, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    Ok(sender.send_request(request).await?.status())
}
