//! Another configuration for a gateway that serves: all of it or nothing.
//!
//! Everything that can fail is done before anything changes: certificates are read, sockets bound, new
//! credential sets loaded. Then every worker turns to the new generation, connection by connection and
//! request by request; calls that are under way end by the rules they began with.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    Running, SOCKET_MODE, ServeError, StartError,
    certificates::{CertificatesError, warn_if_anyone_can_call},
    control::{Control, Reread},
    generation,
    parts::Shared,
};
use crate::{
    config::{Settings, types::Listener},
    credentials::Keeper,
    domain::CredentialsName,
    error::Chain,
    pipeline::listener::{BindError, Bound},
    telemetry::Metrics,
};

/// What a serving gateway is asked from outside.
pub(super) enum Request {
    Reload { settings: Box<Settings>, done: oneshot::Sender<Result<(), ReloadError>> },
    Reread { done: Reread },
}

/// Asked whether every worker is alive; answered beside everything else, because a reload may take its
/// time and is no sign of illness.
pub(super) type Look = oneshot::Sender<()>;

/// Gives a serving gateway another configuration.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    looks: mpsc::Sender<Look>,
    metrics: Arc<Metrics>,
}

impl Reloader {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        looks: mpsc::Sender<Look>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { requests, looks, metrics }
    }

    /// Serves by these settings from now on, or says why not and goes on as before.
    pub async fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        let (done, result) = oneshot::channel();
        let request = Request::Reload { settings: Box::new(settings), done };
        let result = match self.requests.send(request).await {
            Ok(()) => result.await.unwrap_or(Err(ReloadError::Ending)),
            Err(_) => Err(ReloadError::Ending),
        };
        self.metrics.reloaded(result.is_ok());
        result
    }

    /// Reads the credentials and the listeners' certificates again. What cannot be read stays as it
    /// was: for credentials that is in the log, for certificates the error.
    pub async fn reread(&self) -> Result<(), ReloadError> {
        let (done, result) = oneshot::channel();
        let request = Request::Reread { done };
        self.requests.send(request).await.map_err(|_| ReloadError::Ending)?;
        result.await.unwrap_or(Err(ReloadError::Ending))
    }

    /// Counts a configuration that could not even be read.
    pub fn unreadable(&self) {
        self.metrics.reloaded(false);
    }

    /// Returns once every worker has looked up from its work; `false` if the gateway has ended.
    pub async fn all_alive(&self) -> bool {
        let (done, confirmed) = oneshot::channel();
        self.looks.send(done).await.is_ok() && confirmed.await.is_ok()
    }
}

/// Why a configuration was refused. The old one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A key was changed that is read only at the start.
    #[error("{} can only change with a restart", keys.join(", "))]
    Restart {
        /// The keys.
        keys: Vec<&'static str>,
    },
    /// A part cannot be made.
    #[error(transparent)]
    Part(#[from] StartError),
    /// A new credential set cannot be loaded.
    #[error("the credentials `{name}` cannot be loaded: {reason}")]
    Credentials {
        /// The set.
        name: CredentialsName,
        /// Why.
        reason: String,
    },
    /// The certificates of a listener cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The gateway is about to end.
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
    pub(super) async fn carry_out(&mut self, request: Request, control: &mut Control) {
        match request {
            Request::Reload { settings, done } => {
                let result = self.reload(*settings, control).await;
                // Whoever asked may have stopped waiting.
                let _not_awaited = done.send(result);
            }
            Request::Reread { done } => control.reread(&self.shared, done),
        }
    }

    async fn reload(
        &mut self,
        settings: Settings,
        control: &mut Control,
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
        // From here on nothing fails but a worker that is gone, and then nothing can be saved.
        for (worker, generation) in self.workers.iter().zip(generations) {
            worker.turn_to(generation).await?;
        }
        for listener in &settings.listeners {
            if !self.settings.listeners.contains(listener) {
                warn_if_anyone_can_call(listener);
            }
        }
        control.keep(&shared.keepers);
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

    /// The sockets of the new listeners: the open one where the address is the same.
    fn sockets(&self, wanted: &[Listener]) -> Result<Vec<(Listener, Bound)>, BindError> {
        let open = |listener: &Listener| {
            let same = self.listeners.iter().find(|(old, _)| old.address == listener.address);
            match same {
                Some((_, bound)) => bound.share(),
                None => Bound::bind(&listener.address, SOCKET_MODE),
            }
        };
        wanted.iter().map(|listener| Ok((listener.clone(), open(listener)?))).collect()
    }

    /// Loads the credential sets that are new, so that no call meets one that is not there yet.
    async fn load_new(&self, shared: &Shared) -> Result<(), ReloadError> {
        for (name, keeper) in &shared.keepers {
            if self.shared.keepers.get(name).is_some_and(|kept| kept.same(keeper)) {
                continue;
            }
            let refused = |reason| ReloadError::Credentials { name: name.clone(), reason };
            match tokio::time::timeout(LOADING, Keeper::refresh(keeper)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(refused(Chain(&*error).to_string())),
                Err(_) => return Err(refused("its source does not answer".to_owned())),
            }
        }
        Ok(())
    }
}

/// The changed keys that are read only at the start.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changed = [
        ("admin", old.admin != new.admin),
        ("audit", old.audit != new.audit),
        ("runtime", old.runtime != new.runtime),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload { .. } => "Reload",
            Self::Reread { .. } => "Reread",
        })
    }
}

/// How long a new credential set may take to load.
const LOADING: Duration = Duration::from_secs(10);
