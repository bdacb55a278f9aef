//! Closes a connection in stages.

use std::{future::poll_fn, io, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Http1, timer::Wait};
use crate::proxy::server::{path::Path, transport::Transport};

impl<P: Path, S: Transport> Http1<'_, P, S> {
    /// Closes the connection so that the last answer arrives (RFC 9112 §9.6).
    ///
    /// A socket that is closed with unread bytes is reset, and the reset can overtake the answer. So if
    /// the caller may still be sending, its bytes are read for a while after the end is signalled.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.write(&mut Bytes::new()).await?;
        let may_send = {
            let mut wire = self.wire.lock();
            let may_send = !wire.is_complete() || !wire.read.is_empty();
            wire.take_back();
            may_send
        };
        if !may_send && !S::HAS_END {
            // The stream is dropped next, which saves a system call.
            return Ok(());
        }
        poll_fn(|cx| self.wire.lock().poll_shutdown(cx)).await?;
        if !may_send {
            return Ok(());
        }
        let (mut discarded, ends) = (0_u64, Instant::now() + CLOSE);
        poll_fn(|cx| {
            while let Poll::Ready(read) = self.wire.lock().poll_discard(cx) {
                match read {
                    Ok(1..) if Instant::now() >= ends => return Poll::Ready(()),
                    Ok(length @ 1..) => {
                        discarded = discarded.saturating_add(length as u64);
                    }
                    Ok(0) | Err(_) => return Poll::Ready(()),
                }
            }
            self.timer.poll(Wait::Close(discarded), CLOSE_SILENT, cx)
        })
        .await;
        Ok(())
    }
}

/// How long the bytes of a caller are read after the last answer, and how long the caller may be silent.
pub(in crate::proxy::server) const CLOSE: Duration = Duration::from_secs(30);
pub(in crate::proxy::server) const CLOSE_SILENT: Duration = Duration::from_secs(5);
