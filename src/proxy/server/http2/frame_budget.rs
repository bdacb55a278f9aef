//! Ends an HTTP/2 connection that abuses the protocol, before h2 reads its frames.
//!
//! The first abuse is a flood. `PING` and `SETTINGS` need an answer each, `RST_STREAM` wastes work,
//! `PRIORITY`, empty `DATA` and unknown frames do nothing, and HTTP/2 limits none of them (RFC 9113
//! §10.5). A peer has a budget of such frames that time refills, so a flood ends the connection, and a
//! caller that measures its connection or cancels calls does not. The second is `DATA` after the end of
//! its stream, a connection error (RFC 9113 §5.1) that h2 treats as an error of the stream.

use std::time::Duration;

use tokio::time::Instant;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameScanner, FrameStart, HEADERS, RST_STREAM,
    RecentStreams, WINDOW_UPDATE,
};

/// The frame budget of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    scanner: FrameScanner,
    /// Whether the last frame was `DATA`.
    is_data: bool,
    /// Whether a field block has begun and has not ended.
    is_in_block: bool,
    /// The number of frames, where a whole field block counts as one.
    frames: u32,
    /// The latest streams that the caller has ended. h2 detects frames of older ones.
    ended: RecentStreams,
    budget: u32,
    refilled: Instant,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolAbuse {
    /// The budget is spent.
    #[error("a flood of HTTP/2 frames")]
    Flood,
    /// A body continues after its end.
    #[error("HTTP/2 data after the end of its stream")]
    AfterTheEnd,
}

impl FrameBudget {
    /// A full budget. The first `skip` bytes are no frames: the preface.
    pub fn new(now: Instant, skip: usize) -> Self {
        Self {
            scanner: FrameScanner::new(skip),
            is_data: false,
            is_in_block: false,
            frames: 0,
            ended: RecentStreams::default(),
            budget: BUDGET,
            refilled: now,
        }
    }

    /// Parses the next bytes.
    pub fn advance(
        &mut self,
        mut bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), ProtocolAbuse> {
        while let Some(frame) = self.scanner.next(&mut bytes) {
            self.frame(frame, &now)?;
        }
        Ok(())
    }

    /// The number of the frame that is incomplete, if one is. A field block counts as one frame, and so
    /// does the preface. The payload of `DATA` belongs to a call, which has its own time limits.
    pub(super) fn incomplete(&self) -> Option<u32> {
        if self.is_in_block {
            Some(self.frames)
        } else if self.scanner.is_in_payload() {
            (!self.is_data).then_some(self.frames)
        } else {
            self.scanner.is_in_header().then_some(self.frames.wrapping_add(1))
        }
    }

    fn frame(
        &mut self,
        frame: FrameStart,
        now: &impl Fn() -> Instant,
    ) -> Result<(), ProtocolAbuse> {
        if !self.is_in_block {
            self.frames = self.frames.wrapping_add(1);
        }
        self.is_data = frame.kind == DATA;
        self.is_in_block = match frame.kind {
            HEADERS | CONTINUATION => !frame.has(END_HEADERS),
            _ => false,
        };
        if self.is_data && self.ended.has(frame.stream) == Some(true) {
            return Err(ProtocolAbuse::AfterTheEnd);
        }
        let ends = frame.has(END_STREAM) && matches!(frame.kind, DATA | HEADERS);
        if ends {
            self.ended.add(frame.stream);
        }
        let cost = match frame.kind {
            // Flow control of a large response needs many of them, and none needs an answer.
            HEADERS | WINDOW_UPDATE => return Ok(()),
            // The last frame of a body may be empty.
            DATA if frame.length > 0 || ends => return Ok(()),
            RST_STREAM => RESET_COST,
            _ => 1,
        };
        if self.budget < cost {
            self.refill(now());
        }
        self.budget = self.budget.checked_sub(cost).ok_or(ProtocolAbuse::Flood)?;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled);
        let steps = elapsed.as_nanos().checked_div(REFILL.as_nanos()).unwrap_or_default();
        let steps = u32::try_from(steps).unwrap_or(BUDGET).min(BUDGET);
        self.budget = self.budget.saturating_add(steps).min(BUDGET);
        self.refilled = now;
    }
}

