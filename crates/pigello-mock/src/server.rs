//! Sockets, TLS and HTTP: HTTP/2 or HTTP/1.1 over TLS, as ALPN negotiates, HTTP/1.1 without TLS.

use std::{
    convert::Infallible, error::Error as StdError, panic::AssertUnwindSafe, sync::Arc,
    time::Duration,
};

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

use crate::{
    body,
    connection::{Connection, LimitedStream, WriteLimit},
    error::MockError,
    handler, response,
    state::MockState,
};

/// Accepts connections until `stop` is cancelled, and then drops them all, as a crash would.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<MockState>,
    stop: CancellationToken,
) -> Result<(), MockError> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => record_panic(&state, ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let number = state.next_connection();
                    let connection = connection(stream, tls.clone(), Arc::clone(&state), number);
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
        record_panic(&state, ended);
    }
    match state.first_panic() {
        None => Ok(()),
        Some(message) => Err(MockError::Panicked(message)),
    }
}

fn record_panic(state: &MockState, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(payload) = error.try_into_panic()
    {
        state.record_panic(&*payload);
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    state: Arc<MockState>,
    number: u64,
) {
    // The mock writes a response at once, so Nagle's algorithm would only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "the mock could not set TCP_NODELAY");
    }
    let Some(tls) = tls else {
        let connection = Connection { number, sni: None, write_limit: WriteLimit::none() };
        return http(stream, connection, false, state).await;
    };
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let sni = session.server_name().map(Arc::from);
            let speaks_http2 = session.alpn_protocol() == Some(b"h2");
            let connection = Connection { number, sni, write_limit: WriteLimit::none() };
            http(stream, connection, speaks_http2, state).await;
        }
        Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake with the mock failed"),
        Err(_) => tracing::debug!("a TLS handshake with the mock took too long"),
    }
}

async fn http<S>(stream: S, connection: Connection, speaks_http2: bool, state: Arc<MockState>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(LimitedStream::new(stream, Arc::clone(&connection.write_limit)));
    let connection = Arc::new(connection);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (state, connection) = (Arc::clone(&state), Arc::clone(&connection));
        async move {
            // hyper runs an HTTP/2 request in a task of its own and would lose its panic.
            let response = AssertUnwindSafe(handler::handle(&state, &connection, request));
            let response = response.catch_unwind().await.unwrap_or_else(|payload| {
                state.record_panic(&*payload);
                response::error(StatusCode::INTERNAL_SERVER_ERROR, "The mock failed.")
                    .map(body::full)
            });
            Ok::<_, Infallible>(response)
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
        let error: &(dyn StdError + 'static) = &error;
        tracing::debug!(error, "a connection to the mock broke off");
    }
}

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after a failed `accept`, for the case that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
