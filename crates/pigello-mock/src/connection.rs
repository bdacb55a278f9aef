//! One connection to the mock, and the stream below HTTP that a fault can cut.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The connection that a request arrived on.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Connections are numbered from 1.
    pub(crate) number: u64,
    /// The server name of the TLS handshake.
    pub(crate) sni: Option<Arc<str>>,
    pub(crate) write_limit: Arc<WriteLimit>,
}

/// How many more bytes a connection may write before it breaks.
#[derive(Debug)]
pub(crate) struct WriteLimit(AtomicUsize);

impl WriteLimit {
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(UNLIMITED)))
    }

    /// Writes that many more bytes, and then fails.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes.min(UNLIMITED - 1), Ordering::Release);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn use_up(&self, bytes: usize) {
        let left = self.left();
        if left != UNLIMITED {
            self.0.store(left.saturating_sub(bytes), Ordering::Release);
        }
    }
}

const UNLIMITED: usize = usize::MAX;

/// A stream with a [`WriteLimit`]. It stands between HTTP and TLS, so it counts bytes of HTTP.
#[derive(Debug)]
pub(crate) struct LimitedStream<S> {
    stream: S,
    limit: Arc<WriteLimit>,
}

impl<S> LimitedStream<S> {
    pub(crate) fn new(stream: S, limit: Arc<WriteLimit>) -> Self {
        Self { stream, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.limit.left();
        let bytes = bytes.get(..left).unwrap_or(bytes);
        if left == 0 {
            // The client must get the bytes within the limit before the connection breaks.
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.limit.use_up(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.limit.left() != UNLIMITED {
            // No TLS `close_notify`: a broken connection must not look like an orderly close.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_stream_writes_up_to_its_limit() {
        let (near, mut far) = tokio::io::duplex(64);
        let limit = WriteLimit::none();
        let mut stream = LimitedStream::new(near, Arc::clone(&limit));
        stream.write_all(b"before ").await.unwrap();
        limit.set(3);
        let error = stream.write_all(b"behind").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(stream);
        let mut arrived = String::new();
        far.read_to_string(&mut arrived).await.unwrap();
        assert_eq!(arrived, "before beh");
    }
}
