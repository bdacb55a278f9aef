//! The sources of credential sets behind one type.

mod blocking;
mod directory;
mod environment;
mod kept;
mod keys;
mod member_place;
mod members;
mod reason;
pub mod sealed;
mod shared;
mod stamp;
mod vault;
mod watch;
mod write_tracker;

use std::sync::Arc;

use tokio::time;

#[cfg(test)]
use self::write_tracker::WriteTracker;
use self::{
    blocking::{BlockingLane, Interrupted},
    directory::DirectorySource,
    environment::EnvironmentSource,
    sealed::{SealedError, SealedSource, SealedStore},
    vault::VaultSource,
    watch::WatchTarget,
};
pub use self::{
    directory::{DirectoryError, expanded},
    environment::EnvironmentError,
    kept::KeptError,
    keys::{KeyPlace, KeyReadError, KeySettings, keep_key, read_key, read_key_file, rotate_key},
    members::members,
    shared::{SourceHold, Sources},
    vault::VaultError,
};
pub(super) use self::{
    kept::{KeptFile, KeptSets},
    reason::{RefreshReason, SourceFailure},
    watch::{ChangeSignal, FolderWatch},
};
use super::{
    set::{CredentialSet, SetVersion},
    settings::{Settings, SourceSettings},
};
use crate::{
    domain::{CredentialsName, Span},
    outbound::Observed,
};

/// Reads a set once, as `check --online` does; also what its server has shown of itself, if it has one.
pub async fn load(
    settings: &Settings,
    sources: &Sources,
) -> (Result<CredentialSet, LoadError>, Option<Arc<Observed>>) {
    let source = CredentialSource::new(settings, sources);
    (source.read(settings, RefreshReason::Scheduled).await, source.observed())
}

/// Whether the secret id of a login can still be unwrapped, without using it up; `None` if none is wrapped.
pub async fn look_up_wrapping(settings: &Settings) -> Option<Result<(), LoadError>> {
    let SourceSettings::Vault(vault) = &settings.source else { return None };
    let limit = settings.refresh.read_timeout;
    let outcome = time::timeout(limit, vault::look_up_wrapping(&vault.server)).await;
    match outcome {
        Ok(found) => found.map(|found| found.map_err(|error| LoadError::Vault(error.into()))),
        Err(_) => Some(Err(LoadError::Timeout { limit: Span(limit) })),
    }
}

/// Whether the files can be used that a start does not go without. The others may come later.
pub fn check_files(settings: &SourceSettings) -> Result<(), VaultError> {
    match settings {
        SourceSettings::Vault(vault) => vault::check_files(&vault.server),
        _ => Ok(()),
    }
}

/// The source of one set.
#[derive(Debug)]
pub(super) struct CredentialSource {
    source: AnySource,
    lane: BlockingLane,
    sources: Sources,
}

#[derive(Debug)]
enum AnySource {
    Directory(Arc<DirectorySource>),
    Environment(EnvironmentSource),
    Sealed(SealedSource),
    Vault(Box<VaultSource>),
}

impl CredentialSource {
    pub(super) fn new(settings: &Settings, sources: &Sources) -> Self {
        let source = match &settings.source {
            SourceSettings::Directory { path } => {
                AnySource::Directory(Arc::new(DirectorySource::new(path, settings.refresh.quiet)))
            }
            SourceSettings::Environment { prefix } => {
                AnySource::Environment(EnvironmentSource::new(prefix))
            }
            SourceSettings::Sealed { file, key_file } => {
                let store = sources.store(SealedStore::new(file, key_file));
                AnySource::Sealed(SealedSource::new(store, settings.name.clone()))
            }
            SourceSettings::Vault(vault) => {
                AnySource::Vault(Box::new(VaultSource::new((**vault).clone(), sources.vaults())))
            }
        };
        Self { source, lane: sources.lane(), sources: sources.clone() }
    }

