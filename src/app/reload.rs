//! Replaces the configuration of a serving gateway, all of it or nothing.
//!
//! Everything that can fail happens first: certificates are read, sockets bound, new credential
//! sets loaded. Then every worker applies the new generation, connection by connection and request
//! by request. Calls in flight finish under the rules they began with.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    Running, SOCKET_MODE, ServeError, StartError,
    certificates::{CertificatesError, warn_if_anyone_can_call},
    control::{Reread, Supervisor},
    generation,
    parts::Shared,
};
use crate::{
    config::settings::{ListenerSettings, Settings},
    credentials::CredentialManager,
    domain::CredentialsName,
    error::Chain,
    proxy::server::{BindError, Bound},
    telemetry::Metrics,
};

/// Requests to a serving gateway.
pub(super) enum ControlRequest {
    Reload { settings: Box<Settings>, done: oneshot::Sender<Result<(), ReloadError>> },
    Reread { done: Reread },
}

/// A liveness probe of the workers. It is answered on a task of its own, because a reload may take
/// time and is no sign of a fault.
pub(super) type LivenessProbe = oneshot::Sender<()>;

/// A handle that reloads the configuration of a serving gateway.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<ControlRequest>,
    looks: mpsc::Sender<LivenessProbe>,
    metrics: Arc<Metrics>,
}

impl Reloader {
    pub(super) fn new(
        requests: mpsc::Sender<ControlRequest>,
        looks: mpsc::Sender<LivenessProbe>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { requests, looks, metrics }
    }

    /// Applies these settings, or returns why not and changes nothing.
    pub async fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        let (done, result) = oneshot::channel();
        let request = ControlRequest::Reload { settings: Box::new(settings), done };
        let result = match self.requests.send(request).await {
            Ok(()) => result.await.unwrap_or(Err(ReloadError::Ending)),
            Err(_) => Err(ReloadError::Ending),
        };
        self.metrics.reloaded(result.is_ok());
        result
    }

    /// Reloads the credentials and the listeners' certificates. What cannot be loaded stays in use:
    /// credential errors are logged, a certificate error is returned.
    pub async fn reread(&self) -> Result<(), ReloadError> {
        let (done, result) = oneshot::channel();
        let request = ControlRequest::Reread { done };
        self.requests.send(request).await.map_err(|_| ReloadError::Ending)?;
        result.await.unwrap_or(Err(ReloadError::Ending))
    }

    /// Counts a configuration that could not be read.
    pub fn unreadable(&self) {
        self.metrics.reloaded(false);
    }

    /// Returns when every worker's event loop has responded; `false` when the gateway has ended.
    pub async fn all_alive(&self) -> bool {
        let (done, confirmed) = oneshot::channel();
        self.looks.send(done).await.is_ok() && confirmed.await.is_ok()
    }
}

/// Why a configuration was refused. The old one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A changed key takes effect only at a start.
    #[error("{} can only change with a restart", keys.join(", "))]
    Restart {
        /// The keys.
        keys: Vec<&'static str>,
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

impl Running {
    pub(super) async fn carry_out(&mut self, request: ControlRequest, control: &mut Supervisor) {
        match request {
            ControlRequest::Reload { settings, done } => {
                let result = self.reload(*settings, control).await;
                // The requester may be gone.
                let _not_awaited = done.send(result);
            }
            ControlRequest::Reread { done } => control.reread(&self.shared, done),
        }
    }

    async fn reload(
        &mut self,
        settings: Settings,
        control: &mut Supervisor,
    ) -> Result<(), ReloadError> {
        let keys = needs_restart(&self.settings, &settings);
        if !keys.is_empty() {
            return Err(ReloadError::Restart { keys });
        }
        let shared = self.shared.renew(&self.settings, &settings)?;
        let listeners = self.sockets(&settings.listeners)?;
        self.load_new(&shared).await?;
        let mut generations = Vec::with_capacity(self.workers.len());
        for _ in &self.workers {
            generations.push(generation(&shared, &listeners)?);
        }
        // From here on only a dead worker can fail the reload, and then nothing can be saved.
        for (worker, generation) in self.workers.iter().zip(generations) {
            worker.apply(generation).await?;
        }
        for listener in &settings.listeners {
            if !self.settings.listeners.contains(listener) {
                warn_if_anyone_can_call(listener);
            }
        }
        control.keep(&shared.managers);
        control.watch(&shared.certificates);
        control.maintain(shared.cache.clone());
        control.show(&settings, &shared, &listeners);
        for (listener, bound) in &self.listeners {
            if !settings.listeners.iter().any(|new| new.address == listener.address) {
                bound.unlink();
            }
        }
        (self.settings, self.shared, self.listeners) = (settings, shared, listeners);
        Ok(())
    }

    /// Binds the sockets of the new listeners; a listener with an unchanged address keeps its open
    /// socket.
    fn sockets(
        &self,
        wanted: &[ListenerSettings],
    ) -> Result<Vec<(ListenerSettings, Bound)>, BindError> {
        let open = |listener: &ListenerSettings| {
            let same = self.listeners.iter().find(|(old, _)| old.address == listener.address);
            match same {
                Some((_, bound)) => bound.share(),
                None => Bound::bind(&listener.address, SOCKET_MODE),
            }
        };
        wanted.iter().map(|listener| Ok((listener.clone(), open(listener)?))).collect()
    }

    /// Loads new credential sets first, so that no call finds one missing.
    async fn load_new(&self, shared: &Shared) -> Result<(), ReloadError> {
        for (name, manager) in &shared.managers {
            if self.shared.managers.get(name).is_some_and(|kept| kept.same(manager)) {
                continue;
            }
            let refused = |reason| ReloadError::Credentials { name: name.clone(), reason };
            match tokio::time::timeout(LOADING, CredentialManager::refresh(manager)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(refused(Chain(&*error).to_string())),
                Err(_) => return Err(refused("its source does not answer".to_owned())),
            }
        }
        Ok(())
    }
}

/// Changed keys that take effect only at a start.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("admin", old.admin != new.admin),
        ("audit", old.audit != new.audit),
        ("runtime", old.runtime != new.runtime),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

impl fmt::Debug for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload { .. } => "Reload",
            Self::Reread { .. } => "Reread",
        })
    }
}

/// Time limit for loading a new credential set.
const LOADING: Duration = Duration::from_secs(10);
