//! Finds the field blocks in the bytes of a caller, and passes them on when they are checked.

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::{
    field_check::{Malformed, check},
    frames::{
        CONTINUATION, END_HEADERS, END_STREAM, FrameStart, HEADER, HEADERS, PADDED, PRIORITY,
        write_header,
    },
    hpack::FieldTable,
};

/// The bytes between a caller and h2.
pub(super) struct FieldBlocks {
    /// `None` after a block that is not HPACK or is too long. h2 ends the connection for it, or answers.
    table: Option<FieldTable>,
    /// The longest block.
    limit: usize,
    /// The number of bytes that pass as they come.
    pass: usize,
    /// The frames of the current block and the header of the next frame, as they came.
    held: BytesMut,
    /// Where the last of these frames begins.
    frame: usize,
    /// The highest stream with a block. Another block of a stream is its trailer section.
    highest: u32,
    /// Bytes for h2.
    ready: BytesMut,
}

impl FieldBlocks {
    /// The first `skip` bytes are no frames.
    pub(super) fn new(skip: usize, limit: usize) -> Self {
        Self {
            table: Some(FieldTable::new()),
            limit,
            pass: skip,
            held: BytesMut::new(),
            frame: 0,
            highest: 0,
            ready: BytesMut::new(),
        }
    }

    /// Moves bytes that were checked to h2's buffer. Returns whether there were any.
    pub(super) fn pass_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let length = self.ready.len().min(buffer.remaining());
        buffer.put_slice(self.ready.get(..length).unwrap_or_default());
        self.ready.advance(length);
        if self.ready.is_empty() {
            // A silent connection must take no memory.
            self.ready = BytesMut::new();
        }
        length > 0
    }

    /// Takes bytes that follow the last ones. Reports malformed requests by their streams.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut report: impl FnMut(u32, Malformed)) {
        while !bytes.is_empty() {
            if self.table.is_none() {
                return self.ready.extend_from_slice(bytes);
            }
            if self.pass > 0 {
                let length = self.pass.min(bytes.len());
                self.ready.extend_from_slice(bytes.get(..length).unwrap_or_default());
                self.pass = self.pass.saturating_sub(length);
                bytes = bytes.get(length..).unwrap_or_default();
                continue;
            }
            let wanted = self.last_frame().map_or(HEADER, |frame| frame.end());
            let missing = self.frame.saturating_add(wanted).saturating_sub(self.held.len());
            let length = missing.min(bytes.len());
            self.held.extend_from_slice(bytes.get(..length).unwrap_or_default());
            bytes = bytes.get(length..).unwrap_or_default();
            self.advance(&mut report);
        }
    }

    fn last_frame(&self) -> Option<FrameStart> {
        FrameStart::parse(self.held.get(self.frame..)?)
    }

    fn advance(&mut self, report: &mut impl FnMut(u32, Malformed)) {
        let Some(frame) = self.last_frame() else { return };
        let is_of_block = match frame.kind {
            // h2 ends the connection for a longer one.
            HEADERS | CONTINUATION if frame.length > FRAME => false,
            HEADERS => self.frame == 0,
            CONTINUATION => self.frame > 0,
            _ => false,
        };
        let end = self.frame.saturating_add(frame.end());
        if !is_of_block {
            // h2 ends the connection if a block is not complete.
            self.pass = frame.length;
            self.release();
        } else if end > self.limit {
            self.table = None;
            self.release();
        } else if self.held.len() == end {
            if frame.has(END_HEADERS) {
                self.complete(report);
            } else {
                self.frame = end;
            }
        }
    }

    /// Passes on a complete block, without what h2 must not see.
    fn complete(&mut self, report: &mut impl FnMut(u32, Malformed)) {
        let held = self.held.split();
        self.frame = 0;
        let (Some(head), Some(table)) = (HeadFrames::parse(&held), &mut self.table) else {
            return self.ready.extend_from_slice(&held);
        };
        let is_trailer = head.start.stream <= self.highest;
        self.highest = self.highest.max(head.start.stream);
        match check(table, &head.block) {
            Ok(Some((malformed, clean))) if !is_trailer => {
                report(head.start.stream, malformed);
                head.write(&mut self.ready, &clean);
            }
            Ok(_) => self.ready.extend_from_slice(&held),
            Err(_) => {
                self.table = None;
                self.ready.extend_from_slice(&held);
            }
        }
    }

    fn release(&mut self) {
        let held = self.held.split();
        self.ready.extend_from_slice(&held);
        self.frame = 0;
    }
}

/// A `HEADERS` frame and the `CONTINUATION`s that belong to it.
struct HeadFrames<'a> {
    start: FrameStart,
    priority: &'a [u8],
    block: Vec<u8>,
}

impl<'a> HeadFrames<'a> {
    /// Takes complete frames apart; `None` if they are malformed.
    fn parse(mut frames: &'a [u8]) -> Option<Self> {
        let start = FrameStart::parse(frames)?;
        let (first, rest) = frames.get(HEADER..)?.split_at_checked(start.length)?;
        frames = rest;
        let first = if start.has(PADDED) {
            let (padding, padded) = first.split_first()?;
            padded.get(..padded.len().checked_sub(usize::from(*padding))?)?
        } else {
            first
        };
        let priority = if start.has(PRIORITY) { PRIORITY_LENGTH } else { 0 };
        let (priority, first) = first.split_at_checked(priority)?;
        let mut block = first.to_vec();
        while let Some(next) = FrameStart::parse(frames) {
            let (more, rest) = frames.get(HEADER..)?.split_at_checked(next.length)?;
            block.extend_from_slice(more);
            frames = rest;
        }
        Some(Self { start, priority, block })
    }

