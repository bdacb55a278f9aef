//! Sockets, TLS and HTTP of the mock: HTTP/2 or HTTP/1.1 over TLS as ALPN has it, HTTP/1.1 without.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use http::StatusCode;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::error::Chain;

use super::{
    MockError, Shared, reply, routes,
    sever::{Cut, Severable},
};

/// What a request's handling knows of the connection it came on.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) sni: Option<Arc<str>>,
    pub(super) cut: Arc<Cut>,
}

/// Accepts connections until it is told to stop, and then drops them all, as a crash would.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> Result<(), MockError> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => note_panic(&shared, ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let number = shared.next_connection();
                    let connection = connection(stream, tls.clone(), Arc::clone(&shared), number);
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the mock could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.abort_all();
    while let Some(ended) = connections.join_next().await {
        note_panic(&shared, ended);
    }
    match shared.first_panic() {
        None => Ok(()),
        Some(message) => Err(MockError::Panicked(message)),
    }
}

fn note_panic(shared: &Shared, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(payload) = error.try_into_panic()
    {
        shared.panicked(&*payload);
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>, number: u64) {
    // An answer is small and complete: waiting for more to send only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "the mock could not set TCP_NODELAY");
    }
    let Some(tls) = tls else {
        let connection = Connection { number, sni: None, cut: Cut::never() };
        return http(stream, connection, false, shared).await;
    };
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let sni = session.server_name().map(Arc::from);
            let speaks_http2 = session.alpn_protocol() == Some(b"h2");
            let connection = Connection { number, sni, cut: Cut::never() };
            http(stream, connection, speaks_http2, shared).await;
        }
        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake with the mock failed"),
        Err(_) => tracing::debug!("a TLS handshake with the mock took too long"),
    }
}

async fn http<S>(stream: S, connection: Connection, speaks_http2: bool, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Severable::new(stream, Arc::clone(&connection.cut)));
    let connection = Arc::new(connection);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (shared, connection) = (Arc::clone(&shared), Arc::clone(&connection));
        async move {
            // In HTTP/2 a request runs in a task of its own, where a panic would be lost.
            let answer = AssertUnwindSafe(routes::answer(&shared, &connection, request));
            let answer = answer.catch_unwind().await.unwrap_or_else(|payload| {
                shared.panicked(&*payload);
                reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "The mock failed.")
            });
            Ok::<_, Infallible>(answer)
        }
    });
    let ended = if speaks_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        builder.serve_connection(io, service).await
    } else {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new());
        builder.serve_connection(io, service).await
    };
    if let Err(error) = ended {
        tracing::debug!(error = %Chain(&error), "a connection to the mock broke off");
    }
}

/// How long a client may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
