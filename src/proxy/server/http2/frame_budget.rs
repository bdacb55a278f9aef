//! Ends an HTTP/2 connection that abuses the protocol, before hyper reads its frames.
//!
//! The first abuse is a flood. `PING` and `SETTINGS` need an answer each, `RST_STREAM` wastes work,
//! `PRIORITY`, empty `DATA` and unknown frames do nothing, and HTTP/2 limits none of them (RFC 9113
//! §10.5). A peer has a budget of such frames that time refills, so a flood ends the connection, and a
//! caller that measures its connection or cancels calls does not. The second is `DATA` after the end of
//! its stream, a connection error (RFC 9113 §5.1) that hyper treats as an error of the stream.

use std::time::Duration;

use tokio::time::Instant;

/// The frame budget of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    header: [u8; HEADER],
    /// The number of header bytes so far.
    seen: usize,
    /// The number of payload bytes left.
    payload: usize,
    ended: EndedStreams,
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
            header: [0; HEADER],
            seen: 0,
            payload: skip,
            ended: EndedStreams { highest: 0, latest: 0 },
            budget: BUDGET,
            refilled: now,
        }
    }

    /// Parses the next bytes.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), ProtocolAbuse> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let skip = self.payload.min(rest.len());
            self.payload -= skip;
            rest = rest.get(skip..).unwrap_or_default();
            let Some(empty) = self.header.get_mut(self.seen..) else { return Ok(()) };
            let take = if self.payload == 0 { empty.len().min(rest.len()) } else { 0 };
            let (head, tail) = rest.split_at_checked(take).unwrap_or((&[], rest));
            for (to, from) in empty.iter_mut().zip(head) {
                *to = *from;
            }
            rest = tail;
            self.seen += take;
            if self.seen == HEADER {
                self.seen = 0;
                self.frame(&now)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: &impl Fn() -> Instant) -> Result<(), ProtocolAbuse> {
        let [high, middle, low, kind, flags, stream @ ..] = self.header;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let stream = u32::from_be_bytes(stream) & STREAM;
        if kind == DATA && self.ended.has(stream) {
            return Err(ProtocolAbuse::AfterTheEnd);
        }
        let ends = flags & END_STREAM != 0;
        if ends && matches!(kind, DATA | HEADERS) {
            self.ended.add(stream);
        }
        let cost = match kind {
            // Flow control of a large response needs many of them, and none needs an answer.
            HEADERS | WINDOW_UPDATE => return Ok(()),
            // The last frame of a body may be empty.
            DATA if self.payload > 0 || ends => return Ok(()),
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
        let steps = elapsed.as_nanos() / REFILL.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(BUDGET).min(BUDGET);
        self.budget = (self.budget + steps).min(BUDGET);
        self.refilled = now;
    }
}

/// The latest streams that the caller has ended. hyper detects frames of older ones.
#[derive(Debug)]
struct EndedStreams {
    /// The highest stream that was ended.
    highest: u32,
    /// Bit `n` is the stream `2 * n` below it, because a caller's streams have odd numbers.
    latest: u128,
}

impl EndedStreams {
    fn add(&mut self, stream: u32) {
        if stream > self.highest {
            self.latest = self.latest.checked_shl((stream - self.highest) / 2).unwrap_or(0);
            self.highest = stream;
        }
        self.latest |= 1_u128.checked_shl((self.highest - stream) / 2).unwrap_or(0);
    }

    fn has(&self, stream: u32) -> bool {
        let below = self.highest.checked_sub(stream).map(|distance| distance / 2);
        below.and_then(|below| self.latest.checked_shr(below)).is_some_and(|bits| bits & 1 == 1)
    }
}

const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
/// The bits of a stream's number, without the reserved one.
const STREAM: u32 = 0x7fff_ffff;

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
            // Too long ago; hyper detects it.
            (vec![on(1, HEADERS, END_STREAM), on(301, HEADERS, END_STREAM)], Ok(())),
        ] {
            let mut frames = FrameBudget::new(began, 0);
            assert_eq!(frames.advance(&before.concat(), || began), Ok(()), "{before:?}");
            assert_eq!(frames.advance(&on(1, DATA, 0), || began), expected, "{before:?}");
        }
    }
}
