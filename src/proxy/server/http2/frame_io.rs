//! The stream of bytes under h2.
//!
//! Inwards it ends a connection that abuses the protocol ([`super::frame_budget`]) or that does not
//! complete a frame in time, and replaces what h2 must not see ([`super::field_check`]). Outwards it ends one that takes no bytes in time, and tells the calls what
//! has left ([`super::outbox`]).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    field_blocks::FieldBlocks,
    frame_budget::FrameBudget,
    frames::{DATA, FrameScanner, FrameStart},
    outbox::Outbox,
};
use crate::proxy::server::{ConnectionTimeouts, Settings, timer::Timer};

/// A stream that fails with [`io::ErrorKind::TimedOut`] when its peer takes too long.
pub(super) struct FrameIo<S> {
    stream: S,
    /// Bytes that were read before h2 had the stream.
    read: Bytes,
    inbound: FrameBudget,
    blocks: FieldBlocks,
    outbound: FrameScanner,
    /// The `DATA` frame that is being written.
    sending: Option<FrameStart>,
    outbox: Outbox,
    timeouts: ConnectionTimeouts,
    /// For an incomplete frame, by its number.
    incomplete: Timer<u32>,
    /// For a peer that takes no bytes.
    unwritten: Timer<()>,
}

impl<S> FrameIo<S> {
    pub(super) fn new(stream: S, read: Bytes, settings: &Settings, outbox: Outbox) -> Self {
        Self {
            stream,
            read,
            inbound: FrameBudget::new(Instant::now(), PREFACE),
            blocks: FieldBlocks::new(PREFACE, settings.head_bytes),
            outbound: FrameScanner::new(0),
            sending: None,
            outbox,
            timeouts: settings.timeouts,
            incomplete: Timer::new(),
            unwritten: Timer::new(),
        }
    }

    /// Follows the frames in what was written, and limits the wait for more.
    fn written(
        &mut self,
        data: &[IoSlice<'_>],
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            return self.poll_unwritten(cx).map(Err);
        };
        self.unwritten.stop();
        let mut left = *written.as_ref().unwrap_or(&0);
        for part in data {
            let mut bytes = part.get(..left.min(part.len())).unwrap_or_default();
            left = left.saturating_sub(bytes.len());
            while let Some(frame) = self.outbound.next(&mut bytes) {
                self.sent();
                match frame.kind {
                    DATA => self.sending = Some(frame),
                    _ => self.outbox.note_refusal(frame),
                }
            }
        }
        if !self.outbound.is_in_payload() {
            self.sent();
        }
        Poll::Ready(written)
    }

    /// Waits until the peer has taken no bytes for too long.
    fn poll_unwritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.unwritten.poll((), self.timeouts.write, cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Notes that the last `DATA` frame is complete.
    fn sent(&mut self) {
        if let Some(frame) = self.sending.take() {
            self.outbox.sent(frame.stream, frame.length);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        while !this.blocks.pass_on(buffer) {
            if !this.read.is_empty() {
                let length = this.read.len().min(buffer.remaining());
                buffer.put_slice(&this.read.split_to(length));
            } else if Pin::new(&mut this.stream).poll_read(cx, buffer)?.is_pending() {
                return match this.inbound.incomplete() {
                    Some(frame) => {
                        let expired = this.incomplete.poll(frame, this.timeouts.head, cx);
                        expired.map(|()| Err(io::ErrorKind::TimedOut.into()))
                    }
                    None => Poll::Pending,
                };
            }
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            this.inbound.advance(read, Instant::now).map_err(io::Error::other)?;
            this.blocks.take(read, |stream, request| this.outbox.note_malformed(stream, request));
            buffer.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.written(&[IoSlice::new(data)], written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.written(data, written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            return self.poll_unwritten(cx).map(Err);
        }
        self.unwritten.stop();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The length of what a caller sends first (RFC 9113 §3.4).
const PREFACE: usize = 24;
