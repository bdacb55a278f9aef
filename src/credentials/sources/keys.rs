//! Reads the keys that the members of a fleet share, from a vault or a file.
//!
//! A vault is asked for the newest version and the one before. How old a version is, the vault's own clock tells. So
//! all members come to the same end of the time in which both are in use.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::time::{self, Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    reason::{RefreshReason, SourceFailure},
    shared::Sources,
    vault::{Secret, ToldFailures, VaultConnection, VaultError, secret_name},
};
use crate::{
    credentials::{
        set::ValueFromJson,
        settings::{IncompleteVault, RefreshSettings, VaultSettings},
    },
    domain::{ProfileName, Span},
    error::Chain,
    fleet::{Key, KeyError, KeyRing, Keys, path_for_member},
    outbound::{Backoff, spread},
    process::files::{PrivateFileError, read_closed},
};

/// Where a key lies, and how often it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// Its place.
    pub place: KeyPlace,
    /// The time between two reads.
    pub refresh: Duration,
}

/// The place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A file.
    File(PathBuf),
    /// A field of a secret in a vault, in the second key-value engine.
    Vault {
        /// The secret.
        secret: Box<VaultSettings>,
        /// Its field.
        field: String,
    },
}

impl KeySettings {
    /// The same for one member of a template.
    #[must_use]
    pub fn for_member(&self, member: &ProfileName) -> Self {
        let place = match &self.place {
            KeyPlace::File(path) => {
                let named = path.to_str().map(|path| path_for_member(path, member));
                KeyPlace::File(named.map_or_else(|| path.clone(), Into::into))
            }
            KeyPlace::Vault { secret, field } => {
                let path = path_for_member(&secret.path, member);
                let secret = Box::new(VaultSettings { path, ..(**secret).clone() });
                KeyPlace::Vault { secret, field: field.clone() }
            }
        };
        Self { place, refresh: self.refresh }
    }

    /// Checks that variables give all that the configuration leaves to them.
    pub fn check(&self) -> Result<(), IncompleteVault> {
        match &self.place {
            KeyPlace::File(_) => Ok(()),
            KeyPlace::Vault { secret, .. } => secret.server.check(),
        }
    }
}

/// How long a key in a vault is shared with the version before it: until each member has read it twice.
fn settle(refresh: Duration) -> Duration {
    refresh.saturating_mul(2)
}

/// Reads the versions of a key once.
pub async fn read_key(settings: &KeySettings, sources: &Sources) -> Result<Keys, KeyReadError> {
    KeyReader::new(settings.clone(), sources).read().await
}

/// Reads a key again and again into a ring, until `stop`.
pub async fn keep_key(
    settings: KeySettings,
    sources: Sources,
    ring: Arc<KeyRing>,
    stop: CancellationToken,
) {
    let reader = KeyReader::new(settings, &sources);
    stop.run_until_cancelled(Box::pin(reader.keep(&ring))).await;
}

struct KeyReader {
    settings: KeySettings,
    vault: Option<Arc<VaultConnection>>,
    told: ToldFailures,
}

impl KeyReader {
    fn new(settings: KeySettings, sources: &Sources) -> Self {
        let vault = match &settings.place {
            KeyPlace::File(_) => None,
            KeyPlace::Vault { secret, .. } => Some(sources.vaults().connection(&secret.server)),
        };
        Self { settings, vault, told: ToldFailures::default() }
    }

    async fn keep(&self, ring: &KeyRing) {
        let mut backoff = Backoff::new(FIRST_PAUSE, RefreshSettings::RETRY_CAP);
        loop {
            let pause = match self.read().await {
                Ok(keys) => {
                    backoff.reset();
                    if ring.put(keys) {
                        tracing::info!(key = ?self.settings.place, "a shared key was read");
                    }
                    spread(self.settings.refresh)
                }
                Err(error) => {
                    let why = Chain(&error).to_string();
                    if ring.error().as_deref() != Some(why.as_str()) {
                        tracing::warn!(error = %why, "a shared key cannot be read");
                    }
                    ring.failed(why, error.is_without());
                    backoff.pause()
                }
            };
            let (read, end) = (Instant::now(), Instant::now() + pause);
            tokio::select! {
                () = sleep_until(end) => {}
                () = ring.wanted() => {
                    // A thousand members are told at the same time.
                    let soon = Instant::now() + SOON.mul_f64(fastrand::f64());
                    sleep_until(soon.max(read + GAP)).await;
                }
            }
        }
    }

    async fn read(&self) -> Result<Keys, KeyReadError> {
        let read = async {
            match (&self.settings.place, &self.vault) {
                (KeyPlace::Vault { secret, field }, Some(vault)) => {
                    self.read_vault(vault, secret, field).await
                }
                (KeyPlace::File(path), _) => read_file(path.clone()).await,
                (KeyPlace::Vault { .. }, None) => Err(KeyReadError::Interrupted),
            }
        };
        let limit = RefreshSettings::READ_TIMEOUT;
        let read = time::timeout(limit, read).await;
        read.unwrap_or(Err(KeyReadError::Timeout { limit: Span(limit) }))
    }

