//! Detects HTTP/2 by the first bytes of a connection, before hyper gets it.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::{ParserState, StrictReader};

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum HttpVersion {
    Http1,
    Http2,
}

impl<S: AsyncRead + Unpin> StrictReader<S> {
    /// The version from ALPN or from the first bytes. The bytes are held until they are a message.
    pub(in super::super) async fn protocol(&mut self) -> io::Result<HttpVersion> {
        poll_fn(|cx| self.poll_opening(cx)).await?;
        Ok(if matches!(self.state, ParserState::Http2(_)) {
            HttpVersion::Http2
        } else {
            HttpVersion::Http1
        })
    }

    /// The stream, and the bytes that were read from it and not passed on.
    pub(in super::super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.held.freeze())
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.state, ParserState::Opening) && self.cleared == 0 {
            // Not into `held`, because a silent connection must take no memory.
            let mut scratch = [MaybeUninit::uninit(); FIRST_READ];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                // hyper will find the end.
                break;
            }
            self.held.extend_from_slice(buffer.filled());
            self.parse_held()?;
        }
        Poll::Ready(Ok(()))
    }
}

/// More bytes than most first requests have.
const FIRST_READ: usize = 2048;
