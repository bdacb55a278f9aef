//! Source `sealed`: an encrypted file and a key file, for a host without a vault.
//!
//! The store is an age file (<https://age-encryption.org/v1>), so `age -d -i KEY_FILE STORE` opens it
//! without this program. It protects copies that are made without the key (a backup, a commit, a support
//! bundle), not against a reader of both files.

mod document;
mod error;
mod import;
mod key;
mod opened;
mod store;

pub use document::{Document, Misfit, StoredSet, StoredValues, StoredVersion};
pub use error::StoreError;
pub use import::{ImportError, values_from_directory, values_from_json};
pub use store::{Created, SealedStore};
pub(super) use {
    key::StoreKey,
    opened::{OpenStore, OpenStores},
    store::{seal, unseal_file},
};

use std::{path::PathBuf, sync::Arc};

use super::blocking::Interrupted;
use crate::{
    credentials::set::{CredentialSet, Identifiers, ValueProblems},
    domain::CredentialsName,
};

/// Reads the seven values from a sealed store.
#[derive(Debug)]
pub(super) struct SealedSource {
    store: Arc<OpenStore>,
    set: CredentialsName,
}

impl SealedSource {
    pub(super) fn new(store: Arc<OpenStore>, set: CredentialsName) -> Self {
        Self { store, set }
    }

    pub(super) fn store(&self) -> &SealedStore {
        self.store.files()
    }

    pub(super) async fn read(
        &self,
        fixed: &Identifiers,
    ) -> Result<Result<CredentialSet, SealedError>, Interrupted> {
        Ok(match self.store.open().await? {
            Ok(opened) => self.set(opened.current.get(self.set.as_str()), fixed),
            Err(error) => Err(SealedError::Store(error)),
        })
    }

    fn set(
        &self,
        current: Option<&StoredVersion>,
        fixed: &Identifiers,
    ) -> Result<CredentialSet, SealedError> {
        let file = || self.store().file().to_owned();
        let current =
            current.ok_or_else(|| SealedError::NoSet { file: file(), set: self.set.clone() })?;
        current.to_set_with(fixed).map_err(|problems| SealedError::Values {
            file: file(),
            set: self.set.clone(),
            problems,
        })
    }
}

/// Why a sealed store gives no set.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The store does not hold the set.
    #[error("{file} holds no set {set:?}", file = file.display())]
    NoSet {
        /// The store.
        file: PathBuf,
        /// The set.
        set: CredentialsName,
    },
    /// The set is not whole.
    #[error("{file}, set {set:?}: {problems}", file = file.display())]
    Values {
        /// The store.
        file: PathBuf,
        /// The set.
        set: CredentialsName,
        /// The problems.
        problems: ValueProblems,
    },
}

#[cfg(test)]
mod tests;
