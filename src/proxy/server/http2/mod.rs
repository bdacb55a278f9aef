//! HTTP/2 of a listener (RFC 9113).

pub mod frame_budget;

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use self::frame_budget::FrameBudget;
use super::{Path, Settings, transport::Transport};
use crate::{
    body::Body,
    proxy::{
        batched_io::BatchedWriter,
        call::{Arrival, Connection, SharedService},
    },
};

/// Serves a connection until it ends. `read` was read from it.
pub(super) async fn serve<P: Path, S: Transport>(
    stream: S,
    read: Bytes,
    settings: &Settings,
    path: &SharedService<P>,
    connection: Arc<Connection>,
) -> hyper::Result<()> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.concurrent_streams)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(settings.timeouts.idle));
    let budget = FrameBudget::new(Instant::now(), PREFACE);
    let io = Http2Io { stream: BatchedWriter::new(stream), read, budget };
    let known = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        known.begin_call();
        let request = Ok(request.map(Body::from));
        let call = path.call(Arrival { request, connection: Arc::clone(&known), interim: None });
        async move {
            Ok::<Response<P::Body>, Infallible>(call.await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut serving = std::pin::pin!(http2.serve_connection(TokioIo::new(io), service));
    let mut is_closing = false;
    std::future::poll_fn(|cx| {
        if connection.is_closing() && !std::mem::replace(&mut is_closing, true) {
            serving.as_mut().graceful_shutdown();
        }
        serving.as_mut().poll(cx)
    })
    .await
}

/// A stream whose frames are counted.
struct Http2Io<S> {
    stream: BatchedWriter<S>,
    read: Bytes,
    budget: FrameBudget,
}

impl<S: Transport> AsyncRead for Http2Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.read.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        } else {
            let length = this.read.len().min(buffer.remaining());
            buffer.put_slice(this.read.get(..length).unwrap_or_default());
            this.read.advance(length);
        }
        let frames = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(this.budget.advance(frames, Instant::now).map_err(io::Error::other))
    }
}

impl<S: Transport> AsyncWrite for Http2Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const PREFACE: usize = 24;
