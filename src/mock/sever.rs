//! A stream that can be cut off after so many bytes, whatever the HTTP library had in mind.

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

/// Decides when a connection is cut.
#[derive(Debug)]
pub(super) struct Cut(AtomicUsize);

impl Cut {
    pub(super) fn never() -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(NEVER)))
    }

    /// Lets so many more bytes out, and then fails every write.
    pub(super) fn after(&self, bytes: usize) {
        self.0.store(bytes.min(NEVER - 1), Ordering::Release);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    fn used(&self, bytes: usize) {
        let left = self.left();
        if left != NEVER {
            self.0.store(left.saturating_sub(bytes), Ordering::Release);
        }
    }
}

const NEVER: usize = usize::MAX;

/// A stream below the HTTP library and above TLS, so that what is counted is HTTP.
#[derive(Debug)]
pub(super) struct Severable<S> {
    stream: S,
    cut: Arc<Cut>,
}

impl<S> Severable<S> {
    pub(super) fn new(stream: S, cut: Arc<Cut>) -> Self {
        Self { stream, cut }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Severable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Severable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.cut.left();
        let bytes = bytes.get(..left).unwrap_or(bytes);
        if left == 0 {
            // What was let out must have left before the connection is gone.
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.cut.used(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.left() != NEVER {
            // No TLS `close_notify`: a cut must not look like an orderly end.
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
    async fn exactly_so_many_bytes_come_out() {
        let (near, mut far) = tokio::io::duplex(64);
        let cut = Cut::never();
        let mut stream = Severable::new(near, Arc::clone(&cut));
        stream.write_all(b"before ").await.unwrap();
        cut.after(3);
        let error = stream.write_all(b"behind").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        drop(stream);
        let mut arrived = String::new();
        far.read_to_string(&mut arrived).await.unwrap();
        assert_eq!(arrived, "before beh");
    }
}
