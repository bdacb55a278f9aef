//! The composition root: checked settings become open sockets, a serving gateway, and a drain.
//!
//! [`Gateway::open`] does everything that can fail; nothing is accepted before [`Gateway::serve`].
//! Workers handle calls. A worker is a thread with its own runtime, connections and upstream pool
//! ([`worker`]). The thread that calls `serve` refreshes credentials, serves the admin listener,
//! carries out reloads ([`reload`]) and supervises the drain:
//!
//! ```text
//! stop requested ── /readyz says so; connections are still accepted ── drain_delay ──▶ sockets close;
//! open connections finish (HTTP/2: GOAWAY) ── last call, or `drain` ──▶ the rest is aborted ──▶ trail closed
//! ```
//!
//! A listener's socket closes before anything else ends: the kernel refuses new callers at once, and what it
//! accepted before is served. Inherited sockets stay open for the next process, and the admin listener's
//! until the end, for its health checks.

mod certificates;
mod describe;
mod fleet_log;
mod following;
mod hearer;
mod supervisor;
mod parts;
mod preview;
mod profiles;
mod reload;
mod reloader;
mod remedy;
mod revisions;
mod worker;

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    num::NonZero,
    os::unix::fs::DirBuilderExt as _,
    sync::{Arc, OnceLock, atomic::Ordering},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::{
    certificates::CertificatesError,
    parts::{StartError, policy, upstream_settings},
    preview::preview_parts,
    reload::needs_restart,
    reloader::{ReloadError, Reloader},
    revisions::ReloadCause,
};
use self::{
    certificates::warn_if_anyone_can_call,
    parts::{ListenerParts, Shared},
    reloader::{ControlRequest, LivenessProbe},
    supervisor::Supervisor,
    worker::{Accepting, Generation, Worker},
};
use crate::{
    admin::{AdminServer, ReloadOrder, ReloadOrders, Routes, reload_orders},
    config::{AdminListener, Settings, types::Listener},
    credentials::{self, CredentialManager},
    domain::{Address, CredentialsName, ListenerName, ProfileName},
    notices::Receiver,
    process::users::group_id,
    proxy::{
        profile::Member,
        server::{Acceptor, AcceptorEnd, BindError, Bound, Drain, Inherited, SocketAccess},
    },
    telemetry::{Activity, Metrics, TraceExporter, Tracer},
};

/// A gateway with open sockets that serves nobody yet.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(Listener, Bound)>,
    admin: Option<Bound>,
    metrics: Option<Bound>,
    webhooks: Option<(Bound, Arc<Receiver>)>,
    traces: Option<TraceExporter>,
    /// Members of templates whose credentials are to be kept fresh.
    loaded: mpsc::UnboundedReceiver<Arc<Member>>,
    reloads: Option<ReloadOrders>,
    requests: (mpsc::Sender<ControlRequest>, mpsc::Receiver<ControlRequest>),
    probes: (mpsc::Sender<LivenessProbe>, mpsc::Receiver<LivenessProbe>),
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether the drain's time limit aborted calls.
    pub cut_off: bool,
    /// The last sequence number on the audit trail.
    pub last_seq: u64,
}

/// Requests to stop, from outside.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// Graceful: finish calls in flight, within the drain's time limit.
    pub drain: CancellationToken,
    /// Immediate.
    pub now: CancellationToken,
    /// What asked for it, such as the name of a signal; the `stop` line of the audit trail has it.
    pub cause: Arc<OnceLock<&'static str>>,
}

impl Gateway {
    /// Reads certificates, opens the trail and binds every socket. It does not wait for
    /// credentials: a vault outage must not prevent a start.
    pub fn open(settings: Settings) -> Result<Self, StartError> {
        Self::open_with(settings, Inherited::none())
    }

