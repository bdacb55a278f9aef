//! Which part of the event log a reading asks for, and which of its events are new.
//!
//! A reading asks for what was created since the reading before it began, less an overlap: an event can become
//! visible later than its `created_at` says. Both are times of Pigello's clock, from `Date`, because
//! `created_at` is one. If `Date` runs ahead of this machine's monotonic clock, the latter counts: to ask for too
//! much costs a few lines, to ask for too little loses events. If Pigello's clock is put back, what is written then
//! can be from before the window ([`Cursor::was_put_back`]): such a reading is continued by no other.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::event::Event;

/// The place that the readings of one event log have come to.
#[derive(Debug)]
pub(super) struct Cursor {
    overlap: Duration,
    /// When the last complete reading began.
    last: Option<Moment>,
    /// The most events that a page of this log has had.
    largest_page: usize,
    /// The events of the overlap that have been seen, by their `id`.
    seen: HashMap<Box<str>, Timestamp>,
}

/// One moment by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Pigello's.
    pub(super) theirs: Timestamp,
    /// That of this machine.
    pub(super) ours: Instant,
}

/// What a reading asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The oldest event.
    pub(super) from: Timestamp,
    /// Whether it continues where the reading before it began.
    pub(super) continues: bool,
}

impl Cursor {
    pub(super) fn new(overlap: Duration) -> Self {
        Self { overlap, last: None, largest_page: 0, seen: HashMap::new() }
    }

    /// Continues from there: from its own last reading, or from one of another gateway.
    pub(super) fn follow(&mut self, last: Option<Moment>) {
        if last.is_none() {
            self.lose();
        }
        self.last = last;
    }

    /// The window of a reading that begins at `now`. Without a reading before it, the time of this machine,
    /// `wall`, has to do: the first reading is for Pigello's.
    pub(super) fn begin(&mut self, now: Instant, wall: Timestamp) -> Window {
        let last = self.last.filter(|last| now.duration_since(last.ours) <= LONGEST_GAP);
        if last.is_none() {
            self.lose();
        }
        let from = self.before(last.map_or(wall, |last| last.theirs));
        Window { from, continues: last.is_some() }
    }

    /// Whether an event was not seen before. One without an `id` may be another one each time.
    pub(super) fn is_new(&mut self, event: &Event) -> bool {
        let Some((id, created_at)) = event.id.clone().zip(event.created_at) else { return true };
        if self.seen.len() >= MOST_SEEN {
            // To drop an object once more does no harm.
            self.seen.clear();
        }
        self.seen.insert(id, created_at).is_none()
    }

    /// Whether a page with that many events is the last one: another one had more, or it is empty.
    pub(super) fn is_last_page(&mut self, events: usize) -> bool {
        let is_last = events == 0 || events < self.largest_page;
        self.largest_page = self.largest_page.max(events);
        is_last
    }

    /// Whether Pigello's clock, which says `date` in a reading that began at `began`, was put back since the
    /// reading before. By up to half of the overlap it is no loss.
    pub(super) fn was_put_back(&self, began: Instant, date: Timestamp) -> bool {
        self.last.is_some_and(|last| {
            // `Date` has whole seconds.
            let most = (self.overlap / 2).saturating_add(Duration::from_secs(1));
            let passed = signed(began.duration_since(last.ours));
            let expected = last.theirs.saturating_add(passed).unwrap_or(Timestamp::MAX);
            date < expected.saturating_sub(signed(most)).unwrap_or(Timestamp::MIN)
        })
    }

    /// A reading that began at `began`, when Pigello's clock said `date`, is complete. Returns the moment of it.
    pub(super) fn finish(&mut self, began: Instant, date: Timestamp) -> Moment {
        let theirs = self.last.map_or(date, |last| {
            let elapsed = began.duration_since(last.ours);
            let most = elapsed.saturating_add(elapsed / 100).saturating_add(Duration::from_secs(1));
            date.min(last.theirs.saturating_add(signed(most)).unwrap_or(date))
        });
        let moment = Moment { theirs, ours: began };
        self.last = Some(moment);
        // Windows begin in whole seconds.
        let oldest = self.before(theirs).saturating_sub(SignedDuration::from_secs(1));
        let oldest = oldest.unwrap_or(Timestamp::MIN);
        self.seen.retain(|_, created_at| *created_at >= oldest);
        moment
    }

    /// The next reading does not continue any.
    pub(super) fn lose(&mut self) {
        self.last = None;
        self.largest_page = 0;
        self.seen.clear();
    }

