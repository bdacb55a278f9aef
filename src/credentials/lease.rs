//! A credential set as a request holds it.

use std::{
    fmt,
    ops::Deref,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use jiff::Timestamp;

use super::{CredentialSet, ValueName};
use crate::secret::Needles;

/// One credential set with the number of its generation. A request takes one and keeps it to its
/// end, however often the set is rotated meanwhile.
pub struct Lease {
    set: CredentialSet,
    needles: Needles,
    generation: u64,
    /// When Pigello last accepted it, in seconds since 1970; 0 for never.
    accepted: AtomicI64,
}

impl Lease {
    /// Gives a set the next number.
    pub(super) fn new(set: CredentialSet) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let needles = set.value(ValueName::ClientSecret).needles();
        let (generation, accepted) = (NEXT.fetch_add(1, Ordering::Relaxed), AtomicI64::new(0));
        Self { set, needles, generation, accepted }
    }

    /// The secret's forms, for whoever makes sure that it does not come back.
    pub fn needles(&self) -> &Needles {
        &self.needles
    }

    /// Unique in this process: another number means that a value or the version is another. What
    /// one set fetched is kept apart from what another did by this number.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When Pigello last accepted it, to the second.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        let seconds = self.accepted.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_second(seconds).ok()).flatten()
    }

    pub(super) fn note_accepted(&self) {
        let now = Timestamp::now().as_second();
        // Written once a second, not once a call, so that cores do not fight over the line.
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