    /// Reads all seven values within the read timeout of the settings.
    pub(super) async fn read(
        &self,
        settings: &Settings,
        reason: RefreshReason,
    ) -> Result<CredentialSet, LoadError> {
        let limit = settings.refresh.read_timeout;
        let read = async {
            match &self.source {
                AnySource::Directory(source) => {
                    source.writers().done().await;
                    let (source, fixed) = (Arc::clone(source), settings.fixed.clone());
                    self.in_background(move || source.read(&fixed)).await?.map_err(Into::into)
                }
                AnySource::Environment(source) => source.read(&settings.fixed).map_err(Into::into),
                AnySource::Sealed(source) => {
                    source.read(&settings.fixed).await?.map_err(Into::into)
                }
                AnySource::Vault(source) => {
                    source.read(&settings.fixed, reason).await.map_err(Into::into)
                }
            }
        };
        match time::timeout(limit, read).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LoadError::Timeout { limit: Span(limit) }),
        }
    }

    /// The watch on the source's files, if it has any.
    pub(super) fn watch(&self) -> Option<FolderWatch> {
        let target = match &self.source {
            AnySource::Directory(source) => WatchTarget {
                folder: source.path().to_owned(),
                file: None,
                writers: Some(source.writers().clone()),
            },
            AnySource::Sealed(source) => WatchTarget::file(source.store().file()),
            AnySource::Environment(_) | AnySource::Vault(_) => return None,
        };
        Some(FolderWatch::new(target, self.sources.watcher().clone()))
    }

    /// The files that are being written, as far as a watch tells.
    #[cfg(test)]
    pub(super) fn writers(&self) -> Option<&WriteTracker> {
        match &self.source {
            AnySource::Directory(source) => Some(source.writers()),
            _ => None,
        }
    }

    /// The file for a copy of the set, if the settings name one.
    pub(super) fn kept_file(&self, settings: &Settings) -> Option<KeptFile> {
        KeptFile::of(settings, self.sources.kept_keys())
    }

    /// A set of that version was in use before this process began.
    pub(super) fn remember(&self, version: &SetVersion) {
        if let AnySource::Vault(source) = &self.source {
            source.remember(version);
        }
    }

    /// What the source's server has shown of itself, if it has one.
    pub(super) fn observed(&self) -> Option<Arc<Observed>> {
        match &self.source {
            AnySource::Vault(source) => Some(Arc::clone(source.observed())),
            AnySource::Directory(_) | AnySource::Environment(_) | AnySource::Sealed(_) => None,
        }
    }

    /// Does blocking work. If the caller gives up, the next call waits until the work has ended.
    pub(super) async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        Ok(self.lane.run(work).await?)
    }
}

/// Why a source gives no set. It names files, variables and values and shows none. It is for the log
/// and for operators, not for callers.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// From a folder.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// From variables.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// From a sealed store.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// From a vault.
    #[error(transparent)]
    Vault(#[from] Arc<VaultError>),
    /// The read took too long.
    #[error("the source did not answer within {limit}")]
    Timeout {
        /// The read timeout.
        limit: Span,
    },
    /// The process ends, or the read panicked.
    #[error("reading the source was interrupted")]
    Interrupted,
}

impl LoadError {
    /// What the error means for the set that is held.
    pub(super) fn meaning(&self) -> SourceFailure {
        match self {
            Self::Sealed(SealedError::NoSet { .. }) => SourceFailure::Withdrawn,
            Self::Vault(error) => error.meaning(),
            _ => SourceFailure::Unavailable,
        }
    }

    /// Whether the source has an older version than the one in use.
    pub fn is_older_version(&self) -> bool {
        matches!(self, Self::Vault(error) if matches!(**error, VaultError::WentBack { .. }))
    }

    /// Whether the source works and has no such set for this gateway: the vault holds nothing at the path, deleted
    /// it or forbids to read it, the folder is absent in one that is there, or the store has no set of that name.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::Absent { .. }) => true,
            _ => self.meaning() == SourceFailure::Withdrawn,
        }
    }

    /// Whether nothing was learnt of the set, because its source itself cannot be used.
    pub(super) fn is_of_source(&self) -> bool {
        match self {
            Self::Vault(error) => {
                error.meaning() == SourceFailure::Unavailable
                    && error.problems().is_none()
                    && !self.is_older_version()
            }
            // A folder of its own, and variables, are not shared with other sets.
            Self::Sealed(SealedError::NoSet { .. } | SealedError::Values { .. })
            | Self::Directory(_)
            | Self::Environment(_) => false,
            Self::Sealed(_) | Self::Timeout { .. } | Self::Interrupted => true,
        }
    }

    /// The reason for a caller, without paths and addresses.
    pub(super) fn for_callers(&self, name: &CredentialsName) -> String {
        let problems = match self {
            Self::Directory(DirectoryError::Values { problems, .. })
            | Self::Sealed(SealedError::Values { problems, .. }) => Some(problems),
            Self::Environment(error) => Some(error.problems()),
            Self::Vault(error) => error.problems(),
            _ => None,
        };
        match problems {
            Some(problems) => format!("The credential set {name:?} is not whole: {problems}."),
            None => format!("The credential set {name:?} could not be read yet."),
        }
    }
}

impl From<Interrupted> for LoadError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

#[cfg(test)]
mod tests;
