//! Writes pass unchanged, and a close lingers where the last response could be lost.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{ParserState, StrictReader};

/// How the end of a stream is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CloseMode {
    /// Closing the socket is the only signal.
    Drop,
    /// The stream has a signal of its own, as TLS has.
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StrictReader<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes the connection so that the last response arrives.
    ///
    /// A socket that is closed with unread bytes is reset, and the reset can overtake the response (RFC
    /// 9112 §9.6). So if the caller may still be sending, its bytes are read for a while.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let is_done = matches!(
                this.state,
                ParserState::Opening | ParserState::Head | ParserState::Http2(_)
            );
            if is_done && this.close_mode == CloseMode::Drop {
                // hyper drops the stream next, which saves a system call.
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if is_done {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this
            .linger
            .get_or_insert_with(|| Linger { left: LINGER_BYTES, timer: Box::pin(sleep(LINGER)) });
        let mut scratch = [0; 4096];
        while linger.left > 0 && linger.timer.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(buffer.filled().len());
                }
                // No more bytes come.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The rest of a lingering close.
pub(super) struct Linger {
    left: usize,
    timer: Pin<Box<Sleep>>,
}

/// How long a caller's bytes are read after the last response, and how many.
pub(super) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;
