//! The cache key.
//!
//! A key has three parts: a profile, a generation of that profile's credentials and the name of a target.
//! It is compared in full, never by its hash alone, so two requests share a stored response only if all
//! three are equal. `Vary` then selects among the variants of one key.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use equivalent::Equivalent;

use crate::domain::{CanonicalTarget, ProfileName, is_uuid};

/// The one name under which the cache knows a target: the target itself, with UUIDs in lower case
/// (RFC 9562 §4) and percent-encodings in upper case (RFC 3986 §6.2.2.1). Callers may write both in
/// either case, and an object with two names would outlive a write to one of them.
#[derive(Debug)]
pub(in crate::proxy::cache) struct TargetName<'a>(Cow<'a, str>);

impl<'a> TargetName<'a> {
    pub(in crate::proxy::cache) fn of(target: &'a CanonicalTarget) -> Self {
        let may_differ = |byte: u8| u8::from(byte.is_ascii_uppercase()) | u8::from(byte == b'%');
        // No early exit, so that the loop vectorises.
        if target.path().bytes().fold(0, |any, byte| any | may_differ(byte)) == 0 {
            return Self(Cow::Borrowed(target.as_str()));
        }
        let mut name = String::with_capacity(target.as_str().len());
        for (at, segment) in target.path().split('/').enumerate() {
            if at > 0 {
                name.push('/');
            }
            if is_uuid(segment) {
                name.extend(segment.chars().map(|c| c.to_ascii_lowercase()));
            } else {
                push_encoded(&mut name, segment);
            }
        }
        // The rest is the query, if there is one.
        name.push_str(target.as_str().get(name.len()..).unwrap_or_default());
        Self(Cow::Owned(name))
    }
}

impl TargetName<'_> {
    pub(in crate::proxy::cache) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Appends a segment with the digits of its percent-encodings in upper case.
fn push_encoded(name: &mut String, segment: &str) {
    let mut digits = 0_u8;
    for c in segment.chars() {
        name.push(if digits > 0 { c.to_ascii_uppercase() } else { c });
        digits = if c == '%' { 2 } else { digits.saturating_sub(1) };
    }
}

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

    /// Path and query, in their one spelling.
    pub(in crate::proxy::cache) fn target(&self) -> &str {
        &self.target
    }

    pub(in crate::proxy::cache) fn path(&self) -> &str {
        path_of(&self.target)
    }

    /// Whether its target has a query.
    pub(in crate::proxy::cache) fn has_query(&self) -> bool {
        self.path().len() < self.target.len()
    }

    /// Whether a target is spelled like the key's name.
    pub(in crate::proxy::cache) fn is_spelled(&self, target: &CanonicalTarget) -> bool {
        *self.target == *target.as_str()
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
        target: &'a TargetName<'_>,
    ) -> Self {
        Self { profile, generation, target: &target.0 }
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

    #[test]
    fn a_target_has_one_name() {
        let id = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";
        let upper = id.to_uppercase();
        for (spelling, name) in [
            (format!("/a/{id}/"), format!("/a/{id}/")),
            (format!("/a/{upper}/"), format!("/a/{id}/")),
            (format!("/a/{upper}?q=%c3%A4&Id={upper}"), format!("/a/{id}?q=%c3%A4&Id={upper}")),
            ("/A/r%c3%a4%C3%a4Kning?".into(), "/A/r%C3%A4%C3%A4Kning?".into()),
            (format!("/x-{upper}/"), format!("/x-{upper}/")),
        ] {
            let target: CanonicalTarget = spelling.parse().unwrap();
            assert_eq!(TargetName::of(&target).0, name);
            let key =
                CacheKeyRef::new(&ProfileName::new("p"), 1, &TargetName::of(&target)).to_key();
            assert_eq!(key.is_spelled(&target), spelling == name, "{spelling}");
        }
    }

    proptest! {
        /// Keys are equal if profile, credentials and name are, byte for byte, and a borrowed key
        /// equals only its own key.
        #[test]
        fn equal_keys_are_equal_requests((p1, g1, t1) in scope(), (p2, g2, t2) in scope()) {
            let (Some(t1), Some(t2)) = (t1, t2) else { return Ok(()) };
            let (n1, n2) = (TargetName::of(&t1), TargetName::of(&t2));
            let (one, two) = (CacheKeyRef::new(&p1, g1, &n1), CacheKeyRef::new(&p2, g2, &n2));
            let same = p1 == p2 && g1 == g2 && t1.as_str() == t2.as_str();
            prop_assert_eq!(one.to_key() == two.to_key(), same);
            prop_assert_eq!(one.equivalent(&two.to_key()), same);
            let hasher = std::hash::RandomState::new();
            prop_assert_eq!(hasher.hash_one(one), hasher.hash_one(one.to_key()));
        }
    }
}