    /// As [`Self::open`], with inherited sockets for some of the addresses.
    pub fn open_with(settings: Settings, mut inherited: Inherited) -> Result<Self, StartError> {
        let (tracer, traces) = settings
            .telemetry
            .collector()
            .map(|collector| Tracer::to(collector, settings.audit.instance_name()))
            .unzip();
        let (loading, loaded) = mpsc::unbounded_channel();
        let shared = Shared::open(&settings, tracer.unwrap_or_default(), loading)?;
        let mut open = |address: &Address, access: SocketAccess| match inherited.take(address) {
            Some(bound) => Ok(bound),
            None => Bound::bind(address, access),
        };
        let mut listeners = Vec::with_capacity(settings.listeners.len());
        for listener in &settings.listeners {
            warn_if_anyone_can_call(listener);
            listeners.push((listener.clone(), open(&listener.address, CALLERS)?));
        }
        let admin = match &settings.admin {
            Some(admin) => {
                let access = operators(admin)?;
                make_folder(&admin.address)?;
                Some(open(&admin.address, access)?)
            }
            None => None,
        };
        // Whoever may scrape it is nobody in particular: as callers may.
        let metrics = settings.metrics.as_ref();
        let metrics = metrics.map(|metrics| open(&metrics.address, CALLERS)).transpose()?;
        let webhooks = match &settings.notices.webhook {
            Some(webhook) => {
                let is_known = |profile: &ProfileName| settings.profile(profile).is_some();
                let receiver =
                    Receiver::open(webhook.clone(), Arc::clone(&shared.notices), is_known)?;
                Some((open(&webhook.listener, CALLERS)?, receiver))
            }
            None => None,
        };
        for address in inherited.left() {
            tracing::warn!(%address, "a socket was handed over that no listener has as its address");
        }
        revisions::started(&shared.trail, &settings.revision);
        let (requests, probes) = (mpsc::channel(1), mpsc::channel(1));
        let reloads = None;
        Ok(Self {
            settings,
            shared,
            listeners,
            admin,
            metrics,
            webhooks,
            traces,
            loaded,
            reloads,
            requests,
            probes,
        })
    }

    /// Actual addresses of the listeners.
    pub fn addresses(&self) -> impl Iterator<Item = (&ListenerName, &Address)> {
        self.listeners.iter().map(|(listener, bound)| (&listener.name, bound.address()))
    }

    /// Actual address of the admin listener.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(Bound::address)
    }

    /// Actual address of the metrics listener.
    pub fn metrics_address(&self) -> Option<&Address> {
        self.metrics.as_ref().map(Bound::address)
    }

    /// Actual address of the listener for webhooks.
    pub fn webhook_address(&self) -> Option<&Address> {
        self.webhooks.as_ref().map(|(bound, _)| bound.address())
    }

    /// The credential sets, by name.
    pub fn managers(&self) -> &BTreeMap<CredentialsName, CredentialManager> {
        &self.shared.managers
    }

    /// The metrics, for tests.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Recent activity, for tests that need a history.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.shared.activity
    }

    /// A handle that reloads the configuration of the serving gateway.
    pub fn reloader(&self) -> Reloader {
        let (requests, probes) = (self.requests.0.clone(), self.probes.0.clone());
        Reloader::new(requests, probes, Arc::clone(&self.shared.metrics))
    }

    /// The orders of the admin listener to reload, for a process that can read its configuration again.
    pub fn reload_orders(&mut self) -> mpsc::Receiver<ReloadOrder> {
        let (orders, received) = reload_orders();
        self.reloads = Some(orders);
        received
    }

    /// Serves until it is told to stop; returns when the last call is answered and recorded.
    pub async fn serve(self, ending: Ending) -> Result<Summary, ServeError> {
        let drain = Drain { cut: self.shared.cut.clone(), ..Drain::new() };
        let draining = CancellationToken::new();
        let mut supervisor = Supervisor::new(draining.clone(), self.reloads.clone());
        supervisor.keep(&self.shared.managers);
        supervisor.watch(&self.shared.certificates);
        supervisor.maintain(&self.shared);
        supervisor.first_read(FIRST_READ).await;
        let mut running = Running::start(self, &drain, &mut supervisor)?;
        tracing::info!(workers = running.workers.len(), "serving");

        running.carry_out_reloads(&ending, &mut supervisor).await;
        draining.cancel();
        if !ending.now.is_cancelled() {
            running.linger(&drain, &ending).await;
        }
        running.end_acceptors(&[]).await;
        drain.stop.cancel();
        let cut_off = running.join(&drain, &ending).await?;
        running.finish(supervisor, cut_off, &ending).await
    }
}

/// A serving gateway.
struct Running {
    settings: Settings,
    shared: Shared,
    listeners: Vec<(Listener, Bound)>,
    admin: Option<Bound>,
    metrics: Option<Bound>,
    workers: Vec<Worker>,
    /// The acceptors, by the addresses of their listeners.
    accepting: Vec<(Address, Accepting)>,
    requests: mpsc::Receiver<ControlRequest>,
}

