//! What the sources of all sets share, so that a thousand sets are not a thousand logins, threads and watches.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

use super::{
    blocking::{BlockingLane, BlockingThreads},
    sealed::{OpenStore, OpenStores, SealedStore},
    vault::{VaultConnection, Vaults},
    watch::FolderWatcher,
};
use crate::credentials::settings::{Settings, SourceSettings};

/// The logins to vaults, the opened stores, the watch on folders, and the threads that read files. A gateway has
/// one, also after a reload. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    vaults: Vaults,
    stores: OpenStores,
    watcher: FolderWatcher,
    threads: BlockingThreads,
    kept_keys: Arc<Mutex<()>>,
}

impl Sources {
    /// Keeps the connection of a template's members, with its login, while none of them is in use. Asks nothing.
    pub fn hold(&self, template: &Settings) -> SourceHold {
        SourceHold {
            _vault: match &template.source {
                SourceSettings::Vault(vault) => Some(self.0.vaults.connection(&vault.server)),
                _ => None,
            },
        }
    }

    pub(super) fn vaults(&self) -> &Vaults {
        &self.0.vaults
    }

    pub(super) fn store(&self, store: SealedStore) -> Arc<OpenStore> {
        self.0.stores.get(store, &self.0.threads)
    }

    pub(super) fn watcher(&self) -> &FolderWatcher {
        &self.0.watcher
    }

    /// For the blocking work of one source.
    pub(super) fn lane(&self) -> BlockingLane {
        self.0.threads.lane()
    }

    /// Locked while a key of kept sets is made, because many sets may have one key.
    pub(super) fn kept_keys(&self) -> &Arc<Mutex<()>> {
        &self.0.kept_keys
    }
}

/// See [`Sources::hold`].
pub struct SourceHold {
    _vault: Option<Arc<VaultConnection>>,
}

impl fmt::Debug for SourceHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceHold")
    }
}
