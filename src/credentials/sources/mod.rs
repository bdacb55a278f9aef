//! The sources of credential sets behind one type.

mod directory;
mod environment;
mod kept;
mod members;
mod reason;
pub mod sealed;
mod vault;
mod watch;
mod write_tracker;

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    task,
    time::{self, Instant},
};

use self::{
    directory::DirectorySource,
    environment::EnvironmentSource,
    sealed::{SealedError, SealedSource, SealedStore},
    vault::VaultSource,
    watch::WatchTarget,
    write_tracker::WriteTracker,
};
pub use self::{
    directory::{DirectoryError, expanded},
    environment::EnvironmentError,
    kept::KeptError,
    members::members,
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
) -> (Result<CredentialSet, LoadError>, Option<Arc<Observed>>) {
    let source = CredentialSource::new(settings);
    (source.read(settings, RefreshReason::Scheduled).await, source.observed())
}

/// Whether the secret id of a login can still be unwrapped, without using it up; `None` if none is wrapped.
pub async fn look_up_wrapping(settings: &Settings) -> Option<Result<(), LoadError>> {
    let SourceSettings::Vault(vault) = &settings.source else { return None };
    let source = VaultSource::new((**vault).clone());
    let limit = settings.refresh.read_timeout;
    let outcome = time::timeout(limit, source.look_up_wrapping()).await;
    match outcome {
        Ok(found) => found.map(|found| found.map_err(LoadError::from)),
        Err(_) => Some(Err(LoadError::Timeout { limit: Span(limit) })),
    }
}

/// Whether the files can be used that a start does not go without. The others may come later.
pub fn check_files(settings: &SourceSettings) -> Result<(), VaultError> {
    match settings {
        SourceSettings::Vault(vault) => vault::check_files(vault),
        _ => Ok(()),
    }
}

/// The source of one set.
#[derive(Debug)]
pub(super) struct CredentialSource {
    source: AnySource,
    /// One blocking call at a time: a mount that hangs holds one thread, not one for each attempt.
    blocking: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
enum AnySource {
    Directory(Arc<DirectorySource>),
    Environment(Arc<EnvironmentSource>),
    Sealed(Arc<SealedSource>),
    Vault(Arc<VaultSource>),
}

impl CredentialSource {
    pub(super) fn new(settings: &Settings) -> Self {
        let source = match &settings.source {
            SourceSettings::Directory { path } => {
                AnySource::Directory(Arc::new(DirectorySource::new(path, settings.refresh.quiet)))
            }
            SourceSettings::Environment { prefix } => {
                AnySource::Environment(Arc::new(EnvironmentSource::new(prefix)))
            }
            SourceSettings::Sealed { file, key_file } => {
                let store = SealedStore::new(file, key_file);
                AnySource::Sealed(Arc::new(SealedSource::new(store, settings.name.clone())))
            }
            SourceSettings::Vault(vault) => {
                AnySource::Vault(Arc::new(VaultSource::new((**vault).clone())))
            }
        };
        Self { source, blocking: Arc::new(Semaphore::new(1)) }
    }

    /// A source that takes the place of another one.
    pub(super) fn after(settings: &Settings, previous: &Self) -> Self {
        match (&settings.source, &previous.source) {
            (SourceSettings::Vault(vault), AnySource::Vault(previous)) => {
                let source = VaultSource::after((**vault).clone(), previous);
                Self {
                    source: AnySource::Vault(Arc::new(source)),
                    blocking: Arc::new(Semaphore::new(1)),
                }
            }
            _ => Self::new(settings),
        }
    }

    /// Reads all seven values within the read timeout of the settings.
    pub(super) async fn read(
        &self,
        settings: &Settings,
        reason: RefreshReason,
    ) -> Result<CredentialSet, LoadError> {
        let limit = settings.refresh.read_timeout;
        let read = async {
            let fixed = settings.fixed.clone();
            match self.source.clone() {
                AnySource::Directory(source) => {
                    source.writers().done().await;
                    self.in_background(move || source.read(&fixed)).await?.map_err(Into::into)
                }
                AnySource::Environment(source) => source.read(&fixed).map_err(Into::into),
                AnySource::Sealed(source) => {
                    self.in_background(move || source.read(&fixed)).await?.map_err(Into::into)
                }
                AnySource::Vault(source) => source.read(&fixed, reason).await.map_err(Into::into),
            }
        };
        match time::timeout(limit, read).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LoadError::Timeout { limit: Span(limit) }),
        }
    }

    /// The files to watch, if the source has any.
    pub(super) fn watched(&self) -> Option<WatchTarget> {
        match &self.source {
            AnySource::Directory(source) => {
                let writers = source.writers().clone();
                Some(WatchTarget { folder: source.path().to_owned(), file: None, writers })
            }
            // The store is replaced as a whole, so its writers do not matter.
            AnySource::Sealed(source) => {
                Some(WatchTarget::file(source.store().file(), WriteTracker::default()))
            }
            AnySource::Environment(_) | AnySource::Vault(_) => None,
        }
    }

    /// A set of that version was in use before this process began.
    pub(super) async fn remember(&self, version: &SetVersion) {
        if let AnySource::Vault(source) = &self.source {
            source.remember(version).await;
        }
    }

    /// The latest time for the next read, if the source has one.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.source {
            AnySource::Vault(source) => source.wake_at(),
            AnySource::Directory(_) | AnySource::Environment(_) | AnySource::Sealed(_) => None,
        }
    }

    /// What the source's server has shown of itself, if it has one.
    pub(super) fn observed(&self) -> Option<Arc<Observed>> {
        match &self.source {
            AnySource::Vault(source) => Some(Arc::clone(source.observed())),
            AnySource::Directory(_) | AnySource::Environment(_) | AnySource::Sealed(_) => None,
        }
    }

    /// Runs blocking work on a thread of its own. If the caller gives up, the next call waits until
    /// the work has ended.
    pub(super) async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let permit = Arc::clone(&self.blocking).acquire_owned().await;
        task::spawn_blocking(move || {
            let outcome = work();
            drop(permit);
            outcome
        })
        .await
        .map_err(|_| LoadError::Interrupted)
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
    Vault(#[from] VaultError),
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

    /// Whether the source is there and does not have the set.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::Absent { .. }) => true,
            _ => self.meaning() == SourceFailure::Withdrawn,
        }
    }

    /// Whether the source has an older version than the one in use.
    pub fn is_older_version(&self) -> bool {
        matches!(self, Self::Vault(VaultError::WentBack { .. }))
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
