//! The composition root: from checked settings to open sockets, to serving, to the end of a drain.
//!
//! [`Gateway::open`] makes everything that can fail, so that what is served can serve; nothing is
//! accepted before [`Gateway::serve`]. Calls are handled by workers, each a thread with a runtime,
//! connections and an upstream pool of its own ([`worker`]); the thread that calls `serve` keeps the
//! credentials fresh, answers the admin listener and watches over the drain.

mod parts;
mod sources;
mod worker;

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::parts::{StartError, policy};
use self::{
    parts::{ListenerParts, Shared},
    worker::Worker,
};
use crate::{
    admin,
    config::settings::{ListenerSettings, Settings},
    credentials::{self, Keeper},
    domain::{Address, CredentialsName, ListenerName},
    error::Chain,
    pipeline::listener::{Bound, Drain, ServerTls, ServerTlsError},
    telemetry::Metrics,
};

/// A gateway whose sockets are open and that serves nobody yet.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(ListenerSettings, Bound)>,
    admin: Option<Bound>,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether calls had to be cut off because the drain took too long.
    pub cut_off: bool,
    /// The last sequence number of the audit trail.
    pub last_seq: u64,
}

/// The certificates, keys and client authorities of all listeners. They are read again every few
/// seconds anyway; this is for those who cannot wait.
#[derive(Clone, Debug)]
pub struct Certificates(BTreeMap<ListenerName, Arc<ServerTls>>);

