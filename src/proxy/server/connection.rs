//! Serves one connection of a caller over HTTP/1.1 or HTTP/2, until it ends or the gateway drains.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{
    Drain, OnRefused, Path, Settings, http1, http2,
    socket::CallerStream,
    tls::{AcceptedTls, HandshakeError, Protocol, ServerTls},
    transport::Transport,
};
use crate::{
    domain::Peer,
    error::{BoxError, Chain, Kind},
    proxy::{
        batched_io::BatchedWriter,
        call::{Connection, RefusedConnection, SharedService, Standing},
    },
};

/// Serves the connections of one listener on one worker.
pub(super) struct Server<P> {
    /// All connections share it, because no stage has state for one of them.
    path: SharedService<P>,
    settings: Settings,
    tls: Option<Arc<ServerTls>>,
    refused: OnRefused,
    drain: Drain,
}

impl<P: Path> Server<P> {
    pub(super) fn new(
        path: P,
        settings: Settings,
        tls: Option<Arc<ServerTls>>,
        refused: OnRefused,
        drain: Drain,
    ) -> Self {
        Self { path: SharedService::new(path), settings, tls, refused, drain }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: CallerStream,
        peer: Peer,
        standing: Standing,
    ) {
        match &self.tls {
            None => {
                let connection = Connection::with_standing(peer, Vec::new(), Some(standing));
                let drained = Cancelled::new(&self.drain.stop);
                self.run(stream, connection, Protocol::Unknown, drained).await;
            }
            // Boxed, like everything that only some connections need: each connection has the size of
            // its largest state.
            Some(tls) => Box::pin(self.handshake(stream, peer, standing, tls)).await,
        }
    }

    /// Does the TLS handshake first, within the time limit of a head.
    async fn handshake(
        &self,
        stream: CallerStream,
        peer: Peer,
        standing: Standing,
        tls: &ServerTls,
    ) {
        let limit = self.settings.timeouts.head;
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(limit, tls.accept(stream)) => accepted,
            () = self.drain.cut.cancelled() => return,
        };
        match accepted {
            Ok(Ok(AcceptedTls { stream, admission, certificate, protocol })) => {
                let connection = Connection::with_standing(peer, certificate, Some(standing));
                let ends = async {
                    tokio::select! {
                        () = Cancelled::new(&self.drain.stop) => {}
                        () = admission.ended() => {}
                    }
                };
                Box::pin(self.run(stream, connection, protocol, ends)).await;
            }
            Ok(Err(HandshakeError::Certificate(refused))) => {
                tracing::info!(%peer, %refused, "a caller's certificate was refused");
                let (kind, certificate) = (Kind::CertificateRefused, Some(refused));
                (self.refused)(RefusedConnection { kind, peer, certificate });
            }
            Ok(Err(HandshakeError::Other(error))) => {
                tracing::debug!(%peer, error = %Chain(&error), "a handshake failed");
            }
            Err(_) => tracing::debug!(%peer, "a handshake took too long"),
        }
    }

    /// Serves HTTP until the connection ends. After `ends` it serves the calls in flight and no others.
    async fn run<S: Transport>(
        &self,
        stream: S,
        connection: Arc<Connection>,
        protocol: Protocol,
        ends: impl Future<Output = ()>,
    ) {
        let peer = connection.peer();
        let mut serving = pin!(self.http(stream, Arc::clone(&connection), protocol));
        let ended = tokio::select! {
            biased;
            ended = serving.as_mut() => ended,
            () = ends => {
                connection.begin_closing();
                tokio::select! {
                    ended = serving => ended,
                    () = self.drain.cut.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = %Chain(&*error), "a connection broke off");
        }
    }

    async fn http<S: Transport>(
        &self,
        stream: S,
        connection: Arc<Connection>,
        protocol: Protocol,
    ) -> Result<(), BoxError> {
        let (settings, path) = (&self.settings, &self.path);
        let (stream, read) = match protocol {
            Protocol::Http2 => (stream, Bytes::new()),
            Protocol::Http1 | Protocol::Unknown => {
                let known = Arc::clone(&connection);
                match http1::serve(stream, settings, &self.drain, path, known).await? {
                    Some(http2) => http2,
                    None => return Ok(()),
                }
            }
        };
        let stream = BatchedWriter::new(stream);
        let refused = &self.refused;
        Box::pin(http2::serve(stream, read, settings, path, connection, refused)).await?;
        Ok(())
    }
}

impl<P> fmt::Debug for Server<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

pin_project! {
    /// Waits for a token. It is polled with all work of its connection, and a check of the token costs a
    /// fifth of a poll of the waiting future. It must stay in one task, whose waker is registered by the
    /// first poll.
    struct Cancelled<'t> {
        token: &'t CancellationToken,
        #[pin]
        wait: WaitForCancellationFuture<'t>,
        is_waiting: bool,
    }
}

impl<'t> Cancelled<'t> {
    fn new(token: &'t CancellationToken) -> Self {
        Self { token, wait: token.cancelled(), is_waiting: false }
    }
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if *this.is_waiting && !this.token.is_cancelled() {
            return Poll::Pending;
        }
        *this.is_waiting = true;
        this.wait.poll(cx)
    }
}