    fn before(&self, theirs: Timestamp) -> Timestamp {
        theirs.saturating_sub(signed(self.overlap)).unwrap_or(Timestamp::MIN)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// The longest time between two readings that a chain survives. Nobody knows how long Pigello keeps its log, and
/// no stored response lives much longer.
const LONGEST_GAP: Duration = Duration::from_hours(1);
/// The most events that are remembered.
const MOST_SEEN: usize = 20_000;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const OVERLAP: Duration = Duration::from_mins(2);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(2_000_000_000 + seconds).unwrap()
    }

    fn event(id: &str, seconds: i64) -> Event {
        Event { id: Some(id.into()), created_at: Some(at(seconds)), ..Event::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_continues_where_the_last_complete_one_began() {
        let mut cursor = Cursor::new(OVERLAP);
        let first = Instant::now();
        let window = cursor.begin(first, at(5000));
        assert_eq!(window, Window { from: at(4880), continues: false });
        cursor.finish(first, at(0));
        advance(Duration::from_secs(10)).await;
        // One that is not finished changes nothing.
        for _ in 0..2 {
            let window = cursor.begin(Instant::now(), at(5000));
            assert_eq!(window, Window { from: at(-120), continues: true });
        }
        cursor.finish(Instant::now(), at(10));
        assert_eq!(cursor.begin(Instant::now(), at(5000)).from, at(-110));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_loses_no_event() {
        let mut cursor = Cursor::new(OVERLAP);
        cursor.finish(Instant::now(), at(0));
        advance(Duration::from_secs(5)).await;
        // One server's clock is an hour ahead.
        cursor.finish(Instant::now(), at(3605));
        assert!(cursor.begin(Instant::now(), at(0)).from <= at(5 + 2 - 120));
        advance(Duration::from_secs(5)).await;
        cursor.finish(Instant::now(), at(10));
        assert_eq!(cursor.begin(Instant::now(), at(0)).from, at(10 - 120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_back_is_noticed() {
        let mut cursor = Cursor::new(OVERLAP);
        assert!(!cursor.was_put_back(Instant::now(), at(-600)), "nothing is known of it yet");
        cursor.finish(Instant::now(), at(0));
        for (passed, date, was_put_back) in
            [(0, 0, false), (0, -61, false), (0, -62, true), (600, 600, false), (600, 538, true)]
        {
            let began = Instant::now() + Duration::from_secs(passed);
            assert_eq!(cursor.was_put_back(began, at(date)), was_put_back, "{passed} {date}");
            assert!(!cursor.was_put_back(began, at(date + 7200)), "it is put ahead");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_that_is_too_long_is_not_bridged() {
        let mut cursor = Cursor::new(OVERLAP);
        cursor.finish(Instant::now(), at(0));
        assert!(cursor.is_new(&event("a", 0)));
        advance(LONGEST_GAP).await;
        assert!(cursor.begin(Instant::now(), at(0)).continues);
        advance(Duration::from_secs(1)).await;
        assert!(!cursor.begin(Instant::now(), at(0)).continues);
        assert!(cursor.is_new(&event("a", 0)), "what was seen is forgotten");
        cursor.finish(Instant::now(), at(0));
        cursor.lose();
        assert!(!cursor.begin(Instant::now(), at(0)).continues);
    }

    #[test]
    fn a_page_may_be_full_unless_another_one_had_more() {
        let mut cursor = Cursor::new(OVERLAP);
        assert!(cursor.is_last_page(0));
        assert!(!cursor.is_last_page(3) && !cursor.is_last_page(3));
        assert!(cursor.is_last_page(2) && cursor.is_last_page(0));
        assert!(!cursor.is_last_page(4) && cursor.is_last_page(3));
        cursor.lose();
        assert!(!cursor.is_last_page(1), "its pages may be smaller now");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_new_once_as_long_as_it_can_come_again() {
        let mut cursor = Cursor::new(OVERLAP);
        cursor.finish(Instant::now(), at(0));
        assert!(cursor.is_new(&event("a", 0)) && !cursor.is_new(&event("a", 0)));
        let nameless = Event { id: None, ..event("a", 0) };
        assert!(cursor.is_new(&nameless) && cursor.is_new(&nameless));
        advance(OVERLAP).await;
        cursor.finish(Instant::now(), at(120));
        assert!(!cursor.is_new(&event("a", 0)), "the next window has it still");
        advance(Duration::from_secs(2)).await;
        cursor.finish(Instant::now(), at(122));
        assert!(cursor.seen.is_empty());
        for number in 0..=MOST_SEEN {
            cursor.is_new(&event(&number.to_string(), 122));
        }
        assert!(cursor.seen.len() <= MOST_SEEN);
    }
}