impl Running {
    fn start(
        gateway: Gateway,
        drain: &Drain,
        supervisor: &mut Supervisor,
    ) -> Result<Self, ServeError> {
        let Gateway {
            settings,
            shared,
            listeners,
            admin,
            metrics,
            webhooks,
            traces,
            loaded,
            requests,
            probes,
            ..
        } = gateway;
        supervisor.keep_members(loaded);
        let (requests, probes) = (requests.1, probes.1);
        supervisor.trace(traces);
        if let Some((socket, receiver)) = webhooks {
            supervisor.take_webhooks(socket, receiver, &shared);
        }
        supervisor.follow(&shared);
        supervisor.join_fleet(&shared);
        supervisor.show(&settings, &shared, &listeners);
        let of_admin = settings.admin.as_ref().map(|it| (it.connections, Routes::All, None));
        let tls = shared.certificates.of_metrics();
        let of_metrics = settings.metrics.as_ref().map(|it| (it.connections, Routes::Health, tls));
        for (bound, settings) in [(&admin, of_admin), (&metrics, of_metrics)] {
            let Some((bound, (connections, routes, tls))) = bound.as_ref().zip(settings) else {
                continue;
            };
            let socket = bound.share().map_err(ServeError::Socket)?;
            let settings = shared.listener.clone();
            supervisor.admin(AdminServer { socket, connections, settings, routes, tls });
        }
        let count = NonZero::new(settings.runtime.workers).unwrap_or_else(default_workers).get();
        let workers = (0..count)
            .map(|number| {
                Worker::spawn(number, generation(&shared, &listeners), drain.clone())
                    .map_err(ServeError::Thread)
            })
            .collect::<Result<Vec<_>, _>>()?;
        supervisor.supervise(workers.iter().map(Worker::heartbeat).collect(), probes);
        let acceptors =
            acceptors(&settings, &shared, &listeners, &workers).map_err(ServeError::Socket)?;
        let accepting = Vec::new();
        let mut running =
            Self { settings, shared, listeners, admin, metrics, workers, accepting, requests };
        running.accept(acceptors)?;
        Ok(running)
    }

    /// Starts the acceptors, each on its worker.
    fn accept(&mut self, acceptors: Vec<Acceptor>) -> Result<(), ServeError> {
        for acceptor in acceptors {
            let Some(worker) = self.workers.get(acceptor.own) else { continue };
            let address = acceptor.socket.address().clone();
            self.accepting.push((address, worker.accept(acceptor)?));
        }
        Ok(())
    }

    /// Ends all acceptors. Sockets whose listener is not among `kept` are closed.
    async fn end_acceptors(&mut self, kept: &[(Listener, Bound)]) {
        let stays = |address: &Address| kept.iter().any(|(_, bound)| bound.address() == address);
        // They are closed only when nobody holds them.
        self.listeners.retain(|(_, bound)| bound.is_inherited() || stays(bound.address()));
        let ends = self.accepting.drain(..).map(|(address, accepting)| {
            let end = if stays(&address) { AcceptorEnd::Pause } else { AcceptorEnd::Close };
            accepting.end(end)
        });
        join_all(ends).await;
    }

    /// Carries out reloads until it is told to stop. Those that come later are told so at once.
    async fn carry_out_reloads(&mut self, ending: &Ending, supervisor: &mut Supervisor) {
        loop {
            let request = tokio::select! {
                biased;
                () = ending.now.cancelled() => break,
                () = ending.drain.cancelled() => break,
                Some(request) = self.requests.recv() => request,
            };
            self.carry_out(request, supervisor, ending).await;
        }
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
    }

