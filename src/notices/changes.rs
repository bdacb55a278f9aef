//! What the events of one reading or webhook change together, in as few drops as it takes.

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::{event::Event, relations::Relations};
use crate::{
    fleet::Position,
    proxy::cache::{Affected, Cache, Noticed},
};

/// The changes of some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Objects, which are unique in all of Pigello.
    objects: HashSet<Uuid>,
    /// Types of which some object changed: their lists, and what depends on them.
    touched: BTreeSet<Box<str>>,
    /// Types of which any object may have changed.
    whole: BTreeSet<Box<str>>,
    /// There was an event that does not say what changed.
    pub(super) is_unclear: bool,
}

impl Changes {
    /// The changes of those events.
    pub(super) fn of<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Self {
        let mut changes = Self::default();
        for event in events.clone() {
            match (&event.of_type, event.object) {
                (Some(of_type), Some(_)) => {
                    changes.touched.insert(of_type.clone());
                }
                (Some(of_type), None) => {
                    changes.whole.insert(of_type.clone());
                }
                (None, _) => changes.is_unclear = true,
            }
        }
        changes.objects = events.filter_map(|event| event.object).collect();
        changes
    }

    /// Nobody knows what changed.
    pub(super) fn unclear() -> Self {
        Self { is_unclear: true, ..Self::default() }
    }

    /// About how much memory it takes, in objects.
    pub(super) fn size(&self) -> usize {
        self.objects.len().saturating_add(self.touched.len()).saturating_add(self.whole.len())
    }

    /// Drops from the cache what has changed, but for what is unclear.
    pub(super) fn drop_from<'a>(
        &self,
        cache: &Cache,
        relations: &Relations,
        profiles: impl Iterator<Item = Affected<'a>>,
        at: Option<Position>,
    ) {
        self.objects.iter().for_each(|object| cache.drop_object(*object, at));
        for profile in profiles {
            let drop = |what| cache.drop_noticed(profile, what, at);
            for of_type in self.touched.union(&self.whole) {
                let Some(related) = relations.of(of_type) else { continue };
                related.collections.iter().for_each(|lists| drop(Noticed::Lists(lists)));
                related.rules.iter().for_each(|rule| drop(Noticed::Rule(*rule)));
            }
            for of_type in &self.whole {
                let related = relations.of(of_type);
                let collections = related.iter().flat_map(|related| &related.collections);
                collections.for_each(|collection| drop(Noticed::Objects(collection)));
            }
        }
    }
}
