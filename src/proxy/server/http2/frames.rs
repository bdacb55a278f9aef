//! Finds the frames in the bytes of a connection, wherever the bytes are cut (RFC 9113 §4.1).

use bytes::{BufMut as _, BytesMut};

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct FrameScanner {
    /// The header of the frame and the beginning of its payload.
    start: [u8; START],
    /// How much of `start` is known.
    seen: usize,
    /// The number of bytes that belong to no header: the rest of a payload, or of the preface.
    skip: usize,
}

/// A frame whose header is known, and as much of its payload as was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameStart {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The first bytes of the payload, as far as it has them.
    payload: [u8; PAYLOAD],
}

impl FrameScanner {
    /// A scanner of bytes of which the first `skip` are no frames.
    pub(super) fn new(skip: usize) -> Self {
        Self { start: [0; START], seen: 0, skip }
    }

    /// Takes bytes up to the next start of a frame. `None` when all of them are taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameStart> {
        loop {
            let skip = self.skip.min(bytes.len());
            self.skip = self.skip.saturating_sub(skip);
            *bytes = bytes.get(skip..)?;
            if bytes.is_empty() {
                return None;
            }
            let wanted = self.wanted();
            let missing = self.start.get_mut(self.seen..wanted)?;
            let take = missing.len().min(bytes.len());
            let (head, rest) = bytes.split_at_checked(take)?;
            missing.get_mut(..take)?.copy_from_slice(head);
            *bytes = rest;
            self.seen = self.seen.saturating_add(take);
            // The last byte of the header can make the start longer.
            if self.seen == self.wanted() {
                let frame = self.frame();
                self.skip = frame.end().saturating_sub(self.seen);
                (self.start, self.seen) = ([0; START], 0);
                return Some(frame);
            }
        }
    }

    /// Whether the bytes ended within the start of a frame.
    pub(super) fn is_in_header(&self) -> bool {
        self.seen > 0
    }

    /// Whether the bytes ended within a payload.
    pub(super) fn is_in_payload(&self) -> bool {
        self.skip > 0
    }

    /// How much of `start` the current frame has.
    fn wanted(&self) -> usize {
        if self.seen < HEADER {
            return HEADER;
        }
        let frame = self.frame();
        match frame.kind {
            RST_STREAM | GOAWAY => frame.end().min(START),
            _ => HEADER,
        }
    }

    fn frame(&self) -> FrameStart {
        FrameStart::new(self.start)
    }
}

impl FrameStart {
    /// The frame at the beginning of these bytes, if its header is complete.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut start = [0; START];
        start.get_mut(..HEADER)?.copy_from_slice(bytes.get(..HEADER)?);
        Some(Self::new(start))
    }

    fn new(start: [u8; START]) -> Self {
        let [high, middle, low, kind, flags, a, b, c, d, payload @ ..] = start;
        Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
            // Without the reserved bit.
            stream: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
            payload,
        }
    }

    /// The length of the frame with its header.
    pub(super) fn end(&self) -> usize {
        HEADER.saturating_add(self.length)
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error code of a `RST_STREAM` or `GOAWAY`.
    pub(super) fn error_code(&self) -> u32 {
        // A `GOAWAY` has the last stream in front of it.
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..).and_then(|code| code.first_chunk());
        code.map_or(0, |code| u32::from_be_bytes(*code))
    }
}

// The types of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of `DATA` and `HEADERS`: nothing of the stream follows.
pub(super) const END_STREAM: u8 = 1;
/// Of `HEADERS` and `CONTINUATION`: the field block is complete.
pub(super) const END_HEADERS: u8 = 4;

/// Of `HEADERS` and `DATA`: a byte with the length of the padding comes first.
pub(super) const PADDED: u8 = 8;
/// Of `HEADERS`: the priority comes before the block.
pub(super) const PRIORITY: u8 = 0x20;

/// Writes the header of a frame.
pub(super) fn write_header(to: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(length).unwrap_or_default();
    to.put_uint(length.into(), 3);
    to.extend_from_slice(&[kind, flags]);
    to.put_u32(stream);
}

/// The length of a frame's header.
pub(super) const HEADER: usize = 9;
/// As much as a `GOAWAY` has up to its error code.
const PAYLOAD: usize = 8;
const START: usize = HEADER + PAYLOAD;

/// Some streams of a connection: the highest and those just below it.
#[derive(Debug, Default)]
pub(super) struct RecentStreams {
    highest: u32,
    /// Bit `n` is the stream `2 * n` below it, because a caller's streams have odd numbers.
    latest: u128,
}

impl RecentStreams {
    pub(super) fn add(&mut self, stream: u32) {
        if stream > self.highest {
            let above = stream.saturating_sub(self.highest);
            self.latest = self.latest.checked_shl(above / 2).unwrap_or(0);
            self.highest = stream;
        }
        let below = self.highest.saturating_sub(stream);
        self.latest |= 1_u128.checked_shl(below / 2).unwrap_or(0);
    }

    /// Whether a stream was added; `None` for one that is too far below the highest to know.
    pub(super) fn has(&self, stream: u32) -> Option<bool> {
        let Some(below) = self.highest.checked_sub(stream) else { return Some(false) };
        self.latest.checked_shr(below / 2).map(|bits| bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 5];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_cut() {
        let bytes = [
            frame(DATA, 1, &[9; 40]),
            frame(RST_STREAM, 3, &[0, 0, 0, 1]),
            frame(GOAWAY, 0, &[0, 0, 0, 9, 0, 0, 0, 7, 1, 1, 1]),
            frame(GOAWAY, 0, &[]),
            frame(HEADERS, 0x8000_0005, &[]),
        ]
        .concat();
        for length in 1..bytes.len() {
            let mut scanner = FrameScanner::new(0);
            let mut found = Vec::new();
            for mut piece in bytes.chunks(length) {
                while let Some(frame) = scanner.next(&mut piece) {
                    let code = matches!(frame.kind, RST_STREAM | GOAWAY)
                        .then(|| frame.error_code())
                        .filter(|_| frame.length > 0);
                    found.push((frame.kind, frame.stream, frame.length, code));
                }
            }
            let expected = [
                (DATA, 1, 40, None),
                (RST_STREAM, 3, 4, Some(1)),
                (GOAWAY, 0, 11, Some(7)),
                (GOAWAY, 0, 0, None),
                (HEADERS, 5, 0, None),
            ];
            assert_eq!(found, expected, "in pieces of {length}");
            assert!(!scanner.is_in_header() && !scanner.is_in_payload());
        }
    }

    #[test]
    fn recent_streams_are_known() {
        let mut streams = RecentStreams::default();
        for stream in [1, 5, 3, 201] {
            streams.add(stream);
        }
        for (stream, known) in [
            (1, Some(true)),
            (3, Some(true)),
            (7, Some(false)),
            (201, Some(true)),
            (203, Some(false)),
        ] {
            assert_eq!(streams.has(stream), known, "{stream}");
        }
        streams.add(1001);
        assert_eq!((streams.has(201), streams.has(999)), (None, Some(false)));
    }
}
