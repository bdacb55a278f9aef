//! What a stored object is stored under.
//!
//! The key has no default: an object belongs to one profile, to one generation of that profile's
//! credentials and to one canonical target. What `Vary` names selects among the variants behind the
//! key. It is compared in full, never by its hash alone, so two requests share an object only if
//! they are the same request in the same scope.

use std::hash::{Hash, Hasher};

use equivalent::Equivalent;

use crate::domain::{CanonicalTarget, ProfileName};

/// The key of a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Key {
    profile: ProfileName,
    generation: u64,
    target: Box<str>,
}

impl Key {
    pub(in crate::proxy::cache) fn profile(&self) -> &ProfileName {
        &self.profile
    }

    pub(in crate::proxy::cache) fn generation(&self) -> u64 {
        self.generation
    }

    /// Path and query.
    pub(in crate::proxy::cache) fn target(&self) -> &str {
        &self.target
    }

    /// The bytes it takes in memory, itself not counted.
    pub(in crate::proxy::cache) fn heap_bytes(&self) -> usize {
        self.target.len()
    }

    pub(in crate::proxy::cache) fn view(&self) -> KeyView<'_> {
        let Self { profile, generation, target } = self;
        KeyView { profile, generation: *generation, target }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view().hash(state);
    }
}

/// A key that is looked up: borrowed, so a lookup allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy::cache) struct KeyView<'a> {
    profile: &'a ProfileName,
    generation: u64,
    target: &'a str,
}

impl<'a> KeyView<'a> {
    pub(in crate::proxy::cache) fn new(
        profile: &'a ProfileName,
        generation: u64,
        target: &'a CanonicalTarget,
    ) -> Self {
        Self { profile, generation, target: target.as_str() }
    }

    /// The key itself. The target is copied: a request's own shares the buffer it was read into.
    pub(in crate::proxy::cache) fn to_key(self) -> Key {
        let Self { profile, generation, target } = self;
        Key { profile: profile.clone(), generation, target: target.into() }
    }
}

impl Equivalent<Key> for KeyView<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.view()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn scope()(profile in "[a-c]{1,2}", generation in 0u64..3, path in "/[a-c/]{0,3}", query in proptest::option::of("[a-c=&]{0,3}"))
            -> (ProfileName, u64, Option<CanonicalTarget>) {
            let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
            let target = target.parse().ok().and_then(|target| CanonicalTarget::parse(target).ok());
            (ProfileName::new(profile), generation, target)
        }
    }

    proptest! {
        /// Equal keys mean the same profile, the same credentials and the same request, byte for byte;
        /// and a view finds exactly its own key.
        #[test]
        fn equal_keys_are_equal_requests((p1, g1, t1) in scope(), (p2, g2, t2) in scope()) {
            let (Some(t1), Some(t2)) = (t1, t2) else { return Ok(()) };
            let (one, two) = (KeyView::new(&p1, g1, &t1), KeyView::new(&p2, g2, &t2));
            let same = p1 == p2 && g1 == g2 && t1.as_str() == t2.as_str();
            prop_assert_eq!(one.to_key() == two.to_key(), same);
            prop_assert_eq!(one.equivalent(&two.to_key()), same);
            let hasher = std::hash::RandomState::new();
            prop_assert_eq!(hasher.hash_one(one), hasher.hash_one(one.to_key()));
        }
    }
}