/// The most frames at once.
const BUDGET: u32 = 1000;
/// The time after which there is one more.
const REFILL: Duration = Duration::from_millis(10);
/// A reset stream may have been a call in flight.
const RESET_COST: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_flood_ends_and_time_refills() {
        let began = Instant::now();
        let mut frames = FrameBudget::new(began, 0);
        let ping = frame(6, &[0; 8]);
        for _ in 0..BUDGET {
            assert_eq!(frames.advance(&ping, || began), Ok(()));
        }
        assert_eq!(frames.advance(&ping, || began), Err(ProtocolAbuse::Flood));
        assert_eq!(frames.advance(&ping, || began + REFILL * 2), Ok(()));
    }

    #[test]
    fn requests_and_bodies_cost_nothing_wherever_the_bytes_are_cut() {
        let began = Instant::now();
        let mut frames = FrameBudget::new(began, 0);
        let work = [frame(HEADERS, &[6; 20]), frame(DATA, &[6; 200]), frame(8, &[6; 4])].concat();
        for length in 1..work.len() {
            for piece in work.chunks(length) {
                assert_eq!(frames.advance(piece, || began), Ok(()));
            }
        }
        assert_eq!(frames.budget, BUDGET);
    }

    #[test]
    fn resets_cost_more() {
        let began = Instant::now();
        let mut frames = FrameBudget::new(began, 0);
        let reset = frame(RST_STREAM, &[0; 4]);
        let count = (0..BUDGET).take_while(|_| frames.advance(&reset, || began).is_ok()).count();
        assert_eq!(count, (BUDGET / RESET_COST) as usize);
    }

    fn on(stream: u32, kind: u8, flags: u8) -> Vec<u8> {
        let mut frame = frame(kind, b"x");
        frame[4] = flags;
        frame[5..9].copy_from_slice(&stream.to_be_bytes());
        frame
    }

    #[test]
    fn a_body_does_not_continue_after_its_end() {
        let began = Instant::now();
        for (before, expected) in [
            (vec![on(1, HEADERS, END_STREAM)], Err(ProtocolAbuse::AfterTheEnd)),
            (vec![on(1, HEADERS, 0), on(1, DATA, END_STREAM)], Err(ProtocolAbuse::AfterTheEnd)),
            (vec![on(1, HEADERS, END_STREAM), on(3, HEADERS, 0)], Err(ProtocolAbuse::AfterTheEnd)),
            (
                vec![on(1, HEADERS, END_STREAM), on(201, HEADERS, END_STREAM)],
                Err(ProtocolAbuse::AfterTheEnd),
            ),
            (vec![on(1, HEADERS, 0)], Ok(())),
            (vec![on(1, HEADERS, 0), on(3, HEADERS, END_STREAM)], Ok(())),
            (vec![on(3, HEADERS, END_STREAM)], Ok(())),
            // Too long ago; h2 detects it.
            (vec![on(1, HEADERS, END_STREAM), on(301, HEADERS, END_STREAM)], Ok(())),
        ] {
            let mut frames = FrameBudget::new(began, 0);
            assert_eq!(frames.advance(&before.concat(), || began), Ok(()), "{before:?}");
            assert_eq!(frames.advance(&on(1, DATA, 0), || began), expected, "{before:?}");
        }
    }

    #[test]
    fn an_incomplete_frame_is_known_unless_it_is_a_body() {
        let began = Instant::now();
        let mut frames = FrameBudget::new(began, 24);
        let mut step = |bytes: &[u8]| {
            frames.advance(bytes, || began).unwrap();
            frames.incomplete()
        };
        assert_eq!(step(&[0; 23]), Some(0), "the preface");
        assert_eq!(step(&[0]), None);
        let ping = frame(6, &[0; 8]);
        assert_eq!(step(&ping[..3]), Some(1), "half a header");
        assert_eq!(step(&ping[3..12]), Some(1), "half a frame");
        assert_eq!(step(&ping[12..]), None);
        let data = frame(DATA, &[1; 20]);
        assert_eq!(step(&data[..9]), None, "a body may take its time");
        assert_eq!(step(&data[9..]), None);
        assert_eq!(step(&ping[..8]), Some(3));
        assert_eq!(step(&[&ping[8..], &ping[..1]].concat()), Some(4), "the next one");
        assert_eq!(step(&ping[1..]), None);
        assert_eq!(step(&frame(HEADERS, &[0; 5])), Some(5), "its field block goes on");
        assert_eq!(step(&frame(CONTINUATION, &[0; 5])), Some(5));
        let mut last = frame(CONTINUATION, &[0; 5]);
        last[4] = END_HEADERS;
        assert_eq!(step(&last[..10]), Some(5));
        assert_eq!(step(&last[10..]), None);
    }
}
