//! The last set that a source gave, sealed on disk, for a restart while the source is away.
//!
//! An age file, like a sealed store. It is only read while nothing else is known; it never stands in for a
//! source that answers. It says which source it is of, so that a changed configuration does not use it.

use std::{fs, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::sealed::{StoreError, StoreKey, StoredValues, seal, unseal_file};
use crate::{
    credentials::{
        set::{CredentialSet, SetBuilder, SetVersion, ValueName},
        settings::{Keep, Settings},
    },
    process::files,
    secret::{SecretBuffer, SecretText},
};

/// The kept file of one set.
#[derive(Debug)]
pub(in crate::credentials) struct KeptFile {
    keep: Keep,
    /// Locked while a key is made, so that nobody reads half of one.
    keys: Arc<Mutex<()>>,
    /// Which source the set is of.
    source: String,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptDocument {
    format: String,
    source: String,
    /// When the source last confirmed the newest version.
    confirmed: Timestamp,
    /// The oldest first.
    versions: Vec<KeptVersion>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptVersion {
    version: String,
    values: StoredValues,
}

/// Sets that were kept.
#[derive(Debug)]
pub(in crate::credentials) struct KeptSets {
    /// When their source last confirmed the newest.
    pub(in crate::credentials) confirmed: Timestamp,
    /// The oldest first.
    pub(in crate::credentials) sets: Vec<CredentialSet>,
}

impl KeptFile {
    /// The file, if the settings name one.
    pub(in crate::credentials) fn of(settings: &Settings, keys: &Arc<Mutex<()>>) -> Option<Self> {
        let keep = settings.keep.clone()?;
        Some(Self { keep, keys: Arc::clone(keys), source: settings.source.identity() })
    }

    /// Writes sets, the oldest first, which the source has just confirmed. Makes the key if there is none.
    pub(in crate::credentials) fn write(
        &self,
        sets: &[&CredentialSet],
        confirmed: Timestamp,
    ) -> Result<(), StoreError> {
        let key = self.key()?;
        let path = &self.keep.file;
        let failed = |source| StoreError::Write { path: path.clone(), source };
        let document = KeptDocument {
            format: FORMAT.to_owned(),
            source: self.source.clone(),
            confirmed,
            versions: sets.iter().map(|set| KeptVersion::of(set)).collect(),
        };
        let text = document.to_bytes().map_err(|error| failed(error.into()))?;
        let sealed = seal(&key, &text).map_err(failed)?;
        files::replace(path, &sealed).map_err(failed)
    }

    /// The key, which is made if there is none.
    fn key(&self) -> Result<StoreKey, StoreError> {
        let _alone = self.keys.lock();
        match StoreKey::create(&self.keep.key_file) {
            Err(StoreError::Exists { .. }) => StoreKey::open(&self.keep.key_file),
            created => created,
        }
    }

    /// Reads what was kept of this source.
    pub(in crate::credentials) fn read(&self, settings: &Settings) -> Result<KeptSets, KeptError> {
        let Keep { file, key_file } = &self.keep;
        if !file.exists() {
            return Err(KeptError::Nothing);
        }
        files::keep_writers_out(file).map_err(StoreError::from)?;
        let key = StoreKey::open(key_file)?;
        let text = unseal_file(&key, file, key_file)?;
        let document: KeptDocument =
            serde_json::from_slice(&text).map_err(|_| KeptError::Unreadable)?;
        if document.format != FORMAT {
            return Err(KeptError::Unreadable);
        }
        if document.source != self.source {
            return Err(KeptError::OtherSource);
        }
        let sets: Result<Vec<_>, _> = document
            .versions
            .into_iter()
            .map(|kept| {
                let mut builder = SetBuilder::default();
                for (name, value) in kept.values.iter() {
                    value.expose_to(|text| builder.offer(name, text.as_bytes()));
                }
                builder.into_set(SetVersion::new(kept.version), &settings.fixed)
            })
            .collect();
        let sets = sets.map_err(|_| KeptError::OtherSource)?;
        Ok(KeptSets { confirmed: document.confirmed, sets })
    }

    /// Removes the file: its source withdrew the set.
    pub(in crate::credentials) fn remove(&self) -> bool {
        fs::remove_file(&self.keep.file).is_ok()
    }
}

impl KeptVersion {
    fn of(set: &CredentialSet) -> Self {
        let mut values = StoredValues::default();
        for name in ValueName::ALL {
            // A value of a set parses: it was parsed before.
            if let Ok(value) = set.value(name).expose_to(|text| SecretText::parse(text.as_bytes()))
            {
                values.insert(name, value);
            }
        }
        Self { version: set.version().to_string(), values }
    }
}

impl KeptDocument {
    /// The document as text, in a buffer that is wiped and never grows.
    fn to_bytes(&self) -> Result<SecretBuffer, serde_json::Error> {
        let values = ValueName::ALL.len() * (SecretText::MAX_BYTES * 2 + 64);
        let versions: usize =
            self.versions.iter().map(|kept| kept.version.len() * 6 + values).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(256 + self.source.len() * 6 + versions));
        serde_json::to_writer(&mut *bytes, self)?;
        Ok(bytes)
    }
}

/// Why nothing kept can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// Nothing was kept yet.
    #[error("nothing is kept")]
    Nothing,
    /// The file or its key cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file opens, but holds something else.
    #[error("what is kept is no credential set of this program, or of a newer one")]
    Unreadable,
    /// The configuration names another source or other identifiers now.
    #[error("what is kept is of another source or of other identifiers")]
    OtherSource,
    /// The source confirmed it too long ago.
    #[error("what is kept was last confirmed at {confirmed}, longer ago than `max_stale`")]
    TooOld {
        /// When the source confirmed it.
        confirmed: Timestamp,
    },
    /// The clock was set back, so that its age is unknown.
    #[error(
        "what is kept was last confirmed at {confirmed}, which is in the future: check the clock"
    )]
    InFuture {
        /// When the source confirmed it.
        confirmed: Timestamp,
    },
}

const FORMAT: &str = "pigello-gateway-kept/1";
