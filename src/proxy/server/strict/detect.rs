//! The first bytes of a connection, read before hyper is given it: they tell HTTP/2 from HTTP/1.1.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Place, StrictReader};

/// The protocol of a connection, once it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Spoken {
    Http1,
    Http2,
}

impl<S: AsyncRead + Unpin> StrictReader<S> {
    /// Which protocol is spoken: what was agreed on, or what the first bytes say, which are held until
    /// they are a message.
    pub(in super::super) async fn protocol(&mut self) -> io::Result<Spoken> {
        poll_fn(|cx| self.poll_opening(cx)).await?;
        Ok(if matches!(self.place, Place::Http2(_)) { Spoken::Http2 } else { Spoken::Http1 })
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.place, Place::Opening) && self.cleared == 0 {
            // Not into `held`: a connection that says nothing takes no memory for it.
            let mut scratch = [MaybeUninit::uninit(); FIRST_READ];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                // hyper finds the end as well.
                break;
            }
            self.held.extend_from_slice(buffer.filled());
            self.look_at_held()?;
        }
        Poll::Ready(Ok(()))
    }
}

/// As much as nearly every first request has.
const FIRST_READ: usize = 2048;
