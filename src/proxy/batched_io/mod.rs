//! Connections whose small writes leave together, once per scheduler pass.
//!
//! A worker polls the connections that are ready, one after another. If each response left at once, each
//! would wake its caller, which sleeps again before the next one comes, and the kernel's work for one
//! connection would interrupt the work for the next. So a small write is kept until all ready tasks have
//! run, and the writes of many connections go to the kernel together. A single busy connection does not
//! wait: the pass ends when it has written. Requests to the upstream leave the same way.
//!
//! A write is kept only on a thread that runs [`flush_loop`]. Elsewhere it leaves at once.

mod peer_probe;

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

pub use self::peer_probe::PeerProbe;

/// Flushes the pending writes of this thread at the end of each pass. It runs as a task of its own, on a
/// runtime that polls tasks in the order in which they were woken. When it is dropped, it flushes once
/// more.
pub async fn flush_loop() -> Infallible {
    struct LastFlush;
    impl Drop for LastFlush {
        fn drop(&mut self) {
            BATCH.with_borrow_mut(|batch| batch.flusher = None);
            flush_all();
        }
    }
    let _last_flush = LastFlush;
    std::future::poll_fn(|cx| {
        BATCH.with_borrow_mut(|batch| batch.flusher = Some(cx.waker().clone()));
        flush_all();
        Poll::Pending
    })
    .await
}

thread_local! {
    static BATCH: RefCell<WriteBatch> = const {
        RefCell::new(WriteBatch { flusher: None, pending: Vec::new(), spare: Vec::new() })
    };
}

/// The pending writes of one thread.
struct WriteBatch {
    /// Wakes [`flush_loop`]; `None` without one.
    flusher: Option<Waker>,
    /// The connections with a pending write.
    pending: Vec<Arc<dyn PendingWrite>>,
    /// Wiped buffers for further writes.
    spare: Vec<Vec<u8>>,
}

/// A connection with a pending write.
pub(in crate::proxy) trait PendingWrite {
    /// Writes as much as its peer takes.
    fn flush(&self);
}

/// Flushes a connection at the end of this thread's pass. Returns whether the thread has passes.
pub(in crate::proxy) fn flush_at_end_of_pass(connection: Arc<dyn PendingWrite>) -> bool {
    let Some(is_full) = BATCH.with_borrow(|batch| {
        batch.flusher.as_ref().map(|_| batch.pending.len() == MAX_CONNECTIONS)
    }) else {
        return false;
    };
    if is_full {
        flush_all();
    }
    BATCH.with_borrow_mut(|batch| {
        if batch.pending.is_empty()
            && let Some(flusher) = &batch.flusher
        {
            flusher.wake_by_ref();
        }
        batch.pending.push(connection);
    });
    true
}

/// Flushes all pending writes of this thread.
fn flush_all() {
    let mut pending = BATCH.with_borrow_mut(|batch| std::mem::take(&mut batch.pending));
    for connection in pending.drain(..) {
        connection.flush();
    }
    // No write is added meanwhile: a flush only polls a socket.
    BATCH.with_borrow_mut(|batch| batch.pending = pending);
}

/// A stream whose small writes leave at the end of the pass.
///
/// A flush does not end the pass. It waits only for bytes that the peer did not take at the last end, and
/// returns the error of that time. A shutdown writes the pending bytes first.
pub struct BatchedWriter<S> {
    shared: Arc<Mutex<SharedStream<S>>>,
    /// Whether nothing was written since the last complete flush.
    is_flushed: bool,
}

/// A stream and its pending bytes, shared with the batch.
struct SharedStream<S> {
    stream: S,
    /// The pending bytes, from `sent` on.
    bytes: Vec<u8>,
    sent: usize,
    /// Whether the bytes leave at the end of this pass. Bytes that the peer does not take then leave when
    /// it does.
    is_pending: bool,
    /// The task that wrote the bytes.
    writer: Option<Waker>,
    /// Why the bytes could not be written.
    error: Option<io::Error>,
}

impl<S> BatchedWriter<S> {
    /// A stream without pending bytes.
    pub fn new(stream: S) -> Self {
        let shared = SharedStream {
            stream,
            bytes: Vec::new(),
            sent: 0,
            is_pending: false,
            writer: None,
            error: None,
        };
        Self { shared: Arc::new(Mutex::new(shared)), is_flushed: true }
    }
}

impl<S> fmt::Debug for BatchedWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchedWriter")
    }
}

impl<S: AsyncWrite + Unpin> SharedStream<S> {
    /// Writes the pending bytes.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.sent = self.sent.saturating_add(taken),
            }
        }
        self.sent = 0;
        let mut spare = std::mem::take(&mut self.bytes);
        // The bytes may be a request with a secret, and the buffer may not be used for long.
        spare.fill(0);
        BATCH.with_borrow_mut(|batch| {
            if batch.spare.len() < MAX_CONNECTIONS {
                batch.spare.push(spare);
            }
        });
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin + Send + 'static> BatchedWriter<S> {
    fn poll_buffer(
        &mut self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        let shared = &mut *self.shared.lock();
        let length = data.iter().map(|part| part.len()).sum();
        if !shared.is_pending || shared.bytes.len().saturating_add(length) > MAX_BYTES {
            // Bytes leave in the order in which they were written.
            ready!(shared.poll_drain(cx))?;
        }
        if length > MAX_BYTES || !(shared.is_pending || self.join_batch(shared, cx.waker())) {
            return Pin::new(&mut shared.stream).poll_write_vectored(cx, data);
        }
        for part in data {
            shared.bytes.extend_from_slice(part);
        }
        Poll::Ready(Ok(length))
    }

    /// Adds this connection to the batch of its thread, if the thread has a flush loop.
    fn join_batch(&self, shared: &mut SharedStream<S>, writer: &Waker) -> bool {
        let this: Arc<Mutex<SharedStream<S>>> = Arc::clone(&self.shared);
        if !flush_at_end_of_pass(this) {
            return false;
        }
        shared.bytes = BATCH.with_borrow_mut(|batch| batch.spare.pop()).unwrap_or_default();
        shared.bytes.clear();
        shared.is_pending = true;
        match &mut shared.writer {
            Some(known) => known.clone_from(writer),
            None => shared.writer = Some(writer.clone()),
        }
        true
    }
}

impl<S: AsyncWrite + Unpin> PendingWrite for Mutex<SharedStream<S>> {
    fn flush(&self) {
        let shared = &mut *self.lock();
        shared.is_pending = false;
        let Some(writer) = shared.writer.take() else { return };
        if let Poll::Ready(Err(error)) = shared.poll_drain(&mut Context::from_waker(&writer)) {
            shared.error = Some(error);
            writer.wake_by_ref();
        }
        shared.writer = Some(writer);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BatchedWriter<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin + Send + 'static> AsyncWrite for BatchedWriter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_buffer(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_buffer(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_flushed {
            return Poll::Ready(Ok(()));
        }
        let shared = &mut *this.shared.lock();
        if shared.is_pending {
            return Poll::Ready(Ok(()));
        }
        ready!(shared.poll_drain(cx))?;
        ready!(Pin::new(&mut shared.stream).poll_flush(cx))?;
        this.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shared = &mut *self.shared.lock();
        ready!(shared.poll_drain(cx))?;
        Pin::new(&mut shared.stream).poll_shutdown(cx)
    }
}

/// The most pending bytes of one connection. To copy more costs as much as to write them.
const MAX_BYTES: usize = 16 * 1024;
/// The most connections with pending writes, so that the first ones do not wait long.
const MAX_CONNECTIONS: usize = 32;

#[cfg(test)]
mod tests;
