//! A credential set in the hands of a request.

use std::{
    fmt,
    ops::Deref,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use jiff::Timestamp;

use crate::{
    credentials::set::{CredentialSet, ValueName},
    secret::SecretSearch,
};
#[cfg(any(test, fuzzing))]
use crate::{
    credentials::set::{PartialSet, SetVersion},
    secret::SecretText,
};

/// One credential set with the number of its generation. A request keeps its lease to its end, also
/// when the set is rotated meanwhile.
pub struct Lease {
    set: CredentialSet,
    search: SecretSearch,
    generation: u64,
    /// When Pigello last accepted it, in seconds since 1970; 0 if it never did.
    accepted: AtomicI64,
}

impl Lease {
    /// A lease with the next number.
    pub(in crate::credentials) fn new(set: CredentialSet) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let search = set.value(ValueName::ClientSecret).search();
        let (generation, accepted) = (NEXT.fetch_add(1, Ordering::Relaxed), AtomicI64::new(0));
        Self { set, search, generation, accepted }
    }

    /// A lease of a set with that secret.
    #[cfg(any(test, fuzzing))]
    #[expect(clippy::unwrap_used, reason = "only tests and the fuzzer make it")]
    pub(crate) fn made_up(secret: &str) -> Self {
        let mut values = PartialSet::new();
        for name in ValueName::ALL {
            let value = if name.is_secret() { secret } else { "an-identifier" };
            values.insert(name, SecretText::parse(value.as_bytes()).unwrap());
        }
        Self::new(CredentialSet::new(SetVersion::new("1"), values).unwrap())
    }

    /// The search for the client secret in responses.
    pub fn secret_search(&self) -> &SecretSearch {
        &self.search
    }

    /// Unique in this process: sets with different values or versions have different numbers. Cached
    /// responses of different sets are kept apart by it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When Pigello last accepted it, to the second.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        let seconds = self.accepted.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_second(seconds).ok()).flatten()
    }

    pub(in crate::credentials) fn note_accepted(&self) {
        let now = Timestamp::now().as_second();
        // Written at most once a second, so that cores do not contend for the cache line.
        if self.accepted.load(Ordering::Relaxed) != now {
            self.accepted.store(now, Ordering::Relaxed);
        }
    }
}

impl Deref for Lease {
    type Target = CredentialSet;

    fn deref(&self) -> &CredentialSet {
        &self.set
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({:?}, generation {})", self.set, self.generation)
    }
}