    async fn read_vault(
        &self,
        vault: &Arc<VaultConnection>,
        secret: &VaultSettings,
        field: &str,
    ) -> Result<Keys, KeyReadError> {
        let newest = self.version(vault, secret, None).await?;
        let before = newest.version.and_then(|version| version.checked_sub(1));
        let mut keys = vec![self.key(&newest, secret, field)?];
        if let Some(before) = before.filter(|before| *before > 0) {
            match self.version(vault, secret, Some(before)).await {
                // One that was never a key does no harm.
                Ok(older) => keys.extend(self.key(&older, secret, field).ok()),
                Err(KeyReadError::Vault(error))
                    if matches!(*error, VaultError::Deleted { .. } | VaultError::Absent { .. }) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Keys::new(keys))
    }

    async fn version(
        &self,
        vault: &Arc<VaultConnection>,
        secret: &VaultSettings,
        version: Option<u64>,
    ) -> Result<Secret<Fields>, KeyReadError> {
        Ok(vault.read(secret, version, &self.told, RefreshReason::Scheduled).await?)
    }

    fn key(
        &self,
        found: &Secret<Fields>,
        secret: &VaultSettings,
        field: &str,
    ) -> Result<Key, KeyReadError> {
        // In the past for an old version, so that the one before it is not used on for ever.
        let now = Instant::now();
        let shared_by_all = now + settle(self.settings.refresh);
        let shared_by_all = shared_by_all.checked_sub(found.age).unwrap_or(now);
        let id = found.version.and_then(|version| u32::try_from(version).ok());
        let text = found.values.get(field).and_then(|value| value.0.as_ref().ok());
        let key = text
            .and_then(|text| text.expose_to(|text| Key::parse(text.as_bytes(), id, shared_by_all)));
        key.ok_or_else(|| KeyReadError::NoField {
            secret: secret_name(secret),
            field: field.to_owned(),
        })
    }
}

/// The fields of a secret. Those that are no text are of no use.
type Fields = HashMap<String, ValueFromJson>;

async fn read_file(path: PathBuf) -> Result<Keys, KeyReadError> {
    let read = tokio::task::spawn_blocking(move || read_key_file(&path));
    read.await.map_err(|_| KeyReadError::Interrupted)?
}

/// Reads the versions of a key in a file, now.
pub fn read_key_file(path: &Path) -> Result<Keys, KeyReadError> {
    let text = read_closed(path)?;
    let no_key = || KeyReadError::Key(KeyError::NoKey { path: path.to_owned() });
    Key::of_file(&text).ok_or_else(no_key)
}

/// Makes a new version of a key in a vault, from the system's random source; it is shown to nobody. With `destroys`, all
/// older versions are destroyed, and what they sealed is noise. Returns the version.
pub async fn rotate_key(
    settings: &KeySettings,
    sources: &Sources,
    destroys: bool,
) -> Result<u64, KeyReadError> {
    let KeyPlace::Vault { secret, field } = &settings.place else {
        return Err(KeyReadError::NotOurs);
    };
    let reader = KeyReader::new(settings.clone(), sources);
    let Some(vault) = &reader.vault else { return Err(KeyReadError::Interrupted) };
    let before = match reader.version(vault, secret, None).await {
        Ok(found) if found.values.keys().any(|name| name != field) => {
            return Err(KeyReadError::OtherFields { secret: secret_name(secret) });
        }
        Ok(found) => found.version.unwrap_or_default(),
        // The first version.
        Err(KeyReadError::Vault(error)) if matches!(*error, VaultError::Absent { .. }) => 0,
        Err(error) => return Err(error),
    };
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).map_err(|_| KeyReadError::NoRandom)?;
    let text = Zeroizing::new(BASE64_STANDARD.encode(*bytes));
    let version = vault.write(secret, (field, &text), before).await?;
    if destroys && version > 1 {
        // The engine keeps ten by itself, and at most so many if somebody asked for more.
        let oldest = version.saturating_sub(MOST_VERSIONS).max(1);
        vault.destroy(secret, (oldest..version).collect()).await?;
    }
    Ok(version)
}

impl fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReader").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why a key could not be read or made. It quotes none.
#[derive(Debug, thiserror::Error)]
pub enum KeyReadError {
    /// The file cannot be read, or others can.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file holds something else.
    #[error(transparent)]
    Key(KeyError),
    /// The vault gives none.
    #[error(transparent)]
    Vault(#[from] Arc<VaultError>),
    /// The secret has no such field, or it is no key.
    #[error("the field `{field}` of {secret} is not 32 bytes in Base64")]
    NoField {
        /// The secret.
        secret: String,
        /// The field.
        field: String,
    },
    /// A new version would lose the other fields.
    #[error(
        "{secret} has other fields, which a new version would not have; write it with the vault's own tools"
    )]
    OtherFields {
        /// The secret.
        secret: String,
    },
    /// The key is in a file, which reaches the members in a way of its own.
    #[error("the key is in a file, and not in a vault")]
    NotOurs,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// The read took too long.
    #[error("the source did not answer within {limit}")]
    Timeout {
        /// The time limit.
        limit: Span,
    },
    /// The process ends.
    #[error("reading the key was interrupted")]
    Interrupted,
}

impl KeyReadError {
    /// Whether the source works, and has no key.
    fn is_without(&self) -> bool {
        match self {
            Self::Vault(error) => error.meaning() == SourceFailure::Withdrawn,
            Self::File(error) => error.is_absent(),
            _ => false,
        }
    }
}

/// The first pause after a failure is as long as this at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait before a reading that was asked for.
const SOON: Duration = Duration::from_secs(5);
/// The least time between a reading and one that was asked for.
const GAP: Duration = Duration::from_secs(2);
/// More versions than an engine is asked to keep.
const MOST_VERSIONS: u64 = 1000;
