//! What the calls of a connection and its transport know of the bytes on their way to the caller.
//!
//! h2 takes bytes that fit into the caller's window, but does not say when they have left. Its transport
//! sees that in the frames. So a call learns here when its bytes are out, and hands over no more while
//! too many of its connection are not.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use super::{
    field_check::Malformed,
    frames::{FrameStart, GOAWAY, HEADERS, RST_STREAM},
};
use crate::error::Kind;

/// The bytes on their way to one caller. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The streams with bytes that h2 has and the transport has not taken.
    streams: HashMap<u32, Pending>,
    /// The number of those bytes.
    pending: usize,
    /// The calls that wait for room.
    waiting: Vec<Waker>,
    /// The streams that h2 may have refused, as far as its frames tell.
    refused: Vec<(u32, Kind)>,
    /// The requests that are malformed although h2 does not see it.
    malformed: HashMap<u32, Malformed>,
}

/// The bytes of one stream.
#[derive(Debug, Default)]
struct Pending {
    bytes: usize,
    /// The call, if it waits until they are out.
    waiting: Option<Waker>,
}

impl Outbox {
    /// Waits until h2 has room for more bytes.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.pending < MAX_PENDING {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// Notes that h2 gets this many bytes of a stream.
    pub(super) fn hand_over(&self, stream: u32, bytes: usize) {
        let mut state = self.0.lock();
        state.pending = state.pending.saturating_add(bytes);
        let of_stream = state.streams.entry(stream).or_default();
        of_stream.bytes = of_stream.bytes.saturating_add(bytes);
    }

    /// Waits until all bytes of a stream are out.
    pub(super) fn poll_out(&self, stream: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.lock().streams.get_mut(&stream) {
            Some(pending) => {
                pending.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    /// Notes that nothing more of a stream leaves. Returns how many of its bytes have not.
    pub(super) fn give_up(&self, stream: u32) -> usize {
        let mut state = self.0.lock();
        let bytes = state.streams.get(&stream).map_or(0, |pending| pending.bytes);
        state.take(stream, bytes);
        bytes
    }

    /// Notes that these bytes of a stream have left.
    pub(super) fn sent(&self, stream: u32, bytes: usize) {
        self.0.lock().take(stream, bytes);
    }

    /// Notes a frame that h2 sends, if it can be the refusal of a request. The connection itself is
    /// stream 0.
    pub(super) fn note_refusal(&self, frame: FrameStart) {
        let refusal = match frame.kind {
            // h2 answers a head over its limit with a 431, which no call knows of.
            HEADERS => Kind::HeadersTooLarge,
            RST_STREAM | GOAWAY if is_protocol_error(frame.error_code()) => Kind::Malformed,
            _ => return,
        };
        let mut state = self.0.lock();
        state.refused.push((frame.stream, refusal));
        state.malformed.remove(&frame.stream);
    }

    /// Notes that the request of a stream is malformed.
    pub(super) fn note_malformed(&self, stream: u32, request: Malformed) {
        self.0.lock().malformed.insert(stream, request);
    }

    /// What is wrong with the request of a stream.
    pub(super) fn take_malformed(&self, stream: u32) -> Option<Malformed> {
        self.0.lock().malformed.remove(&stream)
    }

    /// The streams that h2 may have refused since the last call.
    pub(super) fn take_refused(&self) -> Vec<(u32, Kind)> {
        mem::take(&mut self.0.lock().refused)
    }
}

impl State {
    fn take(&mut self, stream: u32, bytes: usize) {
        let Some(pending) = self.streams.get_mut(&stream) else { return };
        let bytes = bytes.min(pending.bytes);
        pending.bytes = pending.bytes.saturating_sub(bytes);
        let was_full = self.pending >= MAX_PENDING;
        self.pending = self.pending.saturating_sub(bytes);
        if pending.bytes == 0
            && let Some(pending) = self.streams.remove(&stream)
            && let Some(waiting) = pending.waiting
        {
            waiting.wake();
        }
        if was_full && self.pending < MAX_PENDING {
            mem::take(&mut self.waiting).into_iter().for_each(Waker::wake);
        }
    }
}

/// Whether an error says that the caller's bytes are wrong (RFC 9113 §7).
const fn is_protocol_error(code: u32) -> bool {
    const PROTOCOL: u32 = 1;
    const FRAME_SIZE: u32 = 6;
    const COMPRESSION: u32 = 9;
    matches!(code, PROTOCOL | FRAME_SIZE | COMPRESSION)
}

/// The most bytes that h2 has and the transport has not taken. Without this limit each stream of a
/// caller that does not read would leave some there, in nobody's count.
const MAX_PENDING: usize = 64 * 1024;
