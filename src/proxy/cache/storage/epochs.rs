//! Makes stored objects unreachable at once, without searching for them.
//!
//! A write bumps the counters of what it changed; a stored object carries the numbers those counters
//! had when its fetch began. If one of them has moved on, the object is not of this time any more:
//! it is not served, and if it is still being fetched, not stored. That way an update is seen
//! by all listeners and profiles, an answer that was under way when the update came cannot outlive
//! it, and a hit pays with a few loads.
//!
//! The counters are shared by what falls on the same one, so a write can make an object unreachable
//! that it did not change. That costs a fetch and is never wrong.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU32, Ordering},
};

/// The counters.
pub(in crate::proxy::cache) struct Epochs {
    counters: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// What an object belongs to.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::cache) enum Scope<'a> {
    /// One path, whatever its query.
    Path(&'a str),
    /// Everything in a collection.
    Collection(&'a str),
    /// The lists of a collection.
    Lists(&'a str),
}

/// The time an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Stamp([(u32, u32); 3]);

impl Epochs {
    pub(in crate::proxy::cache) fn new() -> Self {
        let counters = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        Self { counters, hasher: RandomState::new() }
    }

    /// The present of everything an object belongs to. Taken before it is fetched.
    pub(in crate::proxy::cache) fn stamp(
        &self,
        path: &str,
        collection: Option<&str>,
        is_list: bool,
    ) -> Stamp {
        let path = self.slot(Scope::Path(path));
        let whole = collection.map_or(path, |collection| self.slot(Scope::Collection(collection)));
        let lists = match collection {
            Some(collection) if is_list => self.slot(Scope::Lists(collection)),
            _ => path,
        };
        Stamp([path, whole, lists].map(|slot| (slot, self.read(slot))))
    }

    /// Whether nothing that the object belongs to has changed since.
    pub(in crate::proxy::cache) fn is_current(&self, stamp: &Stamp) -> bool {
        stamp.0.iter().all(|(slot, epoch)| self.read(*slot) == *epoch)
    }

    /// Makes everything in a scope unreachable.
    pub(in crate::proxy::cache) fn advance(&self, scope: Scope<'_>) {
        if let Some(counter) = self.counters.get(self.slot(scope) as usize) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn read(&self, slot: u32) -> u32 {
        self.counters.get(slot as usize).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn slot(&self, scope: Scope<'_>) -> u32 {
        let hash = match scope {
            Scope::Path(path) => self.hasher.hash_one((0u8, path)),
            Scope::Collection(path) => self.hasher.hash_one((1u8, path)),
            Scope::Lists(path) => self.hasher.hash_one((2u8, path)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "the number of counters is a u32")]
        let slot = (hash % u64::from(COUNTERS)) as u32;
        slot
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epochs")
    }
}

/// 256 KiB of counters: with a thousand writes a minute and a freshness of a minute, three objects in
/// a hundred are fetched anew without need. A counter that came back to an object's number would
/// have seen four billion writes while that was stored.
const COUNTERS: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_of_another_time() {
        let epochs = Epochs::new();
        let object = epochs.stamp("/e/1/", Some("/e/"), false);
        let list = epochs.stamp("/e/list/", Some("/e/"), true);
        assert!(epochs.is_current(&object) && epochs.is_current(&list));
        epochs.advance(Scope::Lists("/e/"));
        assert!(epochs.is_current(&object) && !epochs.is_current(&list));
        let list = epochs.stamp("/e/list/", Some("/e/"), true);
        epochs.advance(Scope::Path("/e/1/"));
        assert!(!epochs.is_current(&object) && epochs.is_current(&list));
        let object = epochs.stamp("/e/1/", Some("/e/"), false);
        epochs.advance(Scope::Collection("/e/"));
        assert!(!epochs.is_current(&object) && !epochs.is_current(&list));
    }

    #[test]
    fn most_others_stay() {
        let epochs = Epochs::new();
        let stamps: Vec<_> =
            (0..1000).map(|n| epochs.stamp(&format!("/{n}"), None, false)).collect();
        epochs.advance(Scope::Path("/1"));
        assert!(!epochs.is_current(&stamps[1]));
        assert!(stamps.iter().filter(|stamp| epochs.is_current(stamp)).count() > 990);
    }
}
