//! The bytes of an HTTP/1 connection: those that were read and are not parsed, and those that wait to
//! be written.
//!
//! The loop owns the connection and lends the reading side to the body of the current request. Both
//! lock the [`Wire`] while they are polled. They run on one worker, so the lock is free.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::ReadBuf;

use crate::proxy::{
    batched_io::{PendingWrite, flush_at_end_of_pass},
    server::transport::Transport,
};

/// The bytes of a connection. See the module.
pub(super) struct Wire<S> {
    stream: S,
    /// Bytes that were read and are not parsed.
    pub(super) read: BytesMut,
    /// The owner of the reading side.
    reader: Reader,
    /// Bytes that wait to be written, from `written` on.
    unwritten: Vec<u8>,
    written: usize,
    /// Whether they leave at the end of the worker's pass.
    is_batched: bool,
    /// Why a write at the end of a pass failed.
    failed: Option<io::Error>,
    /// The number of bytes that the caller's socket has taken.
    progress: u64,
    /// The task of the connection, which waits while others read and write.
    task: Option<Waker>,
}

/// The owner of the reading side.
enum Reader {
    /// The loop. The request that was read last is complete.
    Loop,
    /// The body of the current request, and the task that waits for it.
    Body(Option<Waker>),
    /// Nobody. A message is not complete, so the next one begins at an unknown place.
    Nobody,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            reader: Reader::Loop,
            unwritten: Vec::new(),
            written: 0,
            is_batched: false,
            failed: None,
            progress: 0,
            task: None,
        }
    }

    /// The stream, and the bytes that were read from it.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.read.freeze())
    }

    /// Lends the reading side to a body.
    pub(super) fn lend(&mut self) {
        self.reader = Reader::Body(None);
    }

    /// Whether the reading side is lent.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.reader, Reader::Body(_))
    }

    /// Whether the request that was read last is complete.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.reader, Reader::Loop)
    }

    /// Ends the loan: the body is complete. Its reader is the task of `cx`.
    pub(super) fn complete(&mut self, cx: &Context<'_>) {
        if self.is_lent() {
            self.reader = Reader::Loop;
            // Another task has read the body, so the loop has to look for a caller that leaves.
            if let Some(task) = self.task.take_if(|task| !task.will_wake(cx.waker())) {
                task.wake();
            }
        }
    }

    /// Gives up the reading side: no message can follow.
    pub(super) fn give_up(&mut self) {
        self.reader = Reader::Nobody;
    }

    /// Ends the loan of a body that is not complete. The body fails when it is polled again.
    pub(super) fn take_back(&mut self) {
        let before = mem::replace(&mut self.reader, Reader::Nobody);
        match before {
            Reader::Body(Some(waiting)) => waiting.wake(),
            Reader::Loop => self.reader = Reader::Loop,
            Reader::Body(None) | Reader::Nobody => {}
        }
    }

    /// Notes the task that polls the body while it waits for bytes.
    pub(super) fn body_waits(&mut self, cx: &Context<'_>) {
        if let Reader::Body(waiting) = &mut self.reader {
            note(waiting, cx);
        }
    }

    /// Notes the task of the connection, which waits for another owner.
    pub(super) fn task_waits(&mut self, cx: &Context<'_>) {
        note(&mut self.task, cx);
    }

    /// The number of bytes that wait to be written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len().saturating_sub(self.written)
    }

    /// The number of whole pieces that the caller has taken so far. A caller that takes a few bytes now and
    /// then makes no progress.
    pub(super) fn progress(&self) -> u64 {
        self.progress / PIECE
    }

    /// The buffer to which small writes are added. [`batch`] sends them.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.unwritten
    }
}

fn note(known: &mut Option<Waker>, cx: &Context<'_>) {
    match known {
        Some(known) => known.clone_from(cx.waker()),
        None => *known = Some(cx.waker().clone()),
    }
}

impl<S: Transport> Wire<S> {
    /// Reads some bytes. Returns their number, 0 at the end.
    ///
    /// They pass through the stack, so a connection has a buffer only while it has unparsed bytes.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); READ];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        self.read.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Reads some bytes and drops them. Returns their number, 0 at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(self.poll_read(cx));
        self.read = BytesMut::new();
        Poll::Ready(read)
    }

    /// Waits until the caller has left, during a call. A request that follows stays unparsed.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(_failed) = &self.failed {
            return Poll::Ready(());
        }
        if self.is_lent() {
            // The body sees the end.
            self.task_waits(cx);
            return Poll::Pending;
        }
        while self.read.len() < READ && self.is_complete() {
            if let 0 = ready!(self.poll_read(cx)).unwrap_or(0) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Writes the bytes that wait. Bytes of a batch leave at its end and need not be waited for.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_batched {
            self.task_waits(cx);
            return Poll::Ready(Ok(()));
        }
        self.poll_write(cx, &mut Bytes::new())
    }

    /// Writes the bytes that wait and then these.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.unwritten.is_empty() && data.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.unwritten() > 0 || !data.is_empty() {
            let waiting = self.unwritten.get(self.written..).unwrap_or_default();
            let waits = waiting.len();
            let taken = if waits == 0 {
                ready!(Pin::new(&mut self.stream).poll_write(cx, data))?
            } else if data.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_write(cx, waiting))?
            } else {
                let parts = [IoSlice::new(waiting), IoSlice::new(data)];
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts))?
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress = self.progress.saturating_add(taken as u64);
            self.written = self.written.saturating_add(taken.min(waits));
            data.advance(taken.saturating_sub(waits));
        }
        // A kept connection has no buffer while it waits.
        self.unwritten = Vec::new();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Signals the end of what is written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Sends the waiting bytes at the end of the worker's pass, or at the next flush if this thread has no
/// passes.
pub(super) fn batch<S: Transport>(wire: &Arc<Mutex<Wire<S>>>, cx: &Context<'_>) {
    let mut locked = wire.lock();
    if locked.is_batched || locked.unwritten() == 0 {
        return;
    }
    locked.task_waits(cx);
    locked.is_batched = true;
    drop(locked);
    let pending: Arc<Mutex<Wire<S>>> = Arc::clone(wire);
    if !flush_at_end_of_pass(pending) {
        wire.lock().is_batched = false;
    }
}

impl<S: Transport> PendingWrite for Mutex<Wire<S>> {
    fn flush(&self) {
        let mut wire = self.lock();
        wire.is_batched = false;
        let Some(task) = wire.task.take() else { return };
        if let Poll::Ready(Err(error)) =
            wire.poll_write(&mut Context::from_waker(&task), &mut Bytes::new())
        {
            wire.failed = Some(error);
            task.wake_by_ref();
        }
        wire.task = Some(task);
    }
}

/// The bytes that a caller must take within its time.
const PIECE: u64 = 16 * 1024;
/// The most bytes that are read at once.
pub(super) const READ: usize = 16 * 1024;