impl Certificates {
    /// Reads the files again. A listener whose files cannot be used goes on with what it has; the
    /// first of those is the error.
    pub fn reload(&self) -> Result<(), CertificatesError> {
        let mut failed = None;
        for (listener, tls) in &self.0 {
            if let Err(source) = tls.reload() {
                let (listener, source) = (listener.clone(), Box::new(source));
                failed.get_or_insert(CertificatesError { listener, source });
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A listener's certificates cannot be used; it goes on with those it has.
#[derive(Debug, thiserror::Error)]
#[error("the certificates of listener `{listener}` cannot be used")]
pub struct CertificatesError {
    listener: ListenerName,
    #[source]
    source: Box<ServerTlsError>,
}

/// Told from outside when to end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Finish what is under way, within the drain's time.
    pub drain: CancellationToken,
    /// End at once.
    pub now: CancellationToken,
}

impl Gateway {
    /// Reads certificates, opens the trail and binds every socket. Credentials are not waited for:
    /// a vault that is away must not keep a gateway from starting.
    pub fn open(settings: Settings) -> Result<Self, StartError> {
        let shared = Shared::new(&settings)?;
        let mut listeners = Vec::with_capacity(settings.listeners.len());
        for listener in &settings.listeners {
            warn_if_anyone_can_call(listener);
            listeners.push((listener.clone(), Bound::bind(&listener.address, SOCKET_MODE)?));
        }
        let admin = match &settings.admin {
            Some(admin) => Some(Bound::bind(&admin.address, SOCKET_MODE)?),
            None => None,
        };
        Ok(Self { settings, shared, listeners, admin })
    }

    /// Each listener's actual address.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerName, &Address)> {
        self.listeners.iter().map(|(listener, bound)| (&listener.name, bound.address()))
    }

    /// The admin listener's actual address.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(Bound::address)
    }

    /// The credential sets, by name.
    pub fn keepers(&self) -> &BTreeMap<CredentialsName, Keeper> {
        &self.shared.keepers
    }

    /// The certificates of the listeners, to be read again on demand.
    pub fn certificates(&self) -> Certificates {
        Certificates(self.shared.tls.clone())
    }

    /// Serves until it is told to end, and returns when the last call is answered and on the trail.
    pub async fn serve(self, ending: Ending) -> Result<Summary, ServeError> {
        let drain = Drain::new();
        let mut control = JoinSet::new();
        let background = CancellationToken::new();
        self.spawn_control(&mut control, &background, &drain)?;
        let workers = self.spawn_workers(&drain)?;
        tracing::info!(workers = workers.len(), "serving");

        tokio::select! {
            () = ending.drain.cancelled() => tracing::info!("draining: open calls are finished"),
            () = ending.now.cancelled() => {}
        }
        drain.stop.cancel();
        let patience = self.settings.timeouts.drain;
        let cut_off = tokio::select! {
            cut_off = until_idle(&drain, patience) => cut_off,
            () = ending.now.cancelled() => true,
        };
        drain.cut.cancel();
        for worker in workers {
            worker.join().await?;
        }
        background.cancel();
        control.shutdown().await;
        for (_, bound) in &self.listeners {
            Bound::unlink(bound.address());
        }
        if let Some(admin) = &self.settings.admin {
            Bound::unlink(&admin.address);
        }
        let trail = self.shared.trail.clone();
        let closed = tokio::task::spawn_blocking(move || trail.close()).await;
        match closed.map_err(|_| ServeError::Worker)? {
            Ok(last_seq) => {
                tracing::info!(last_seq, cut_off, "ended");
                Ok(Summary { cut_off, last_seq })
            }
            Err(unwritable) => Err(ServeError::Trail(unwritable)),
        }
    }

    fn spawn_workers(&self, drain: &Drain) -> Result<Vec<Worker>, ServeError> {
        let count = self
            .settings
            .runtime
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
        let connections = Arc::new(Semaphore::new(self.settings.limits.connections));
        let in_flight = Arc::new(Semaphore::new(self.settings.limits.in_flight));
        (0..count)
            .map(|number| {
                let mut parts = Vec::with_capacity(self.listeners.len());
                for (listener, bound) in &self.listeners {
                    parts.push(ListenerParts {
                        settings: listener.clone(),
                        socket: bound.share().map_err(ServeError::Socket)?,
                        connections: Arc::clone(&connections),
                        in_flight: Arc::clone(&in_flight),
                    });
                }
                Worker::spawn(number, parts, self.shared.clone(), drain.clone())
                    .map_err(ServeError::Thread)
            })
            .collect()
    }

    fn spawn_control(
        &self,
        control: &mut JoinSet<()>,
        background: &CancellationToken,
        drain: &Drain,
    ) -> Result<(), ServeError> {
        for keeper in self.shared.keepers.values() {
            control.spawn(keeper.clone().run(background.clone()));
        }
        for tls in self.shared.tls.values() {
            control.spawn(Arc::clone(tls).watch());
        }
        let store = self.shared.cache.clone();
        control.spawn(async move {
            let mut tick = tokio::time::interval(CACHE_MAINTENANCE);
            loop {
                tick.tick().await;
                store.maintain();
            }
        });
        if let Some(bound) = &self.admin {
            let view = self.view(drain);
            let socket = bound.share().map_err(ServeError::Socket)?;
            let background = background.clone();
            control.spawn(async move {
                if let Err(error) = admin::serve(socket, view, background).await {
                    tracing::error!(error = %Chain(&error), "the admin listener ended");
                }
            });
        }
        Ok(())
    }

    fn view(&self, drain: &Drain) -> admin::View {
        let listeners = self.listeners.iter().map(|(listener, bound)| admin::ListenerView {
            name: listener.name.to_string(),
            address: bound.address().to_string(),
            profile: listener.profile.to_string(),
            caller: listener.caller.as_deref().map(str::to_owned),
        });
        let profiles = self.settings.profiles.iter().map(|(name, profile)| admin::ProfileView {
            name: name.to_string(),
            upstream: profile.upstream.to_string(),
            credentials: profile.credentials.to_string(),
        });
        admin::View {
            started: SystemTime::now(),
            listeners: listeners.collect(),
            profiles: profiles.collect(),
            keepers: self.shared.keepers.clone(),
            trail: self.shared.trail.clone(),
            cache: self.shared.cache.clone(),
            metrics: Arc::clone(&self.shared.metrics),
            draining: drain.stop.clone(),
        }
    }

    /// The metrics, for tests that look inside.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }
}

/// A listener beyond this machine that asks for no certificate serves whoever reaches it.
fn warn_if_anyone_can_call(listener: &ListenerSettings) {
    let verified = listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !listener.address.is_local() && !verified {
        tracing::warn!(
            listener = %listener.name,
            address = %listener.address,
            "every machine that reaches this listener can call through it; [listeners.tls] with client_ca asks for certificates"
        );
    }
}

/// Waits for the connections to end; says whether they had to be left.
async fn until_idle(drain: &Drain, patience: Duration) -> bool {
    drain.tracker.close();
    tokio::time::timeout(patience, drain.tracker.wait()).await.is_err()
}

/// Why a gateway stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be shared with a worker.
    #[error("a listener cannot be shared")]
    Socket(#[source] crate::pipeline::listener::BindError),
    /// A worker's thread cannot be started.
    #[error("a worker cannot be started")]
    Thread(#[source] std::io::Error),
    /// What was still to be written of the audit trail could not be.
    #[error("the audit trail could not be finished")]
    Trail(#[source] crate::trail::Unwritable),
    /// A worker ended by itself.
    #[error("a worker ended")]
    Worker,
}

/// A set of credentials as `serve` reports them; see [`credentials::Status`].
pub type CredentialsStatus = credentials::Status;

/// Unix sockets of callers: the owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;
/// How often expired entries are dropped, so that personal data does not outlive its freshness.
const CACHE_MAINTENANCE: Duration = Duration::from_secs(1);
