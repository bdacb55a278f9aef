//! What the fleet tells, and what it is told.
//!
//! What another member tells drops what a write through this one, or an event that came to it, would have dropped.
//! While this member does not hear everything, nothing is proved, but for a hub that reads the log itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Source,
    chain::{Link, Missed, Start},
    cursor::Moment,
    event::Event,
    feed::{Feed, Notices, Reader, lag},
    poller::Setback,
};
use crate::{
    domain::ProfileName,
    fleet::{Change, Hearing, Horizon, Member, Noted, Position, Tick, Written},
    proxy::cache::Noticed,
};

impl Notices {
    /// Tells the fleet of events, but for those that it knows.
    pub(super) fn tell_fleet(&self, profile: Option<&ProfileName>, events: &[Event]) {
        let Some(fleet) = self.cache().fleet() else { return };
        let mut told = self.told();
        for event in events.iter().filter(|event| told.is_new(profile, event)) {
            let Event { id, of_type, object, created_at } = event.clone();
            fleet.tell(Change::Event(Noted {
                profile: profile.cloned(),
                id,
                of_type,
                object,
                created_at,
            }));
        }
    }

    /// Waits until the fleet's store has what the fleet was told. False if that takes too long, and at once while the
    /// store is away.
    pub(super) async fn is_fleet_told(&self) -> bool {
        let Some(fleet) = self.cache().fleet() else { return true };
        fleet.is_hearing() && fleet.is_told_within(LONGEST_TELLING).await
    }

    /// Asks for the event logs that this gateway is to read for the fleet: a hub for those of all its profiles, any
    /// other for those that nobody reads.
    pub fn want_to_read(&self) {
        let Some(fleet) = self.cache().fleet() else { return };
        let feeds = if self.is_log_read() { self.feeds_of(None) } else { Vec::new() };
        let wanted = feeds.into_iter().filter(|feed| {
            fleet.is_hub() || fleet.reads(&feed.profile) || !feed.coherence.is_proved()
        });
        fleet.want_to_read(wanted.map(|feed| feed.profile.clone()));
    }

    /// Whether this gateway reads the event log of a feed now: for itself, if it has no fleet, or is a hub that is cut
    /// off; or for the fleet.
    pub(super) fn may_read(&self, feed: &Feed) -> bool {
        self.cache().fleet().is_none_or(|fleet| {
            if fleet.is_hearing() { fleet.reads(&feed.profile) } else { fleet.is_hub() }
        })
    }

    /// A reading from that start has come to its end, and began at that moment. The fleet is told if it is read for it.
    pub(super) fn complete(
        &self,
        feed: &Feed,
        start: Start,
        continues: bool,
        to: Moment,
    ) -> Result<(), Setback> {
        let until = to.ours + self.proved_for();
        let fleet = self.cache().fleet();
        let mut chain = feed.chain.lock();
        let from = chain.read(start, continues, to).map_err(|Missed| Setback::Lost)?;
        if let Some(fleet) = fleet.filter(|fleet| fleet.reads(&feed.profile)) {
            let (profile, by) = (feed.profile.clone(), fleet.instance().into());
            let through = to.theirs;
            let proves_ms = u64::try_from(self.proved_for().as_millis()).unwrap_or(u64::MAX);
            let tick = Tick { profile, by, from, through, until, proves_ms, sealed_ms: 0 };
            fleet.tell(Change::Tick(tick));
            chain.tell(through);
        }
        drop(chain);
        if fleet.is_none_or(Member::is_hub) {
            feed.coherence.prove(until);
        } else {
            self.prove_heard(feed, until);
        }
        feed.completed(continues, Reader::Own);
        Ok(())
    }

    /// A reading has failed. If that goes on, another gateway may do better.
    pub(super) fn note_failure(&self, feed: &Feed) {
        let last = feed.chain.lock().start().last;
        if last.is_none_or(|last| last.ours.elapsed() > self.proved_for()) {
            self.leave_to_others(feed, REST);
        }
    }

    /// Leaves the reading of a log to others for that time.
    pub(super) fn leave_to_others(&self, feed: &Feed, rest: Duration) {
        if let Some(fleet) = self.cache().fleet() {
            fleet.leave_to_others(&feed.profile, rest);
        }
    }

    /// Another member has read the log of a profile.
    fn take_tick(&self, tick: &Tick) {
        let Some(feed) = self.feed(&tick.profile) else { return };
        // As long as the interval of who reads says, and no longer than any interval may be.
        let proves = Duration::from_millis(tick.proves_ms).min(LONGEST_PROOF);
        let until = tick.until.min(Instant::now() + proves);
        let ours = until.checked_sub(proves).unwrap_or(until);
        let began = Moment { theirs: tick.through, ours };
        let link = feed.chain.lock().hear(tick, began, *self.settings().settle);
        match link {
            Link::TooEarly => return,
            Link::Begun => self.restart(&feed),
            Link::Continued => {}
        }
        self.prove_heard(&feed, until);
        feed.completed(link == Link::Continued, Reader::Member(tick.by.clone(), ours));
    }

