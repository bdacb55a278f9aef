//! The cache key.
//!
//! A key has three parts: a profile, a generation of that profile's credentials and a canonical target.
//! It is compared in full, never by its hash alone, so two requests share a stored response only if all
//! three are equal. `Vary` then selects among the variants of one key.

use std::hash::{Hash, Hasher};

use equivalent::Equivalent;

use crate::domain::{CanonicalTarget, ProfileName};

/// The key of the stored responses of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct CacheKey {
    profile: ProfileName,
    generation: u64,
    target: Box<str>,
}

impl CacheKey {
    pub(in crate::proxy::cache) fn profile(&self) -> &ProfileName {
        &self.profile
    }

    pub(in crate::proxy::cache) fn generation(&self) -> u64 {
        self.generation
    }

    pub(in crate::proxy::cache) fn path(&self) -> &str {
        path_of(&self.target)
    }

    /// The bytes that it takes on the heap.
    pub(in crate::proxy::cache) fn heap_bytes(&self) -> usize {
        self.target.len()
    }

    pub(in crate::proxy::cache) fn as_ref(&self) -> CacheKeyRef<'_> {
        let Self { profile, generation, target } = self;
        CacheKeyRef { profile, generation: *generation, target }
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

/// A borrowed key, so that a lookup allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy::cache) struct CacheKeyRef<'a> {
    profile: &'a ProfileName,
    generation: u64,
    target: &'a str,
}

impl<'a> CacheKeyRef<'a> {
    pub(in crate::proxy::cache) fn new(
        profile: &'a ProfileName,
        generation: u64,
        target: &'a CanonicalTarget,
    ) -> Self {
        Self { profile, generation, target: target.as_str() }
    }

    /// Copies the target, because the request's own target shares the buffer that it was read into.
    pub(in crate::proxy::cache) fn to_key(self) -> CacheKey {
        let Self { profile, generation, target } = self;
        CacheKey { profile: profile.clone(), generation, target: target.into() }
    }
}

impl Equivalent<CacheKey> for CacheKeyRef<'_> {
    fn equivalent(&self, key: &CacheKey) -> bool {
        *self == key.as_ref()
    }
}

/// The path of a target, without its query.
pub(in crate::proxy::cache) fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
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
        /// Keys are equal if profile, credentials and target are, byte for byte, and a borrowed key
        /// equals only its own key.
        #[test]
        fn equal_keys_are_equal_requests((p1, g1, t1) in scope(), (p2, g2, t2) in scope()) {
            let (Some(t1), Some(t2)) = (t1, t2) else { return Ok(()) };
            let (one, two) = (CacheKeyRef::new(&p1, g1, &t1), CacheKeyRef::new(&p2, g2, &t2));
            let same = p1 == p2 && g1 == g2 && t1.as_str() == t2.as_str();
            prop_assert_eq!(one.to_key() == two.to_key(), same);
            prop_assert_eq!(one.equivalent(&two.to_key()), same);
            let hasher = std::hash::RandomState::new();
            prop_assert_eq!(hasher.hash_one(one), hasher.hash_one(one.to_key()));
        }
    }
}
