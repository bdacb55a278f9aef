//! The composition root: from checked settings to open sockets, to serving, to the end of a drain.
//!
//! [`Gateway::open`] makes everything that can fail, so that what is served can serve; nothing is
//! accepted before [`Gateway::serve`]. Calls are handled by workers, each a thread with a runtime,
//! connections and an upstream pool of its own ([`worker`]); the thread that calls `serve` keeps the
//! credentials fresh, answers the admin listener, carries out reloads ([`reload`]) and watches over
//! the drain:
//!
//! ```text
//! told to end ── /readyz says so; connections are still taken ── drain_delay ──▶ no new connections;
//! open ones finish (HTTP/2: GOAWAY) ── last call, or drain ──▶ the rest is cut ──▶ trail closed
//! ```

mod certificates;
mod control;
mod parts;
mod reload;
mod remedy;
mod sources;
mod worker;

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::{
    certificates::CertificatesError,
    parts::{StartError, policy, upstream_settings},
    reload::{ReloadError, Reloader},
    sources::{SourceError, settings as credential_settings},
};
use self::{
    certificates::warn_if_anyone_can_call,
    control::Supervisor,
    parts::{ListenerParts, Shared},
    reload::{ControlRequest, LivenessProbe},
    worker::{Generation, Worker},
};
use crate::{
    config::settings::{ListenerSettings, Settings},
    credentials::{self, CredentialManager},
    domain::{Address, CredentialsName, ListenerName},
    proxy::server::{BindError, Bound, Drain, Inherited},
    telemetry::{Activity, Metrics, TraceExporter, Tracer},
};

/// A gateway whose sockets are open and that serves nobody yet.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(ListenerSettings, Bound)>,
    admin: Option<Bound>,
    traces: Option<TraceExporter>,
    requests: (mpsc::Sender<ControlRequest>, mpsc::Receiver<ControlRequest>),
    looks: (mpsc::Sender<LivenessProbe>, mpsc::Receiver<LivenessProbe>),
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether calls had to be cut off because the drain took too long.
    pub cut_off: bool,
    /// The last sequence number of the audit trail.
    pub last_seq: u64,
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
        Self::open_with(settings, Inherited::none())
    }

    /// The same, with sockets that another process opened for some of the addresses.
    pub fn open_with(settings: Settings, mut inherited: Inherited) -> Result<Self, StartError> {
        let (tracer, traces) = settings.telemetry.otlp_endpoint.clone().map(Tracer::to).unzip();
        let shared = Shared::open(&settings, tracer.unwrap_or_default())?;
        let mut open = |address: &Address| match inherited.take(address) {
            Some(bound) => Ok(bound),
            None => Bound::bind(address, SOCKET_MODE),
        };
        let mut listeners = Vec::with_capacity(settings.listeners.len());
        for listener in &settings.listeners {
            warn_if_anyone_can_call(listener);
            listeners.push((listener.clone(), open(&listener.address)?));
        }
        let admin = match &settings.admin {
            Some(admin) => Some(open(&admin.address)?),
            None => None,
        };
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was handed over that no listener has as its address");
        }
        let (requests, looks) = (mpsc::channel(1), mpsc::channel(1));
        Ok(Self { settings, shared, listeners, admin, traces, requests, looks })
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
    pub fn managers(&self) -> &BTreeMap<CredentialsName, CredentialManager> {
        &self.shared.managers
    }

    /// The metrics, for tests that look inside.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// What happened lately, for tests that need a past.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.shared.activity
    }

    /// To give it another configuration while it serves.
    pub fn reloader(&self) -> Reloader {
        let (requests, looks) = (self.requests.0.clone(), self.looks.0.clone());
        Reloader::new(requests, looks, Arc::clone(&self.shared.metrics))
    }

    /// Serves until it is told to end, and returns when the last call is answered and on the trail.
    pub async fn serve(self, ending: Ending) -> Result<Summary, ServeError> {
        let drain = Drain::new();
        let draining = CancellationToken::new();
        let mut control = Supervisor::new(draining.clone());
        control.keep(&self.shared.managers);
        control.watch(&self.shared.certificates);
        control.maintain(self.shared.cache.clone());
        control.first_read(FIRST_READ).await;
        let mut running = Running::start(self, &drain, &mut control)?;
        tracing::info!(workers = running.workers.len(), "serving");

        running.obey(&ending, &mut control).await;
        draining.cancel();
        if !ending.now.is_cancelled() {
            running.linger(&drain, &ending).await;
        }
        drain.stop.cancel();
        let cut_off = running.join(&drain, &ending).await?;
        running.finish(control, cut_off).await
    }
}

