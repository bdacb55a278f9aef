//! What the fleet tells, and what it is told.
//!
//! What another member tells drops what a write through this one, or an event that came to it, would have dropped.
//! While this member does not hear everything, nothing is proved.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    Source,
    event::Event,
    feed::{Feed, Notices, lag},
};
use crate::{
    domain::ProfileName,
    fleet::{Change, Hearing, Member, Noted, Written},
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

    fn drop_written(&self, written: &Written) {
        let Written { path, collection, whole, .. } = written;
        let here = self.feed(&written.profile);
        for owner in owners(written, here.as_ref().map(|feed| feed.affected().owner)) {
            self.cache().drop_written(owner, path, collection.as_deref(), *whole);
        }
    }

    fn take_heard(&self, profile: Option<&ProfileName>, events: &[Event]) {
        let mut told = self.told();
        for event in events {
            told.is_new(profile, event);
        }
        drop(told);
        let now = Timestamp::now();
        for feed in self.feeds_of(profile) {
            feed.count(Source::Fleet, events.len(), events.len(), None, lag(events, now));
        }
        self.apply(profile, Source::Fleet, events.iter(), None);
    }
}

/// The owners whose responses a write of another member changed. The profile is a member of a template *here*, a profile
/// with a table of its own (`Some(None)`), or not there; the writer's may be another of these.
fn owners<'a>(
    written: &'a Written,
    here: Option<Option<&'a ProfileName>>,
) -> Vec<Option<&'a ProfileName>> {
    match here {
        Some(Some(member)) if written.shared => vec![None, Some(member)],
        Some(owner) => vec![owner],
        None => vec![(!written.shared).then_some(&written.profile)],
    }
}

impl Hearing for Notices {
    fn hear(&self, changes: Vec<Change>) {
        let mut events: BTreeMap<Option<ProfileName>, Vec<Event>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Written(written) => self.drop_written(&written),
                Change::Event(Noted { profile, id, of_type, object, created_at }) => {
                    let event = Event { id, of_type, object, created_at };
                    events.entry(profile).or_default().push(event);
                }
                Change::Purge { operation, pk, profile } => {
                    let purged =
                        self.cache().purge(operation.as_deref(), pk.as_deref(), profile.as_ref());
                    tracing::info!(purged, "cache emptied, as the fleet was told");
                }
                Change::Everything => {
                    for feed in self.feeds_of(None) {
                        self.cache().drop_noticed(feed.affected(), Noticed::Everything);
                    }
                }
                Change::Unknown => {}
            }
        }
        for (profile, events) in events {
            self.take_heard(profile.as_ref(), &events);
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
        let (by_table, by_member) = (written(true), written(false));
        let (table, member, absent) = (Some(None), Some(Some(&name)), None);
        for (written, here, expected) in [
            (&by_table, table, vec![None]),
            (&by_table, member, vec![None, Some(&name)]),
            (&by_table, absent, vec![None]),
            (&by_member, table, vec![None]),
            (&by_member, member, vec![Some(&name)]),
            (&by_member, absent, vec![Some(&name)]),
        ] {
            assert_eq!(owners(written, here), expected, "{written:?} {here:?}");
        }
    }
}