    /// Proves a feed until then, if everything that the fleet tells is heard.
    fn prove_heard(&self, feed: &Feed, until: Instant) {
        let is_hearing = || self.cache().fleet().is_none_or(Member::is_hearing);
        if is_hearing() {
            feed.coherence.prove(until);
        }
        // It may have ended in between.
        if !is_hearing() {
            feed.coherence.prove(Instant::now());
        }
    }

    /// For how long a reading proves the chain, from when it began.
    fn proved_for(&self) -> Duration {
        self.settings().interval.saturating_mul(PROVED_FOR)
    }

    fn drop_written(&self, at: Position, written: &Written) {
        let Written { path, collection, whole, .. } = written;
        let here = match self.feed(&written.profile) {
            None => Here::Absent,
            Some(feed) if feed.affected().owner.is_some() => Here::Member,
            Some(_) => Here::Table,
        };
        for owner in owners(written, here) {
            self.cache().drop_written(owner, path, collection.as_deref(), *whole, Some(at));
        }
    }

    fn take_heard(&self, at: Position, profile: Option<&ProfileName>, events: &[Event]) {
        let mut told = self.told();
        for event in events {
            told.is_new(profile, event);
        }
        drop(told);
        let now = Timestamp::now();
        for feed in self.feeds_of(profile) {
            feed.count(Source::Fleet, events.len(), events.len(), None, lag(events, now));
        }
        self.apply(profile, Source::Fleet, events.iter(), None, Some(at));
    }
}

/// What the profile of a write is in this gateway. In the writer's it may be another of these.
#[derive(Clone, Copy, Debug)]
enum Here {
    /// It has a table of its own, and may share its data with others.
    Table,
    /// It is a member of a template.
    Member,
    /// It is not there now.
    Absent,
}

/// The owners whose responses a write of another gateway changed.
fn owners(written: &Written, here: Here) -> Vec<Option<&ProfileName>> {
    let own = Some(&written.profile);
    match (here, written.shared) {
        (Here::Table, _) | (Here::Absent, true) => vec![None],
        (Here::Member, true) => vec![None, own],
        (Here::Member | Here::Absent, false) => vec![own],
    }
}

impl Hearing for Notices {
    fn hear(&self, at: Position, changes: Vec<Change>) {
        let mut events: BTreeMap<Option<ProfileName>, Vec<Event>> = BTreeMap::new();
        let mut ticks = Vec::new();
        for change in changes {
            match change {
                Change::Written(written) => self.drop_written(at, &written),
                Change::Event(Noted { profile, id, of_type, object, created_at }) => {
                    let event = Event { id, of_type, object, created_at };
                    events.entry(profile).or_default().push(event);
                }
                Change::Purge { operation, pk, profile } => {
                    let (operation, pk) = (operation.as_deref(), pk.as_deref());
                    let purged = self.cache().purge(operation, pk, profile.as_ref(), Some(at));
                    tracing::info!(purged, "cache emptied, as the fleet was told");
                }
                Change::Everything => {
                    for feed in self.feeds_of(None) {
                        self.cache().drop_noticed(feed.affected(), Noticed::Everything, Some(at));
                        feed.chain.lock().settle_anew();
                        self.restart(&feed);
                    }
                }
                Change::Tick(tick) => ticks.push(tick),
                // Others hear of these.
                Change::Pause(_)
                | Change::Credentials(_)
                | Change::Accepted(_)
                | Change::Rejected(_)
                | Change::CacheKey { .. }
                | Change::Hello
                | Change::Unknown => {}
            }
        }
        for (profile, events) in events {
            self.take_heard(at, profile.as_ref(), &events);
        }
        // They say that these events were told.
        for tick in &ticks {
            self.take_tick(tick);
        }
    }

    fn silent(&self) {
        for feed in self.feeds_of(None) {
            feed.coherence.prove(Instant::now());
        }
    }

    fn missed(&self) {
        // What this gateway knows to be told may be lost.
        self.told().clear();
        for feed in self.feeds_of(None) {
            feed.chain.lock().miss();
            self.restart(&feed);
        }
    }

    fn horizon(&self) -> Option<Arc<Horizon>> {
        self.cache().horizon().cloned()
    }
}

/// The intervals for which a reading proves the chain: one may fail, and one may be slow.
const PROVED_FOR: u32 = 3;
/// The same for the longest interval that there may be.
const LONGEST_PROOF: Duration = Duration::from_hours(3);
/// How long a gateway that cannot read leaves it to others.
const REST: Duration = Duration::from_secs(15);
/// How long a webhook waits for the fleet's store.
const LONGEST_TELLING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_of_the_owner_that_the_profile_has_here() {
        let name = ProfileName::new("acme");
        let written = |shared| Written {
            profile: name.clone(),
            shared,
            path: "/e/1/".into(),
            collection: None,
            whole: false,
        };
        let (by_table, by_member, own) = (written(true), written(false), Some(&name));
        for (written, here, expected) in [
            (&by_table, Here::Table, vec![None]),
            (&by_table, Here::Member, vec![None, own]),
            (&by_table, Here::Absent, vec![None]),
            (&by_member, Here::Table, vec![None]),
            (&by_member, Here::Member, vec![own]),
            (&by_member, Here::Absent, vec![own]),
        ] {
            assert_eq!(owners(written, here), expected, "{written:?} {here:?}");
        }
    }
}