/// A gateway that serves.
struct Running {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(ListenerSettings, Bound)>,
    admin: Option<Bound>,
    workers: Vec<Worker>,
    requests: mpsc::Receiver<ControlRequest>,
}

impl Running {
    fn start(
        gateway: Gateway,
        drain: &Drain,
        control: &mut Supervisor,
    ) -> Result<Self, ServeError> {
        let Gateway { settings, shared, listeners, admin, traces, requests, looks } = gateway;
        let (requests, looks) = (requests.1, looks.1);
        control.trace(traces);
        control.show(&settings, &shared, &listeners);
        if let Some(admin) = &admin {
            control.admin(admin.share().map_err(ServeError::Socket)?);
        }
        let count = settings
            .runtime
            .workers
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
        let workers = (0..count)
            .map(|number| {
                let first = generation(&shared, &listeners).map_err(ServeError::Socket)?;
                Worker::spawn(number, first, drain.clone()).map_err(ServeError::Thread)
            })
            .collect::<Result<Vec<_>, _>>()?;
        control.look_after(workers.iter().map(Worker::pulse).collect(), looks);
        Ok(Self { settings, shared, listeners, admin, workers, requests })
    }

    /// Carries out reloads until it is told to end.
    async fn obey(&mut self, ending: &Ending, control: &mut Supervisor) {
        loop {
            let request = tokio::select! {
                biased;
                () = ending.now.cancelled() => return,
                () = ending.drain.cancelled() => return,
                Some(request) = self.requests.recv() => request,
            };
            tokio::select! {
                biased;
                () = ending.now.cancelled() => return,
                () = ending.drain.cancelled() => return,
                () = self.carry_out(request, control) => {}
            }
        }
    }

    /// Goes on as before for a while, so that an application that ends later can make its last calls.
    /// Connections are kept no longer than a call each, so that few are left when it is over.
    async fn linger(&self, drain: &Drain, ending: &Ending) {
        let delay = self.settings.timeouts.drain_delay;
        if !delay.is_zero() {
            drain.leaving.store(true, Ordering::Relaxed);
            tracing::info!(?delay, "ending soon: calls are still taken");
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = ending.now.cancelled() => {}
            }
        }
        tracing::info!("draining: open calls are finished");
    }

    /// Waits for the workers, each of which ends with its last connection, and cuts off what takes too
    /// long; says whether it had to.
    async fn join(&mut self, drain: &Drain, ending: &Ending) -> Result<bool, ServeError> {
        let mut workers = join_all(self.workers.drain(..).map(Worker::join));
        let idle = tokio::select! {
            ended = tokio::time::timeout(self.settings.timeouts.drain, &mut workers) => ended.ok(),
            () = ending.now.cancelled() => None,
        };
        drain.cut.cancel();
        let cut_off = idle.is_none();
        let ended = match idle {
            Some(ended) => ended,
            None => workers.await,
        };
        ended.into_iter().collect::<Result<(), _>>()?;
        Ok(cut_off)
    }

    /// Ends everything else, and closes the trail last.
    async fn finish(self, control: Supervisor, cut_off: bool) -> Result<Summary, ServeError> {
        control.end().await;
        for bound in self.listeners.iter().map(|(_, bound)| bound).chain(&self.admin) {
            bound.unlink();
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
}

/// What one worker is to serve.
fn generation(
    shared: &Shared,
    listeners: &[(ListenerSettings, Bound)],
) -> Result<Generation, BindError> {
    let parts = listeners.iter().map(|(settings, bound)| {
        Ok(ListenerParts { settings: settings.clone(), socket: bound.share()? })
    });
    Ok(Generation { shared: shared.clone(), listeners: parts.collect::<Result<_, _>>()? })
}

/// Why a gateway stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A socket cannot be shared with a worker.
    #[error("a listener cannot be shared")]
    Socket(#[source] BindError),
    /// A worker's thread cannot be started.
    #[error("a worker cannot be started")]
    Thread(#[source] std::io::Error),
    /// What was still to be written of the audit trail could not be.
    #[error("the audit trail could not be finished")]
    Trail(#[source] crate::audit::Unwritable),
    /// A worker ended by itself.
    #[error("a worker ended")]
    Worker,
}

/// A set of credentials as `serve` reports them; see [`credentials::SetStatus`].
pub type CredentialsStatus = credentials::SetStatus;

/// How long connections wait for the credentials to be read for the first time. Most sources need a few
/// milliseconds, and then no caller notices a restart; one that is away is not waited for any longer.
const FIRST_READ: Duration = Duration::from_secs(2);
/// Unix sockets of callers: the owner and the group may connect.
const SOCKET_MODE: u32 = 0o660;

#[cfg(test)]
mod tests;
