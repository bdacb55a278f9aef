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
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    mem,
    sync::atomic::{AtomicU32, Ordering},
};

use percent_encoding::percent_decode_str;

use crate::domain::ProfileName;

/// The counters.
pub(in crate::proxy::cache) struct Epochs {
    counters: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// A set of responses that a write invalidates together.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) enum EpochScope<'a> {
    /// A path with any query.
    Path(&'a str),
    /// All objects and lists of a collection.
    Collection(&'a str),
    /// The lists of a collection.
    Lists(&'a str),
}

/// Paths that a server may take for one path share a counter: in either case, with and without
/// percent-encoding.
impl Hash for EpochScope<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (Self::Path(path) | Self::Collection(path) | Self::Lists(path)) = self;
        mem::discriminant(self).hash(state);
        for byte in percent_decode_str(path) {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

/// The counters of a response and their values when its fetch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy::cache) struct EpochStamp([(u32, u32); 3]);

impl Epochs {
    pub(in crate::proxy::cache) fn new() -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        Self { counters, hasher: RandomState::new() }
    }

    /// The stamp of a response that is about to be fetched.
    pub(in crate::proxy::cache) fn stamp(
        &self,
        owner: Option<&ProfileName>,
        path: &str,
        collection: Option<&str>,
        is_list: bool,
    ) -> EpochStamp {
        let slot = |scope| self.slot(owner, scope);
        let path = slot(EpochScope::Path(path));
        let whole = collection.map_or(path, |collection| slot(EpochScope::Collection(collection)));
        let lists = match collection {
            Some(collection) if is_list => slot(EpochScope::Lists(collection)),
            _ => path,
        };
        EpochStamp([path, whole, lists].map(|slot| (slot, self.read(slot))))
    }

    /// Whether no write has invalidated the response since its fetch began.
    pub(in crate::proxy::cache) fn is_current(&self, stamp: &EpochStamp) -> bool {
        stamp.0.iter().all(|(slot, epoch)| self.read(*slot) == *epoch)
    }

    /// Invalidates the responses of a scope.
    pub(in crate::proxy::cache) fn advance(
        &self,
        owner: Option<&ProfileName>,
        scope: EpochScope<'_>,
    ) {
        if let Some(counter) = self.counters.get(self.slot(owner, scope) as usize) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn read(&self, slot: u32) -> u32 {
        self.counters.get(slot as usize).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn slot(&self, owner: Option<&ProfileName>, scope: EpochScope<'_>) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is a hash")]
        let hash = self.hasher.hash_one((owner, scope)) as u32;
        hash & (COUNTERS - 1)
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
        let epochs = Epochs::new();
        let object = epochs.stamp(None, "/e/1/", Some("/e/"), false);
        let list = epochs.stamp(None, "/e/list/", Some("/e/"), true);
        assert!(epochs.is_current(&object) && epochs.is_current(&list));
        epochs.advance(None, EpochScope::Lists("/e/"));
        assert!(epochs.is_current(&object) && !epochs.is_current(&list));
        let list = epochs.stamp(None, "/e/list/", Some("/e/"), true);
        epochs.advance(None, EpochScope::Path("/e/1/"));
        assert!(!epochs.is_current(&object) && epochs.is_current(&list));
        let object = epochs.stamp(None, "/e/1/", Some("/e/"), false);
        epochs.advance(None, EpochScope::Collection("/e/"));
        assert!(!epochs.is_current(&object) && !epochs.is_current(&list));
    }

    #[test]
    fn a_write_outdates_every_spelling_of_a_path() {
        let epochs = Epochs::new();
        let stamps = ["/a/0F@x/", "/a/0f%40x/", "/A/0f@x/"]
            .map(|path| epochs.stamp(None, path, None, false));
        epochs.advance(None, EpochScope::Path("/a/0f@X/"));
        assert!(stamps.iter().all(|stamp| !epochs.is_current(stamp)));
    }

    #[test]
    fn a_write_of_an_owner_outdates_its_own_responses_alone() {
        let epochs = Epochs::new();
        let (acme, nordic) = (ProfileName::new("acme"), ProfileName::new("nordic"));
        let owners = [None, Some(&acme), Some(&nordic)];
        for (writer, _) in owners.iter().enumerate() {
            let stamps = owners.map(|owner| epochs.stamp(owner, "/e/list/", Some("/e/"), true));
            epochs.advance(owners[writer], EpochScope::Lists("/e/"));
            for (reader, stamp) in stamps.iter().enumerate() {
                assert_eq!(epochs.is_current(stamp), reader != writer, "{writer} {reader}");
            }
        }
    }

    #[test]
    fn most_other_paths_stay_current() {
        let epochs = Epochs::new();
        let stamps: Vec<_> =
            (0..1000).map(|n| epochs.stamp(None, &format!("/{n}"), None, false)).collect();
        epochs.advance(None, EpochScope::Path("/1"));
        assert!(!epochs.is_current(&stamps[1]));
        assert!(stamps.iter().filter(|stamp| epochs.is_current(stamp)).count() > 990);
    }
}
