//! What the fleet tells, and what it is told.
//!
//! What another member tells drops what a write through this one, or an event that came to it, would have dropped.
//! While this member does not hear everything, nothing is proved.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Source,
    event::Event,
    feed::{Feed, Notices, lag},
};
use crate::{
    domain::ProfileName,
    fleet::{Change, Hearing, Horizon, Member, Noted, Position, Written},
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

    /// Proves a feed until then, if everything that the fleet tells is heard.
    pub(super) fn prove(&self, feed: &Feed, until: Instant) {
        let is_hearing = || self.cache().fleet().is_none_or(Member::is_hearing);
        if is_hearing() {
            feed.coherence.prove(until);
        }
        // It may have ended in between.
        if !is_hearing() {
            feed.coherence.prove(Instant::now());
        }
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
                    }
                }
                // These are the profiles'.
                Change::Pause(_) | Change::CacheKey { .. } | Change::Unknown => {}
            }
        }
        for (profile, events) in events {
            self.take_heard(at, profile.as_ref(), &events);
        }
    }

    fn silent(&self) {
        for feed in self.feeds_of(None) {
            feed.coherence.prove(Instant::now());
        }
    }

    fn missed(&self) {
        self.retire();
    }

    fn horizon(&self) -> Option<Arc<Horizon>> {
        self.cache().horizon().cloned()
    }
}

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
