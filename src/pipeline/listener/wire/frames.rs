//! Counts the frames of an HTTP/2 connection that cost work and carry no request.
//!
//! `PING` and `SETTINGS` ask for an answer each, `RST_STREAM` throws away work, `PRIORITY`, empty
//! `DATA` and unknown frames do nothing at all; HTTP/2 sets no limit to any of them (RFC 9113
//! §10.5). A peer has a budget of such frames that time and real work refill, so that a flood ends
//! and a caller that measures its connection or cancels calls is left alone.

use std::time::Duration;

use tokio::time::Instant;

/// Follows the frames of one connection.
#[derive(Debug)]
pub struct Meter {
    header: [u8; HEADER],
    /// Bytes of the header that have been seen.
    seen: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
    budget: u32,
    refilled: Instant,
}

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

impl Meter {
    /// Behind `skip` bytes that are no frames: a preface.
    pub fn new(now: Instant, skip: usize) -> Self {
        Self { header: [0; HEADER], seen: 0, payload: skip, budget: BUDGET, refilled: now }
    }

    /// Looks at the next bytes.
    pub fn advance(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
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

    fn frame(&mut self, now: &impl Fn() -> Instant) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let cost = match kind {
            // Flow control of a large answer needs many, and none of them asks for an answer.
            HEADERS | WINDOW_UPDATE => return Ok(()),
            // The last frame of a body may be empty.
            DATA if self.payload > 0 || flags & END_STREAM != 0 => return Ok(()),
            RST_STREAM => RESET_COST,
            _ => 1,
        };
        if self.budget < cost {
            self.refill(now());
        }
        self.budget = self.budget.checked_sub(cost).ok_or(Flood)?;
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

const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// So many at once.
const BUDGET: u32 = 1000;
/// And one more each so often.
const REFILL: Duration = Duration::from_millis(10);
/// A reset stream may have been a call under way.
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
        let mut meter = Meter::new(began, 0);
        let ping = frame(6, &[0; 8]);
        for _ in 0..BUDGET {
            assert_eq!(meter.advance(&ping, || began), Ok(()));
        }
        assert_eq!(meter.advance(&ping, || began), Err(Flood));
        assert_eq!(meter.advance(&ping, || began + REFILL * 2), Ok(()));
    }

    #[test]
    fn requests_and_bodies_cost_nothing_wherever_the_bytes_are_cut() {
        let began = Instant::now();
        let mut meter = Meter::new(began, 0);
        let work = [frame(HEADERS, &[6; 20]), frame(DATA, &[6; 200]), frame(8, &[6; 4])].concat();
        for length in 1..work.len() {
            for piece in work.chunks(length) {
                assert_eq!(meter.advance(piece, || began), Ok(()));
            }
        }
        assert_eq!(meter.budget, BUDGET);
    }

    #[test]
    fn resets_cost_more() {
        let began = Instant::now();
        let mut meter = Meter::new(began, 0);
        let reset = frame(RST_STREAM, &[0; 4]);
        let count = (0..BUDGET).take_while(|_| meter.advance(&reset, || began).is_ok()).count();
        assert_eq!(count, (BUDGET / RESET_COST) as usize);
    }
}
