//! Invalidation by epoch: stored responses become unreachable at once, without a search for them.
//!
//! A write increments the counters of what it changed. A stored response keeps the values that its
//! counters had when its fetch began. If a counter has another value now, the response is outdated: it
//! is not served, and if its fetch is still in flight, it is not stored. So every listener and profile
//! sees a write, no response that was in flight outlives it, and a hit pays a few loads.
//!
//! A member of a template is a customer with data of its own (its `owner`), so its writes outdate its own responses
//! alone, and those of other profiles leave it alone.
//!
//! A counter has many keys, so a write may also invalidate a response that it did not change. That costs
//! one fetch and is never wrong.

use std::{
    fmt,
    hash::{Hash, Hasher},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ahash::RandomState;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::{
    domain::ProfileName,
    fleet::{Horizon, Position},
};

/// The counters.
pub(in crate::proxy::cache) struct Epochs {
    counters: Box<[AtomicU32]>,
    /// The same for what other members have stored, if there is a shared cache.
    horizon: Option<Arc<Horizon>>,
    hasher: RandomState,
}

/// A set of responses that a write or a notice invalidates together.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) enum EpochScope<'a> {
    /// A path with any query.
    Path(&'a str),
    /// All objects of a collection.
    Objects(&'a str),
    /// The lists of a collection.
    Lists(&'a str),
    /// The responses about an object, whatever their path. It is nobody's, because its UUID is unique in all of
    /// Pigello.
    Object(Uuid),
    /// What is under the rule of this number. In memory, a profile's
    /// [`Coherence`](crate::proxy::profile::Coherence) drops it.
    Rule(usize),
    /// Everything of a profile. The same.
    Everything,
    /// What a profile's chain of notices says nothing of: all from before it began.
    Unproved,
}

/// Paths that a server may take for one path share a counter: in either case, with and without
/// percent-encoding.
impl Hash for EpochScope<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        mem::discriminant(self).hash(state);
        let path = match self {
            Self::Path(path) | Self::Objects(path) | Self::Lists(path) => path,
            Self::Object(id) => return id.hash(state),
            Self::Rule(number) => return number.hash(state),
            Self::Everything | Self::Unproved => return,
        };
        for byte in percent_decode_str(path) {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

/// What a response is about, for its stamp.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) struct Subject<'a> {
    pub(in crate::proxy::cache) owner: Option<&'a ProfileName>,
    pub(in crate::proxy::cache) profile: &'a ProfileName,
    pub(in crate::proxy::cache) path: &'a str,
    pub(in crate::proxy::cache) collection: Option<&'a str>,
    pub(in crate::proxy::cache) is_list: bool,
}

/// The object that a path names: its last UUID, in any spelling.
pub fn object_of(path: &str) -> Option<Uuid> {
    path.rsplit('/').find_map(|segment| Uuid::try_parse(segment).ok())
}

/// The counters of a response and their values when its fetch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy::cache) struct EpochStamp([(u32, u32); 3]);

impl Epochs {
    pub(in crate::proxy::cache) fn new(horizon: Option<Arc<Horizon>>) -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        Self { counters, horizon, hasher: RandomState::new() }
    }

    /// What other members may have stored that is still true.
    pub(in crate::proxy::cache) fn horizon(&self) -> Option<&Arc<Horizon>> {
        self.horizon.as_ref()
    }

    /// The slots of the horizon that a response under a rule falls into.
    pub(in crate::proxy::cache) fn slots(&self, subject: &Subject<'_>, rule: usize) -> [u32; 5] {
        let [one, two, three] = Self::scopes(subject).map(|(owner, scope)| self.hash(owner, scope));
        let of_profile = |scope| self.hash(Some(subject.profile), scope);
        let (rule, all) = (of_profile(EpochScope::Rule(rule)), of_profile(EpochScope::Everything));
        [one, two, three, rule, all].map(Horizon::slot)
    }

    /// Whether nothing has touched those slots since a fetch that began there, as far as this member knows.
    pub(in crate::proxy::cache) fn is_untouched(
        &self,
        slots: impl IntoIterator<Item = u32>,
        asof: Position,
    ) -> bool {
        self.horizon.as_ref().is_some_and(|horizon| horizon.is_untouched(slots, asof))
    }

    /// The slot of what a profile's chain says nothing of.
    pub(in crate::proxy::cache) fn unproved_slot(&self, profile: &ProfileName) -> u32 {
        Horizon::slot(self.hash(Some(profile), EpochScope::Unproved))
    }

    /// The stamp of a response that is about to be fetched.
    pub(in crate::proxy::cache) fn stamp(&self, subject: &Subject<'_>) -> EpochStamp {
        let slots = Self::scopes(subject).map(|(owner, scope)| self.slot(owner, scope));
        EpochStamp(slots.map(|slot| (slot, self.read(slot))))
    }

    /// The scopes that a response falls into.
    fn scopes<'s>(subject: &Subject<'s>) -> [(Option<&'s ProfileName>, EpochScope<'s>); 3] {
        let path = (subject.owner, EpochScope::Path(subject.path));
        match subject.collection {
            // Notices are about the lists of one profile.
            Some(collection) if subject.is_list => {
                let lists = EpochScope::Lists(collection);
                [path, (subject.owner, lists), (Some(subject.profile), lists)]
            }
            collection => {
                let object = object_of(subject.path).map(|id| (None, EpochScope::Object(id)));
                let objects = |collection| (subject.owner, EpochScope::Objects(collection));
                [path, collection.map_or(path, objects), object.unwrap_or(path)]
            }
        }
    }

    /// Whether no write has invalidated the response since its fetch began.
    pub(in crate::proxy::cache) fn is_current(&self, stamp: &EpochStamp) -> bool {
        stamp.0.iter().all(|(slot, epoch)| self.read(*slot) == *epoch)
    }

    /// Invalidates the responses of a scope: with a notice at that position, or just now.
    pub(in crate::proxy::cache) fn advance(
        &self,
        owner: Option<&ProfileName>,
        scope: EpochScope<'_>,
        at: Option<Position>,
    ) {
        // First: a response that is stored with the next stamp has met the horizon of now.
        self.outdate(owner, scope, at);
        if let Some(counter) = self.counters.get(self.slot(owner, scope) as usize) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Invalidates what other members have stored of a scope.
    pub(in crate::proxy::cache) fn outdate(
        &self,
        owner: Option<&ProfileName>,
        scope: EpochScope<'_>,
        at: Option<Position>,
    ) {
        if let Some(horizon) = &self.horizon {
            horizon.changed(Horizon::slot(self.hash(owner, scope)), at);
        }
    }

    fn read(&self, slot: u32) -> u32 {
        self.counters.get(slot as usize).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn slot(&self, owner: Option<&ProfileName>, scope: EpochScope<'_>) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
        let hash = self.hash(owner, scope) as u32;
        hash & (COUNTERS - 1)
    }

    fn hash(&self, owner: Option<&ProfileName>, scope: EpochScope<'_>) -> u64 {
        self.hasher.hash_one((owner, scope))
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epochs")
    }
}

/// The counters take 256 KiB. With a thousand writes a minute and a lifetime of a minute, three stored
/// responses in a hundred are fetched again without need. A counter returns to an earlier value after
/// four billion writes.
const COUNTERS: u32 = 65_536;
const _: () = assert!(COUNTERS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_outdates_what_it_changed() {
        let epochs = Epochs::new(None);
        let profile = ProfileName::new("p");
        let of = |path, is_list| {
            let collection = Some("/e/");
            epochs.stamp(&Subject { owner: None, profile: &profile, path, collection, is_list })
        };
        let (object, list) = (of("/e/1/", false), of("/e/list/", true));
        assert!(epochs.is_current(&object) && epochs.is_current(&list));
        epochs.advance(None, EpochScope::Lists("/e/"), None);
        assert!(epochs.is_current(&object) && !epochs.is_current(&list));
        let list = of("/e/list/", true);
        epochs.advance(None, EpochScope::Path("/e/1/"), None);
        assert!(!epochs.is_current(&object) && epochs.is_current(&list));
        let object = of("/e/1/", false);
        epochs.advance(None, EpochScope::Objects("/e/"), None);
        assert!(!epochs.is_current(&object) && epochs.is_current(&list));
    }

    #[test]
    fn a_notice_outdates_an_object_under_every_path_and_the_lists_of_its_profile() {
        const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";
        let epochs = Epochs::new(None);
        let (mine, other) = (ProfileName::new("mine"), ProfileName::new("other"));
        let of = |profile, path: &str, is_list| {
            let collection = Some("/e/");
            epochs.stamp(&Subject { owner: None, profile, path, collection, is_list })
        };
        let object = |path: &str| of(&mine, path, false);
        let objects = [
            object(&format!("/e/{ID}/")),
            object(&format!("/e/{}/", ID.to_uppercase())),
            object(&format!("/f/{}/rest/", ID.replace('-', ""))),
        ];
        let neighbour = object("/e/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e56/");
        epochs.advance(None, EpochScope::Object(ID.parse().unwrap()), None);
        assert!(objects.iter().all(|object| !epochs.is_current(object)));
        assert!(epochs.is_current(&neighbour));
        let list = |profile| of(profile, "/e/list/", true);
        let (of_mine, of_other) = (list(&mine), list(&other));
        epochs.advance(Some(&mine), EpochScope::Lists("/e/"), None);
        assert!(!epochs.is_current(&of_mine) && epochs.is_current(&of_other));
    }

    fn stamp(epochs: &Epochs, path: &str) -> EpochStamp {
        let profile = &ProfileName::new("p");
        epochs.stamp(&Subject { owner: None, profile, path, collection: None, is_list: false })
    }

    #[test]
    fn a_write_outdates_every_spelling_of_a_path() {
        let epochs = Epochs::new(None);
        let stamps = ["/a/0F@x/", "/a/0f%40x/", "/A/0f@x/"].map(|path| stamp(&epochs, path));
        epochs.advance(None, EpochScope::Path("/a/0f@X/"), None);
        assert!(stamps.iter().all(|stamp| !epochs.is_current(stamp)));
    }

    #[test]
    fn a_write_of_an_owner_outdates_its_own_responses_alone() {
        let epochs = Epochs::new(None);
        let [acme, nordic, table] = ["acme", "nordic", "table"].map(ProfileName::new);
        let owners = [None, Some(&acme), Some(&nordic)];
        for (writer, _) in owners.iter().enumerate() {
            let stamps = owners.map(|owner| {
                let profile = owner.unwrap_or(&table);
                let (path, collection) = ("/e/list/", Some("/e/"));
                epochs.stamp(&Subject { owner, profile, path, collection, is_list: true })
            });
            epochs.advance(owners[writer], EpochScope::Lists("/e/"), None);
            for (reader, stamp) in stamps.iter().enumerate() {
                assert_eq!(epochs.is_current(stamp), reader != writer, "{writer} {reader}");
            }
        }
    }

    #[test]
    fn most_other_paths_stay_current() {
        let epochs = Epochs::new(None);
        let stamps: Vec<_> = (0..1000).map(|n| stamp(&epochs, &format!("/{n}"))).collect();
        epochs.advance(None, EpochScope::Path("/1"), None);
        assert!(!epochs.is_current(&stamps[1]));
        assert!(stamps.iter().filter(|stamp| epochs.is_current(stamp)).count() > 990);
    }
}
