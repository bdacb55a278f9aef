//! The location of every value that a file or a variable sets.

use std::collections::BTreeMap;

use crate::config::{key::KeyPath, problem::Location};

/// Where the values of the tree come from.
#[derive(Debug)]
pub(in crate::config) struct Locations {
    known: BTreeMap<KeyPath, Location>,
    /// The location of what is missing altogether.
    root: Location,
}

impl Locations {
    pub(super) fn new(root: Location) -> Self {
        Self { known: BTreeMap::new(), root }
    }

    pub(super) fn insert(&mut self, path: KeyPath, location: Location) {
        self.known.insert(path, location);
    }

    /// Forgets a key and all below it.
    pub(super) fn remove(&mut self, path: &KeyPath) {
        self.known.retain(|known, _| !known.is_within(path));
    }

    /// The location of a key, or of the nearest table above it.
    pub(in crate::config) fn of(&self, path: &KeyPath) -> Location {
        let mut path = path.clone();
        loop {
            if let Some(location) = self.known.get(&path) {
                return location.clone();
            }
            match path.parent() {
                Some(parent) => path = parent,
                None => return self.root.clone(),
            }
        }
    }

    /// The location of a key itself; a key that nothing sets has its default.
    pub(in crate::config) fn exactly(&self, path: &KeyPath) -> Location {
        self.known.get(path).cloned().unwrap_or(Location::Default)
    }

    /// Whether a file or a variable sets the key.
    pub(in crate::config) fn is_set(&self, path: &KeyPath) -> bool {
        self.known.contains_key(path)
    }
}
