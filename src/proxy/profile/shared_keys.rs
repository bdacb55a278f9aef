//! The keys of a profile's entries in the shared cache, for the credentials in use.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::{CredentialManager, KeySettings, Sources, keep_key},
    fleet::{EntryKey, KeyRing, Keys},
};

/// See the module.
pub struct SharedKeys {
    settings: KeySettings,
    sources: Sources,
    ring: Arc<KeyRing>,
    made: Mutex<Option<Made>>,
}

/// The keys that were derived last.
struct Made {
    from: Arc<Keys>,
    generation: u64,
    keys: Vec<Arc<EntryKey>>,
}

impl SharedKeys {
    /// Those of a key, which has yet to be read.
    pub fn new(settings: KeySettings, sources: Sources) -> Arc<Self> {
        Arc::new(Self { settings, sources, ring: KeyRing::new(), made: Mutex::default() })
    }

    /// Where the key is.
    pub fn settings(&self) -> &KeySettings {
        &self.settings
    }

    /// Reads the key again and again, until `stop`.
    pub fn keep(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let ring = Arc::clone(&self.ring);
        keep_key(self.settings.clone(), self.sources.clone(), ring, stop)
    }

    /// The ring.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The keys for entries of a generation of the credentials: first the one that seals, then those that others may
    /// seal with. None if the generation is not in use, or there is no key.
    pub(in crate::proxy) fn keys(
        &self,
        manager: &CredentialManager,
        generation: u64,
    ) -> Vec<Arc<EntryKey>> {
        let keys = self.ring.keys();
        let mut made = self.made.lock();
        if made
            .as_ref()
            .is_none_or(|it| it.generation != generation || !Arc::ptr_eq(&it.from, &keys))
        {
            *made = derive(&keys, manager, generation);
        }
        let Some(made) = &*made else { return Vec::new() };
        let all = || keys.all().zip(&made.keys);
        let of = |id| all().find_map(|(key, made)| (key.id() == id).then(|| Arc::clone(made)));
        keys.in_use(self.older_for()).filter_map(|key| of(key.id())).collect()
    }
}

fn derive(keys: &Arc<Keys>, manager: &CredentialManager, generation: u64) -> Option<Made> {
    let lease = manager.snapshot().ok().filter(|lease| lease.generation() == generation)?;
    let derived = keys.all().map(|key| EntryKey::new(key, |it| lease.identify(it)).map(Arc::new));
    Some(Made { from: Arc::clone(keys), generation, keys: derived.collect::<Option<_>>()? })
}

impl SharedKeys {
    /// How long the version before one is still read.
    fn older_for(&self) -> Duration {
        self.settings.refresh.saturating_mul(2)
    }
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeys").field("ring", &self.ring).finish_non_exhaustive()
    }
}
