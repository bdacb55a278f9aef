//! The sources behind one face, and what can go wrong with any of them.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    sync::Semaphore,
    task,
    time::{self, Instant},
};

use super::{
    CredentialSet, DirectoryError, EnvironmentError, Settings, SourceSettings,
    directory::Directory,
    environment::Environment,
    sealed::{Sealed, SealedError, Store},
    vault::{Vault, VaultError},
    write_tracker::WriteTracker,
};
use crate::domain::{CredentialsName, Span};

/// Reads a set once, as `check --online` does; a [`super::CredentialManager`] does it again and again.
pub async fn load(settings: &Settings) -> Result<CredentialSet, LoadError> {
    Source::new(settings).read(settings, Asked::ByOperator).await
}

/// One source, ready to be read.
#[derive(Debug)]
pub(super) struct Source {
    kind: SourceKind,
    /// One blocking call at a time: a mount that hangs costs one thread, not one an attempt.
    blocking: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
enum SourceKind {
    Directory(Arc<Directory>),
    Environment(Arc<Environment>),
    Sealed(Arc<Sealed>),
    Vault(Arc<Vault>),
}

impl Source {
    pub(super) fn new(settings: &Settings) -> Self {
        let kind = match &settings.source {
            SourceSettings::Directory { path } => {
                SourceKind::Directory(Arc::new(Directory::new(path, settings.refresh.quiet)))
            }
            SourceSettings::Environment { prefix } => {
                SourceKind::Environment(Arc::new(Environment::new(prefix)))
            }
            SourceSettings::Sealed { file, key_file } => {
                let store = Store::new(file, key_file);
                SourceKind::Sealed(Arc::new(Sealed::new(store, settings.name.clone())))
            }
            SourceSettings::Vault(vault) => {
                SourceKind::Vault(Arc::new(Vault::new((**vault).clone())))
            }
        };
        Self { kind, blocking: Arc::new(Semaphore::new(1)) }
    }

    /// Reads all seven, within the time the settings give.
    pub(super) async fn read(
        &self,
        settings: &Settings,
        asked: Asked,
    ) -> Result<CredentialSet, LoadError> {
        let limit = settings.refresh.read_timeout;
        let read = async {
            let (kind, fixed) = (self.kind.clone(), settings.fixed.clone());
            match kind {
                SourceKind::Directory(source) => {
                    source.writers().done().await;
                    self.in_background(move || source.read(&fixed)).await?.map_err(Into::into)
                }
                SourceKind::Environment(source) => source.read(&fixed).map_err(Into::into),
                SourceKind::Sealed(source) => {
                    self.in_background(move || source.read(&fixed)).await?.map_err(Into::into)
                }
                SourceKind::Vault(source) => source.read(&fixed, asked).await.map_err(Into::into),
            }
        };
        match time::timeout(limit, read).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LoadError::Timeout { limit: Span(limit) }),
        }
    }

    /// What changes on disk when the set does, if it lies there.
    pub(super) fn watched(&self) -> Option<Watched> {
        match &self.kind {
            SourceKind::Directory(source) => {
                let writers = source.writers().clone();
                Some(Watched { folder: source.path().to_owned(), file: None, writers })
            }
            SourceKind::Sealed(source) => {
                let file = source.store().file();
                let folder = match file.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                    _ => PathBuf::from("."),
                };
                let file = file.file_name().map(Into::into);
                // It is put in place whole, and half of it would not open.
                Some(Watched { folder, file, writers: WriteTracker::default() })
            }
            SourceKind::Environment(_) | SourceKind::Vault(_) => None,
        }
    }

    /// When it wants to be read again at the latest.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.kind {
            SourceKind::Vault(source) => source.wake_at(),
            SourceKind::Directory(_) | SourceKind::Environment(_) | SourceKind::Sealed(_) => None,
        }
    }

    /// Runs what may block on a thread that may wait. If its caller gives up, the next call waits
    /// for its end.
    pub(super) async fn in_background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let permit = Arc::clone(&self.blocking).acquire_owned().await;
        task::spawn_blocking(move || {
            let answer = work();
            drop(permit);
            answer
        })
        .await
        .map_err(|_| LoadError::Interrupted)
    }
}

/// Why a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is time again.
    Routine,
    /// Calls wait for it, and it may be asked for several times a second.
    InAHurry,
    /// Somebody wants what is there now, even if it is older than what was there before.
    ByOperator,
}

/// A folder to watch, and the one file in it that matters, if only one does.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) folder: PathBuf,
    pub(super) file: Option<PathBuf>,
    /// Told of files that are being written.
    pub(super) writers: WriteTracker,
}

/// Why a source gives no set. Names files, variables and values, shows none; it is for the log
/// and the operator, not for callers.
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
    /// It took too long.
    #[error("the source did not answer within {limit}")]
    Timeout {
        /// The time it had.
        limit: Span,
    },
    /// From a vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The process is ending, or reading failed in a way that should not be.
    #[error("reading the source was interrupted")]
    Interrupted,
}

/// What a failed read means for the set that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The source is away or in disorder, and nothing is said about the set.
    Trouble,
    /// Somebody took the set away on purpose.
    Withdrawn,
}

impl LoadError {
    /// What it means for the set that is held.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Sealed(SealedError::NoSet { .. }) => Cause::Withdrawn,
            Self::Vault(error) => error.cause(),
            _ => Cause::Trouble,
        }
    }

    /// The reason in words for a caller, who has no business with paths and addresses.
    pub(super) fn for_callers(&self, name: &CredentialsName) -> String {
        let values = match self {
            Self::Directory(DirectoryError::Values { problems, .. })
            | Self::Sealed(SealedError::Values { problems, .. }) => Some(problems),
            Self::Environment(error) => Some(error.problems()),
            Self::Vault(error) => error.problems(),
            _ => None,
        };
        match values {
            Some(problems) => format!("The credential set {name:?} is not whole: {problems}."),
            None => format!("The credential set {name:?} could not be read yet."),
        }
    }
}
