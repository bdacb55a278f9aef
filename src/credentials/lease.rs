//! A credential set as a request holds it.

use std::{
    fmt,
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

use super::CredentialSet;

/// One credential set with the number of its generation. A request takes one and keeps it to its
/// end, however often the set is rotated meanwhile.
pub struct Lease {
    set: CredentialSet,
    generation: u64,
}

impl Lease {
    /// Gives a set the next number.
    pub(super) fn new(set: CredentialSet) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { set, generation: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Unique in this process: another number means that a value or the version is another. What
    /// one set fetched is kept apart from what another did by this number.
    pub fn generation(&self) -> u64 {
        self.generation
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
