//! What a worker's connections write in one turn leaves together at its end.
//!
//! A worker sees which connections have something for it and works them off, one after the other: a
//! turn. If each answer left at once, each would wake its caller, who sleeps again by the time the
//! next one comes, and each connection's work would stand between the kernel's work for two others.
//! So what is written is kept until everything that was ready has had its turn, and what many
//! connections have to say is handed to the kernel in one go. With a single connection at work
//! nothing waits: the turn ends when it has written. Requests to the upstream leave the same way.
//!
//! Only what is small is kept, and only on a thread that [`flush_loop`]; anywhere else everything is
//! written at once.

use std::{
    cell::RefCell,
    convert::Infallible,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::peer_probe::{PeerProbe, Socket};

mod peer_probe;

/// Ends this thread's turns: to be run beside its connections, as a task of its own, on a runtime
/// that polls its tasks in the order in which they were woken. What is kept when it is dropped
/// leaves then.
pub async fn flush_loop() -> Infallible {
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            TURN.with_borrow_mut(|turn| turn.end = None);
            end();
        }
    }
    let _last = Last;
    std::future::poll_fn(|cx| {
        TURN.with_borrow_mut(|turn| turn.end = Some(cx.waker().clone()));
        end();
        Poll::Pending
    })
    .await
}

thread_local! {
    static TURN: RefCell<Turn> = const {
        RefCell::new(Turn { end: None, keeping: Vec::new(), spare: Vec::new() })
    };
}

/// One thread's turn.
struct Turn {
    /// Wakes the task that ends it; `None` where there is none.
    end: Option<Waker>,
    /// The connections that keep something.
    keeping: Vec<Arc<dyn Keeping>>,
    /// Memory for what the next ones keep, wiped.
    spare: Vec<Vec<u8>>,
}

/// A connection that keeps what is to leave at the end of the turn.
trait Keeping {
    fn leave(&self);
}

/// Has everything leave that is kept on this thread.
fn end() {
    let mut keeping = TURN.with_borrow_mut(|turn| std::mem::take(&mut turn.keeping));
    for connection in keeping.drain(..) {
        connection.leave();
    }
    // Nothing is kept meanwhile: to leave polls a socket and nothing else.
    TURN.with_borrow_mut(|turn| turn.keeping = keeping);
}

/// A stream whose small writes leave at the end of the turn.
///
/// To flush it does not end the turn. It waits only for bytes that the peer did not take then, and
/// tells of errors that came up then; to shut it down hands over what is kept first.
pub struct BatchedWriter<S> {
    kept: Arc<Mutex<Kept<S>>>,
    /// Whether nothing was written since everything had left: then there is nothing to look after.
    is_flushed: bool,
}

struct Kept<S> {
    stream: S,
    /// What has not left yet, from `sent` on.
    bytes: Vec<u8>,
    sent: usize,
    /// Whether it leaves at the end of the turn. What is left of it afterwards leaves when the peer
    /// takes it.
    is_due: bool,
    /// The task that wrote it.
    writer: Option<Waker>,
    /// Why it could not leave.
    failed: Option<io::Error>,
}

impl<S> BatchedWriter<S> {
    /// Keeps nothing yet.
    pub fn new(stream: S) -> Self {
        let (bytes, sent, is_due, writer, failed) = (Vec::new(), 0, false, None, None);
        let kept = Mutex::new(Kept { stream, bytes, sent, is_due, writer, failed });
        Self { kept: Arc::new(kept), is_flushed: true }
    }
}

impl<S> fmt::Debug for BatchedWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnIo")
    }
}

impl<S: AsyncWrite + Unpin> Kept<S> {
    /// Hands over what is kept.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.sent += taken,
            }
        }
        self.sent = 0;
        let mut spare = std::mem::take(&mut self.bytes);
        // What was kept may be a request with a secret in it, and may lie here for long.
        spare.fill(0);
        TURN.with_borrow_mut(|turn| {
            if turn.spare.len() < MOST_CONNECTIONS {
                turn.spare.push(spare);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin + Send + 'static> BatchedWriter<S> {
    fn poll_keep(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        let kept = &mut *self.kept.lock();
        let length = data.iter().map(|part| part.len()).sum();
        if !kept.is_due || kept.bytes.len() + length > MOST_BYTES {
            // Bytes leave in the order in which they were written.
            ready!(kept.poll_leave(cx))?;
        }
        if length > MOST_BYTES || !(kept.is_due || self.join(kept, cx.waker())) {
            return Pin::new(&mut kept.stream).poll_write_vectored(cx, data);
        }
        for part in data {
            kept.bytes.extend_from_slice(part);
        }
        Poll::Ready(Ok(length))
    }

    /// Has what is going to be kept leave at the end of the turn, if somebody ends it.
    fn join(&self, kept: &mut Kept<S>, writer: &Waker) -> bool {
        let Some(is_full) = TURN
            .with_borrow(|turn| turn.end.as_ref().map(|_| turn.keeping.len() == MOST_CONNECTIONS))
        else {
            return false;
        };
        if is_full {
            end();
        }
        TURN.with_borrow_mut(|turn| {
            if turn.keeping.is_empty()
                && let Some(end) = &turn.end
            {
                end.wake_by_ref();
            }
            let this: Arc<Mutex<Kept<S>>> = Arc::clone(&self.kept);
            turn.keeping.push(this);
            kept.bytes = turn.spare.pop().unwrap_or_default();
            kept.bytes.clear();
        });
        kept.is_due = true;
        match &mut kept.writer {
            Some(known) => known.clone_from(writer),
            None => kept.writer = Some(writer.clone()),
        }
        true
    }
}

impl<S: AsyncWrite + Unpin> Keeping for Mutex<Kept<S>> {
    fn leave(&self) {
        let kept = &mut *self.lock();
        kept.is_due = false;
        let Some(writer) = kept.writer.take() else { return };
        if let Poll::Ready(Err(error)) = kept.poll_leave(&mut Context::from_waker(&writer)) {
            kept.failed = Some(error);
            writer.wake_by_ref();
        }
        kept.writer = Some(writer);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BatchedWriter<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.kept.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin + Send + 'static> AsyncWrite for BatchedWriter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_keep(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_keep(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_flushed {
            return Poll::Ready(Ok(()));
        }
        let kept = &mut *this.kept.lock();
        if kept.is_due {
            return Poll::Ready(Ok(()));
        }
        ready!(kept.poll_leave(cx))?;
        ready!(Pin::new(&mut kept.stream).poll_flush(cx))?;
        this.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let kept = &mut *self.kept.lock();
        ready!(kept.poll_leave(cx))?;
        Pin::new(&mut kept.stream).poll_shutdown(cx)
    }
}

/// What one connection keeps at most, in bytes. Copying more costs what handing it over costs.
const MOST_BYTES: usize = 16 * 1024;
/// So many connections keep something at most: with more, the first ones would wait for the last.
const MOST_CONNECTIONS: usize = 32;

#[cfg(test)]
mod tests;