    /// Serves on for `drain_delay`, so that an application that stops later can make its last
    /// calls. Connections close after their next response, so that few are left at the end.
    async fn linger(&self, drain: &Drain, ending: &Ending) {
        let delay = *self.settings.timeouts.drain_delay;
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

    /// Waits for the workers, which end with their last connection, and aborts them at the time
    /// limit. Returns whether it had to.
    async fn join(&mut self, drain: &Drain, ending: &Ending) -> Result<bool, ServeError> {
        let mut workers = join_all(self.workers.drain(..).map(Worker::join));
        let idle = tokio::select! {
            ended = tokio::time::timeout(*self.settings.timeouts.drain, &mut workers) => ended.ok(),
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

    /// Stops everything else and closes the trail last.
    async fn finish(
        self,
        supervisor: Supervisor,
        cut_off: bool,
        ending: &Ending,
    ) -> Result<Summary, ServeError> {
        let membership = supervisor.end().await;
        self.admin.iter().chain(&self.metrics).for_each(Bound::unlink);
        let trail = self.shared.trail.clone();
        if let Some(cause) = ending.cause.get() {
            trail.stops_because(cause);
        }
        let closed = tokio::task::spawn_blocking(move || trail.close());
        let fleet_log = self.shared.fleet_log.clone();
        let of_fleet = tokio::task::spawn_blocking(move || fleet_log.map(|log| log.close()));
        let (closed, of_fleet) = tokio::join!(closed, of_fleet);
        if let Ok(Some(Err(error))) = of_fleet {
            tracing::error!(%error, "the fleet log could not be finished");
        }
        if let Some(membership) = membership {
            membership.end().await;
        }
        match closed.map_err(|_| ServeError::Worker)? {
            Ok(last_seq) => {
                tracing::info!(last_seq, cut_off, "ended");
                Ok(Summary { cut_off, last_seq })
            }
            Err(unwritable) => Err(ServeError::Trail(unwritable)),
        }
    }
}

/// The parts of one worker.
fn generation(shared: &Shared, listeners: &[(Listener, Bound)]) -> Generation {
    let parts = listeners.iter().map(|(settings, bound)| ListenerParts {
        settings: settings.clone(),
        address: bound.address().clone(),
    });
    Generation { shared: shared.clone(), listeners: parts.collect() }
}

/// A worker for each processor, and at most four unless this process has a quota or a set of processors of
/// its own: a sidecar on a large machine needs one or two.
fn default_workers() -> NonZero<usize> {
    let available = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let is_own = all_processors().is_some_and(|all| available.get() < all);
    if is_own { available } else { available.min(MOST_DEFAULT_WORKERS) }
}

fn all_processors() -> Option<usize> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let counts = online.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    counts.sum()
}

const MOST_DEFAULT_WORKERS: NonZero<usize> = NonZero::new(4).unwrap();

/// The acceptor of each listener, on one worker after another.
fn acceptors(
    settings: &Settings,
    shared: &Shared,
    listeners: &[(Listener, Bound)],
    workers: &[Worker],
) -> Result<Vec<Acceptor>, BindError> {
    let queues: Vec<_> = workers.iter().map(Worker::queue).collect();
    let numbers = (0..workers.len()).cycle();
    let acceptors = listeners
        .iter()
        .zip(numbers)
        .map(|(listener, own)| shared.acceptor(listener, settings, queues.clone(), own));
    acceptors.filter_map(Result::transpose).collect()
}

/// Who may connect to the admin listener's Unix socket: its owner, and the group that the configuration names.
fn operators(admin: &AdminListener) -> Result<SocketAccess, StartError> {
    match admin.socket_group.as_deref() {
        None => Ok(SocketAccess::Owner),
        Some(group) => {
            let group = group_id(group).map_err(StartError::SocketGroup)?;
            Ok(SocketAccess::Group(Some(group)))
        }
    }
}

/// Makes the folder of a Unix socket, for its owner alone, if it is not there.
fn make_folder(address: &Address) -> Result<(), StartError> {
    let Address::Unix(path) = address else { return Ok(()) };
    let Some(folder) = path.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    let failed = |source| StartError::SocketFolder { path: folder.to_owned(), source };
    DirBuilder::new().mode(0o700).create(folder).map_err(failed)
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
    /// The end of the audit trail could not be written.
    #[error("the audit trail could not be finished")]
    Trail(#[source] crate::audit::Unwritable),
    /// A worker ended unexpectedly.
    #[error("a worker ended")]
    Worker,
}

/// The state of a credential set as `serve` reports it; see [`credentials::SetStatus`].
pub type CredentialsStatus = credentials::SetStatus;

/// How long listeners wait for the first load of the credentials. Most sources need a few
/// milliseconds, so that callers do not notice a restart. A source that is down delays the start by
/// no more than this.
const FIRST_READ: Duration = Duration::from_secs(2);
/// Who may connect to a caller's Unix socket: its owner and group.
const CALLERS: SocketAccess = SocketAccess::Group(None);

#[cfg(test)]
mod tests;
