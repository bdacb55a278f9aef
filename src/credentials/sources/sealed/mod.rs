//! Source `sealed`: an encrypted file and a key file, for a host without a vault.
//!
//! The store is an age file (<https://age-encryption.org/v1>), so `age -d -i KEY_FILE STORE` opens it
//! without this program. It protects copies that are made without the key (a backup, a commit, a support
//! bundle), not against a reader of both files.

mod document;
mod error;
mod import;
mod key;
mod store;

pub use document::{Document, Misfit, StoredSet, StoredValues, StoredVersion};
pub use error::StoreError;
pub use import::{ImportError, values_from_directory, values_from_json};
pub use store::{Created, SealedStore};
pub(super) use {
    key::StoreKey,
    store::{seal, unseal_file},
};

use std::path::PathBuf;

use crate::{
    credentials::set::{CredentialSet, Identifiers, ValueProblems},
    domain::CredentialsName,
};

/// Reads the seven values from a sealed store.
#[derive(Debug)]
pub(super) struct SealedSource {
    store: SealedStore,
    set: CredentialsName,
}

impl SealedSource {
    pub(super) fn new(store: SealedStore, set: CredentialsName) -> Self {
        Self { store, set }
    }

    pub(super) fn store(&self) -> &SealedStore {
        &self.store
    }

    pub(super) fn read(&self, fixed: &Identifiers) -> Result<CredentialSet, SealedError> {
        let document = self.store.read()?;
        let current = document.sets.get(self.set.as_str()).and_then(|set| set.current.as_ref());
        let Some(current) = current else {
            let file = self.store.file().to_owned();
            return Err(SealedError::NoSet { file, set: self.set.clone() });
        };
        current.to_set_with(fixed).map_err(|problems| {
            let file = self.store.file().to_owned();
            SealedError::Values { file, set: self.set.clone(), problems }
        })
    }
}

/// Why a sealed store gives no set.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
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
