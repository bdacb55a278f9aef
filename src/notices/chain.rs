//! How far the event log of a profile is known, whoever reads it.
//!
//! A gateway reads the log itself, or hears that another member of its fleet has: a tick. Every event that the reader
//! found was told before its tick, so a tick proves for whoever has heard everything what a reading proves for the
//! reader. Ticks and readings form one chain, as long as each begins where the one before it ended:
//!
//! ```text
//! what the fleet was told    ├── tick ──┼── tick ──┤    from ≤ told: the chain goes on
//! a tick of a new reader                       ├── tick ──┤
//! a tick after a hole                                        ├── tick ──┤   begins anew
//! ```
//!
//! All of these are times of Pigello's clock. Who begins to read begins where the last tick ended, less the overlap,
//! so that another reader does not break the chain.
//!
//! What begins anew proves nothing of what was stored before. It must not begin before everything was heard for
//! `settle`: an event that was told earlier may be about a change that the copy of Pigello's database does not show
//! yet, and who has not heard of it drops nothing a second time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::cursor::Moment;
use crate::fleet::Tick;

/// See the module.
#[derive(Debug)]
pub(super) struct Chain {
    /// Up to where the log is known here, by readings and ticks; none if that is not known.
    last: Option<Moment>,
    /// Up to where the fleet was told, by the last tick that was told or heard.
    told: Option<Timestamp>,
    /// Everything that the fleet tells was heard since then.
    heard_since: Instant,
    /// How often changes may have been missed.
    breaks: u64,
}

/// Where a reading begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) last: Option<Moment>,
    breaks: u64,
}

/// What a tick means for the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It continues the chain.
    Continued,
    /// It begins the chain anew.
    Begun,
    /// It is too early for it to begin anything.
    TooEarly,
}

impl Chain {
    /// Nothing is known, and everything is heard from now on.
    pub(super) fn new() -> Self {
        Self { last: None, told: None, heard_since: Instant::now(), breaks: 0 }
    }

    /// Where the next reading begins.
    pub(super) fn start(&self) -> Start {
        Start { last: self.last, breaks: self.breaks }
    }

    /// The log was read up to that moment, from that start or anew. Returns up to where the fleet knows it, which is
    /// where a tick about this reading begins. If changes may have been missed since the start, nobody knows what the
    /// fleet was told, and the reading counts for nothing.
    pub(super) fn read(
        &mut self,
        start: Start,
        continues: bool,
        to: Moment,
    ) -> Result<Option<Timestamp>, Missed> {
        if self.breaks != start.breaks {
            return Err(Missed);
        }
        self.last = Some(to);
        if !continues {
            self.told = None;
        }
        Ok(self.told)
    }

    /// The fleet is told of the last reading.
    pub(super) fn tell(&mut self, through: Timestamp) {
        self.told = Some(through);
    }

    /// The readings of this gateway cannot be continued.
    pub(super) fn lose(&mut self) {
        self.last = None;
    }

    /// Another member has read the log, in a reading that began at that moment.
    pub(super) fn hear(&mut self, tick: &Tick, began: Moment, settle: Duration) -> Link {
        let (Moment { theirs: through, .. }, told) = (began, self.told);
        if tick.from.zip(told).is_some_and(|(from, told)| from <= told) {
            // Two may read for a moment, one behind the other.
            self.told = told.max(Some(through));
            self.last = self.last.filter(|last| last.theirs >= through).or(Some(began));
            return Link::Continued;
        }
        if self.heard_since.elapsed() < settle {
            return Link::TooEarly;
        }
        self.told = Some(through);
        self.last = Some(began);
        Link::Begun
    }

    /// Changes may have been missed until now.
    pub(super) fn miss(&mut self) {
        self.breaks = self.breaks.saturating_add(1);
        self.last = None;
        self.settle_anew();
    }

    /// What was heard until now does not say enough to be dropped a second time.
    pub(super) fn settle_anew(&mut self) {
        self.told = None;
        self.heard_since = Instant::now();
    }
}

/// Changes may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed;

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::domain::ProfileName;

    const SETTLE: Duration = Duration::from_secs(2);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn moment(second: i64) -> Moment {
        Moment { theirs: at(second), ours: Instant::now() }
    }

    fn hear(chain: &mut Chain, from: Option<i64>, through: i64) -> Link {
        let tick = Tick {
            profile: ProfileName::new("p"),
            by: "hub".into(),
            from: from.map(at),
            through: at(through),
            until: Instant::now(),
            sealed_ms: 0,
        };
        chain.hear(&tick, moment(through), SETTLE)
    }

    async fn heard() -> Chain {
        let chain = Chain::new();
        advance(SETTLE).await;
        chain
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_join_as_long_as_none_is_missing() {
        let mut chain = heard().await;
        assert_eq!(hear(&mut chain, Some(90), 100), Link::Begun, "nothing came before");
        assert_eq!(hear(&mut chain, Some(100), 105), Link::Continued);
        assert_eq!(hear(&mut chain, Some(104), 106), Link::Continued, "of another reader");
        assert_eq!(hear(&mut chain, Some(105), 105), Link::Continued, "which is behind");
        assert_eq!(hear(&mut chain, Some(106), 110), Link::Continued, "and takes nothing back");
        assert_eq!(hear(&mut chain, Some(111), 115), Link::Begun, "a hole");
        assert_eq!(hear(&mut chain, None, 110), Link::Begun, "Pigello's clock was put back");
        assert_eq!(hear(&mut chain, Some(110), 112), Link::Continued);
        assert_eq!(chain.start().last.unwrap().theirs, at(112));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_before_everything_was_heard_for_a_while() {
        let mut chain = Chain::new();
        assert_eq!(hear(&mut chain, None, 100), Link::TooEarly);
        assert_eq!(hear(&mut chain, Some(100), 105), Link::TooEarly, "nothing to continue");
        assert!(chain.start().last.is_none());
        advance(SETTLE).await;
        assert_eq!(hear(&mut chain, Some(105), 110), Link::Begun);
        for lose in [Chain::miss, Chain::settle_anew] {
            lose(&mut chain);
            assert_eq!(hear(&mut chain, Some(110), 115), Link::TooEarly);
            advance(SETTLE).await;
            assert_eq!(hear(&mut chain, Some(110), 115), Link::Begun);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_goes_on_where_the_last_one_ended_and_tells_what_the_fleet_does_not_know() {
        let mut chain = heard().await;
        hear(&mut chain, None, 100);
        let start = chain.start();
        assert_eq!(start.last.unwrap().theirs, at(100));
        // It was cut off, read for itself, and tells now.
        assert_eq!(chain.read(start, true, moment(105)), Ok(Some(at(100))));
        assert_eq!(chain.read(chain.start(), true, moment(110)), Ok(Some(at(100))));
        chain.tell(at(110));
        assert_eq!(chain.read(chain.start(), true, moment(115)), Ok(Some(at(110))));
        assert_eq!(chain.read(chain.start(), false, moment(120)), Ok(None), "another chain");
        chain.lose();
        assert!(chain.start().last.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_during_which_changes_were_missed_counts_for_nothing() {
        let mut chain = heard().await;
        hear(&mut chain, None, 100);
        let start = chain.start();
        chain.miss();
        assert_eq!(chain.read(start, true, moment(105)), Err(Missed));
        assert!(chain.start().last.is_none());
    }
}
