//! Source `sealed`: one encrypted file and one key file, the store for a host without a vault.
//!
//! The file is an age file (<https://age-encryption.org/v1>), so `age -d -i KEY_FILE STORE` opens
//! it without this program. With the key beside it, it protects what is copied away without the
//! key (a backup, a commit, a support bundle), not against a reader of both files.

mod document;
mod import;
mod key;
mod replace;
mod store;

pub use document::{Document, Misfit, StoredSet, StoredValues, StoredVersion};
pub use import::{ImportError, values_from_directory, values_from_json};
pub use store::{Created, Store, StoreError};

use std::path::PathBuf;

use super::{CredentialSet, set_builder::ValueProblems, settings::Identifiers};
use crate::domain::CredentialsName;

/// Reads the seven from a sealed store.
#[derive(Debug)]
pub(super) struct Sealed {
    store: Store,
    set: CredentialsName,
}

impl Sealed {
    pub(super) fn new(store: Store, set: CredentialsName) -> Self {
        Self { store, set }
    }

    pub(super) fn store(&self) -> &Store {
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
    /// The set is not in it.
    #[error("{file} holds no set {set:?}", file = file.display())]
    NoSet {
        /// The store.
        file: PathBuf,
        /// The set that was looked for.
        set: CredentialsName,
    },
    /// The set is not whole.
    #[error("{file}, set {set:?}: {problems}", file = file.display())]
    Values {
        /// The store.
        file: PathBuf,
        /// The set.
        set: CredentialsName,
        /// What is wrong with it.
        problems: ValueProblems,
    },
}

#[cfg(test)]
mod tests;