    /// Writes the same frames with another block.
    fn write(&self, to: &mut BytesMut, block: &[u8]) {
        let payload = [self.priority, block].concat();
        let mut kind = HEADERS;
        let mut flags = self.start.flags & (END_STREAM | PRIORITY);
        let mut pieces = payload.chunks(FRAME).peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= END_HEADERS;
            }
            write_header(to, piece.len(), kind, flags, self.start.stream);
            to.extend_from_slice(piece);
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

/// The length of the priority in a `HEADERS` frame.
const PRIORITY_LENGTH: usize = 5;
/// The longest frame that h2 takes.
const FRAME: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::proxy::server::http2::fuzzing::pass;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = BytesMut::new();
        write_header(&mut frame, payload.len(), kind, flags, stream);
        frame.extend_from_slice(payload);
        frame.to_vec()
    }

    fn path(path: &[u8]) -> Vec<u8> {
        [&b"\x82\x86\x44"[..], &[u8::try_from(path.len()).unwrap()], path].concat()
    }

    #[test]
    fn what_is_right_passes_byte_for_byte() {
        let block = path(b"/a");
        let padded = [&[2, 0, 0, 0, 0, 9][..], &block, &[0; 2]].concat();
        let bytes = [
            vec![b'p'; 24],
            frame(4, 0, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &block),
            frame(0, 0, 1, &[7; 300]),
            frame(HEADERS, 0, 3, &block[..2]),
            frame(CONTINUATION, 0, 3, &[]),
            frame(CONTINUATION, END_HEADERS, 3, &block[2..]),
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 5, &padded),
            frame(6, 0, 0, &[0; 8]),
            // These are h2's: a foreign frame within a block, a block that is none, and what follows.
            frame(HEADERS, 0, 7, &block[..2]),
            frame(6, 0, 0, &[0; 8]),
            frame(HEADERS, END_HEADERS, 9, b"\xff\xff"),
            frame(HEADERS, END_HEADERS, 11, &path(b"/#")),
        ]
        .concat();
        for length in [1, 2, 7, 20, bytes.len()] {
            assert_eq!(pass(&bytes, length), (bytes.clone(), vec![]), "{length}");
        }
    }

    #[test]
    fn what_is_wrong_is_replaced() {
        let padded = [&[2, 0, 0, 0, 0, 9][..], &path(b"/a b"), &[0; 2]].concat();
        let bytes = [
            vec![b'p'; 24],
            frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, &padded),
            // The table has it now.
            frame(HEADERS, END_HEADERS, 3, b"\x82\x86\xbe"),
            frame(HEADERS, 0, 5, &path(b"/\"")[..4]),
            frame(CONTINUATION, END_HEADERS, 5, &path(b"/\"")[4..]),
        ]
        .concat();
        let clean = [&[0, 0, 0, 0, 9][..], &path(b"////")].concat();
        let expected = [
            vec![b'p'; 24],
            frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &clean),
            frame(HEADERS, END_HEADERS, 3, b"\x82\x86\xbe"),
            frame(HEADERS, END_HEADERS, 5, &path(b"//")),
        ]
        .concat();
        let malformed = vec![1, 3, 5];
        // The path of the first goes into the table.
        for length in [1, 9, bytes.len()] {
            assert_eq!(pass(&bytes, length), (expected.clone(), malformed.clone()), "{length}");
        }
    }

    #[test]
    fn a_block_over_the_limit_is_left_to_h2() {
        let bytes = [
            vec![b'p'; 24],
            frame(HEADERS, 0, 1, &[0x82; 16_000]),
            frame(CONTINUATION, 0, 1, &[0x82; 16_000]),
            frame(CONTINUATION, END_HEADERS, 1, &[0x82; 16_000]),
        ]
        .concat();
        assert_eq!(pass(&bytes, 1000), (bytes.clone(), vec![]));
    }

    proptest! {
        /// Whatever comes, in whatever pieces: the same bytes pass, and none are lost before the end of a
        /// block.
        #[test]
        fn the_result_does_not_depend_on_the_cuts(
            frames in vec((0..12_u8, any::<u8>(), 0..9_u32, vec(any::<u8>(), 0..40)), 0..8),
            length in 1..50_usize,
        ) {
            let frames = frames.iter().flat_map(|(kind, flags, stream, payload)| {
                frame(*kind, *flags, *stream, payload)
            });
            let bytes: Vec<u8> = [b'p'; 24].into_iter().chain(frames).collect();
            let whole = pass(&bytes, bytes.len());
            prop_assert_eq!(&pass(&bytes, length), &whole);
            // What was replaced is not malformed any more.
            let passed = whole.0;
            prop_assert_eq!(pass(&passed, length), (passed, vec![]));
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
            let _any_result = pass(&bytes, 7);
        }
    }
}
