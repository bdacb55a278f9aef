//! The handle of a serving gateway: reloads its configuration and probes its workers from outside.

use std::{fmt, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{ServeError, StartError, certificates::CertificatesError, revisions::ReloadCause};
use crate::{
    audit::ChangedKey, config::settings::Settings, domain::CredentialsName,
    proxy::server::BindError, telemetry::Metrics,
};

/// Requests to a serving gateway.
pub(super) enum ControlRequest {
    Reload {
        settings: Box<Settings>,
        cause: ReloadCause,
        done: Done,
    },
    /// Says what a reload would do.
    Try {
        settings: Box<Settings>,
        done: Done,
    },
    /// The configuration cannot be read.
    Refused {
        cause: ReloadCause,
        reason: String,
    },
    Reread {
        done: Reread,
    },
}

/// Receives the keys that a reload changes.
pub(super) type Done = oneshot::Sender<Result<Vec<ChangedKey>, ReloadError>>;

/// A liveness probe of the workers. It is answered on a task of its own, because a reload may take
/// time and is no sign of a fault.
pub(super) type LivenessProbe = oneshot::Sender<()>;

/// A handle that reloads the configuration of a serving gateway.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<ControlRequest>,
    probes: mpsc::Sender<LivenessProbe>,
    metrics: Arc<Metrics>,
}

impl Reloader {
    pub(super) fn new(
        requests: mpsc::Sender<ControlRequest>,
        probes: mpsc::Sender<LivenessProbe>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { requests, probes, metrics }
    }

    /// Applies these settings and returns the keys that changed, or returns why not and changes nothing.
    pub async fn reload(
        &self,
        settings: Settings,
        cause: ReloadCause,
    ) -> Result<Vec<ChangedKey>, ReloadError> {
        let settings = Box::new(settings);
        let result = self.ask(|done| ControlRequest::Reload { settings, cause, done }).await;
        if !matches!(result, Err(ReloadError::Ending)) {
            self.metrics.reloaded(result.is_ok());
        }
        result
    }

    /// What [`Self::reload`] would change. New credential sets are not loaded and new sockets not bound.
    pub async fn try_out(&self, settings: Settings) -> Result<Vec<ChangedKey>, ReloadError> {
        let settings = Box::new(settings);
        self.ask(|done| ControlRequest::Try { settings, done }).await
    }

    async fn ask(
        &self,
        request: impl FnOnce(Done) -> ControlRequest,
    ) -> Result<Vec<ChangedKey>, ReloadError> {
        let (done, result) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| ReloadError::Ending)?;
        result.await.unwrap_or(Err(ReloadError::Ending))
    }

    /// Reloads the credentials and the listeners' certificates. What cannot be loaded stays in use:
    /// credential errors are logged, a certificate error is returned.
    pub async fn reread(&self) -> Result<(), ReloadError> {
        let (done, result) = oneshot::channel();
        let request = ControlRequest::Reread { done };
        self.requests.send(request).await.map_err(|_| ReloadError::Ending)?;
        result.await.unwrap_or(Err(ReloadError::Ending))
    }

    /// Counts and records a configuration that could not be read.
    pub async fn unreadable(&self, cause: ReloadCause, reason: String) {
        self.metrics.reloaded(false);
        // A gateway that has ended records nothing more.
        let _ended = self.requests.send(ControlRequest::Refused { cause, reason }).await;
    }

    /// Returns when every worker's event loop has responded; `false` when the gateway has ended.
    pub async fn all_alive(&self) -> bool {
        let (done, confirmed) = oneshot::channel();
        self.probes.send(done).await.is_ok() && confirmed.await.is_ok()
    }
}

/// Why a configuration was refused. The old one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A changed key takes effect only at a start.
    #[error("{} can only change with a restart", keys.join(", "))]
    Restart {
        /// The keys.
        keys: Vec<String>,
    },
    /// A part cannot be built.
    #[error(transparent)]
    Part(#[from] StartError),
    /// A new credential set cannot be loaded.
    #[error("the credentials `{name}` cannot be loaded: {reason}")]
    Credentials {
        /// The set.
        name: CredentialsName,
        /// The source's error.
        reason: String,
    },
    /// The certificates of a listener cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The gateway is stopping.
    #[error("the gateway is ending")]
    Ending,
    /// A worker has ended.
    #[error(transparent)]
    Worker(#[from] ServeError),
}

impl From<BindError> for ReloadError {
    fn from(error: BindError) -> Self {
        Self::Part(error.into())
    }
}

/// Receives the result of a reload of credentials and certificates.
pub(super) type Reread = oneshot::Sender<Result<(), ReloadError>>;

impl fmt::Debug for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload { .. } => "Reload",
            Self::Try { .. } => "Try",
            Self::Refused { .. } => "Refused",
            Self::Reread { .. } => "Reread",
        })
    }
}
