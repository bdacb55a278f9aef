//! Tasks beside the workers: credential refresh, cache maintenance, the admin listener.

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    certificates::Certificates,
    describe::describe,
    fleet_log::keep,
    hearer::Hearer,
    parts::Shared,
    reloader::{LivenessProbe, Reread},
    worker::Heartbeat,
};
use crate::{
    admin::{self, AdminServer},
    config::{Settings, types::Listener},
    credentials::{CredentialManager, keep_key},
    domain::{CredentialsName, ListenerName},
    error::Chain,
    notices::{Notices, Receiver},
    proxy::{
        profile::{Member, SharedKeys},
        server::{Bound, serve_alone},
    },
    telemetry::TraceExporter,
};

/// The tasks beside the workers.
pub(super) struct Supervisor {
    tasks: JoinSet<()>,
    ending: CancellationToken,
    draining: CancellationToken,
    started: SystemTime,
    window: Option<admin::SharedView>,
    /// Takes the orders of the admin listener to reload.
    reloads: Option<admin::ReloadOrders>,
    /// Stops the refresh of one credential set.
    keeping: BTreeMap<CredentialsName, (CredentialManager, CancellationToken)>,
    /// Stops the reading of a profile's key in the shared cache.
    keeping_keys: Vec<(Arc<SharedKeys>, CancellationToken)>,
    watching: CancellationToken,
    maintenance: CancellationToken,
    /// The notices that are followed, and what stops that.
    following: Option<(Arc<Notices>, CancellationToken)>,
    webhooks: Option<Arc<Receiver>>,
    membership: Option<Membership>,
}

/// This gateway in its fleet, which it leaves when its trail is closed.
pub(super) struct Membership {
    task: JoinHandle<()>,
    leaving: CancellationToken,
}

impl Membership {
    /// Tells the fleet how the trail ended, and leaves it. That takes no longer than a moment.
    pub(super) async fn end(self) {
        self.leaving.cancel();
        let task = AbortOnDropHandle::new(self.task);
        let _left = tokio::time::timeout(LAST_MOMENT, task).await;
    }
}

impl Supervisor {
    /// Starts with no tasks. `draining` is cancelled when the drain begins.
    pub(super) fn new(draining: CancellationToken, reloads: Option<admin::ReloadOrders>) -> Self {
        Self {
            tasks: JoinSet::new(),
            ending: CancellationToken::new(),
            draining,
            started: SystemTime::now(),
            window: None,
            reloads,
            keeping: BTreeMap::new(),
            keeping_keys: Vec::new(),
            watching: CancellationToken::new(),
            maintenance: CancellationToken::new(),
            following: None,
            webhooks: None,
            membership: None,
        }
    }

    /// Refreshes these credential sets and stops refreshing all others.
    pub(super) fn keep(&mut self, managers: &BTreeMap<CredentialsName, CredentialManager>) {
        // Reaps tasks that earlier reloads stopped.
        while self.tasks.try_join_next().is_some() {}
        let mut before = mem::take(&mut self.keeping);
        for (name, manager) in managers {
            let same = before.remove(name).filter(|(kept, _)| kept.same(manager));
            let kept = same.unwrap_or_else(|| {
                let stop = self.ending.child_token();
                self.tasks.spawn(manager.clone().run(stop.clone()));
                (manager.clone(), stop)
            });
            self.keeping.insert(name.clone(), kept);
        }
        for (_, stop) in before.into_values() {
            stop.cancel();
        }
    }

    /// Reads the keys of these profiles in the shared cache, and stops reading all others.
    pub(super) fn keep_keys(&mut self, shared: &Shared) {
        let mut before = mem::take(&mut self.keeping_keys);
        for keys in shared.profiles.fixed().filter_map(|profile| profile.shared_keys.as_ref()) {
            let same = before.iter().position(|(kept, _)| Arc::ptr_eq(kept, keys));
            self.keeping_keys.push(if let Some(at) = same {
                before.swap_remove(at)
            } else {
                let stop = self.ending.child_token();
                self.tasks.spawn(keys.keep(stop.clone()));
                (Arc::clone(keys), stop)
            });
        }
        for (_, stop) in before {
            stop.cancel();
        }
    }

    /// Keeps the credentials of members fresh, and their keys, from when each is loaded until it is unloaded.
    pub(super) fn keep_members(&mut self, mut loaded: mpsc::UnboundedReceiver<Arc<Member>>) {
        let ending = self.ending.clone();
        self.tasks.spawn(async move {
            let mut kept = JoinSet::new();
            while let Some(Some(member)) = ending.run_until_cancelled(loaded.recv()).await {
                while kept.try_join_next().is_some() {}
                kept.spawn(member.profile.manager.clone().run(member.unloaded.clone()));
                if let Some(keys) = &member.profile.shared_keys {
                    kept.spawn(keys.keep(member.unloaded.clone()));
                }
            }
        });
    }

    /// Waits until every credential set has been loaded once, with or without success, at most for
    /// `limit`.
    pub(super) async fn first_read(&self, limit: Duration) {
        let reads = self.keeping.values().map(|(manager, _)| manager.refresh());
        if tokio::time::timeout(limit, join_all(reads)).await.is_err() {
            tracing::warn!("credentials are not there yet; calls are refused until they are");
        }
    }

    /// Reloads these certificates every few seconds and stops reloading all others.
    pub(super) fn watch(&mut self, certificates: &Certificates) {
        mem::replace(&mut self.watching, self.ending.child_token()).cancel();
        for watch in certificates.watch() {
            let watching = self.watching.clone();
            self.tasks.spawn(async move {
                watching.run_until_cancelled(watch).await;
            });
        }
    }

    /// Reloads credentials and certificates now, on a task of its own: a slow source delays only
    /// the requester.
    pub(super) fn reread(&mut self, shared: &Shared, done: Reread) {
        let members = shared.profiles.families().iter().flat_map(|family| family.members());
        let members = members.map(|member| member.manager.clone());
        let managers: Vec<_> = shared.managers.values().cloned().chain(members).collect();
        let certificates = shared.certificates.clone();
        let reread = async move {
            let files = tokio::task::spawn_blocking(move || certificates.reread());
            let (files, _) = tokio::join!(files, join_all(managers.iter().map(refresh)));
            // The requester may be gone.
            let _not_awaited = done.send(files.unwrap_or(Ok(())).map_err(Into::into));
        };
        let ending = self.ending.clone();
        self.tasks.spawn(async move {
            ending.run_until_cancelled(reread).await;
        });
    }

    /// Answers liveness probes until a worker is dead or all have ended.
    pub(super) fn supervise(
        &mut self,
        workers: Vec<Heartbeat>,
        mut probes: mpsc::Receiver<LivenessProbe>,
    ) {
        let ending = self.ending.clone();
        let answers = async move {
            while let Some(look) = probes.recv().await {
                for worker in &workers {
                    if worker.ping().await.is_err() {
                        return;
                    }
                }
                // The requester may be gone.
                let _not_awaited = look.send(());
            }
        };
        self.tasks.spawn(async move {
            ending.run_until_cancelled(answers).await;
        });
    }

    /// Runs the maintenance of the cache, the profiles and their metrics, and stops that of any other.
    pub(super) fn maintain(&mut self, shared: &Shared) {
        let (cache, profiles) = (shared.cache.clone(), Arc::clone(&shared.profiles));
        let (busiest, metrics) = (Arc::clone(&profiles), Arc::clone(&shared.metrics));
        mem::replace(&mut self.maintenance, self.ending.child_token()).cancel();
        let maintenance = self.maintenance.clone();
        self.tasks.spawn(async move {
            let mut pause = CACHE_MAINTENANCE;
            while maintenance.run_until_cancelled(sleep(pause)).await.is_some() {
                let begun = Instant::now();
                profiles.families().iter().for_each(|family| family.maintain());
                let present: Vec<_> = profiles.present().collect();
                cache.maintain(present.iter().map(|profile| &profile.partition)).await;
                // A large cache takes a few per cent of this thread's time, not all of it.
                pause = CACHE_MAINTENANCE.max(begun.elapsed().saturating_mul(50));
            }
        });
        let maintenance = self.maintenance.clone();
        self.tasks.spawn(async move {
            let mut tick = tokio::time::interval(CHOICE_OF_BUSIEST);
            while maintenance.run_until_cancelled(tick.tick()).await.is_some() {
                let members: Vec<_> = busiest.present().filter(|it| it.is_member()).collect();
                metrics.profiles().choose(members.iter().map(|member| &member.calls));
            }
        });
    }

    /// Follows the notices of these parts and stops following any others. A chain of readings goes on if the
    /// notices are the same.
    pub(super) fn follow(&mut self, shared: &Shared) {
        let notices = &shared.notices;
        let stop = self.ending.child_token();
        let before = self.following.replace((Arc::clone(notices), stop.clone()));
        if let Some((before, stop)) = before {
            stop.cancel();
            if !Arc::ptr_eq(&before, notices) {
                before.retire();
            }
        }
        if let Some(fleet) = &shared.fleet {
            // Before anything is heard: what is heard is for these profiles.
            notices.keep(shared.profiles.present().collect::<Vec<_>>().iter());
            self.keep_keys(shared);
            fleet.hear_for(Arc::new(Hearer::of(shared)));
            fleet.describe_by(describe(shared, fleet.role(), self.started));
        }
        self.tasks.spawn(Arc::clone(notices).keep_settling(stop.clone()));
        let following = shared.following().run();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(following).await;
        });
        if let Some(webhooks) = &self.webhooks {
            webhooks.take_for(Arc::clone(notices));
        }
    }

    /// Stays connected to the fleet's store, if there is a fleet. A hub keeps the fleet log until all calls have ended.
    pub(super) fn join_fleet(&mut self, shared: &Shared) {
        let Some(member) = &shared.fleet else { return };
        let leaving = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(member).run(leaving.clone()));
        self.membership = Some(Membership { task, leaving });
        self.tasks.spawn(Arc::clone(member).feed(self.ending.clone()));
        if let Some(log) = &shared.fleet_log {
            let (ending, keeping) =
                (self.ending.clone(), keep(Arc::clone(log), Arc::clone(member)));
            self.tasks.spawn(async move {
                ending.run_until_cancelled(keeping).await;
            });
        }
        if let Some((settings, ring)) = shared.fleet_key.clone() {
            let (sources, ending) = (shared.sources.clone(), self.ending.clone());
            self.tasks.spawn(keep_key(settings, sources, ring, ending));
        }
    }

    /// Takes webhooks on a socket.
    pub(super) fn take_webhooks(
        &mut self,
        socket: Bound,
        receiver: Arc<Receiver>,
        shared: &Shared,
    ) {
        let (settings, tls) = (shared.listener.clone(), shared.certificates.of_webhook());
        let (ending, path) = (self.ending.clone(), receiver.path());
        let (watching, watch) = (self.ending.clone(), Arc::clone(&receiver).watch());
        self.webhooks = Some(receiver);
        self.tasks.spawn(async move {
            watching.run_until_cancelled(watch).await;
        });
        self.tasks.spawn(async move {
            let address = socket.address().clone();
            let name = ListenerName::new("webhook");
            let served =
                serve_alone(name, socket, WEBHOOK_CONNECTIONS, settings, tls, path, ending).await;
            if let Err(error) = served {
                tracing::error!(%address, error = %Chain(&error), "the listener for webhooks ended");
            }
        });
    }

    /// Replaces the view of the admin listener.
    pub(super) fn show(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        listeners: &[(Listener, Bound)],
    ) {
        let listeners = listeners.iter().map(|(listener, bound)| admin::ListenerView {
            name: listener.name.to_string(),
            address: bound.address().to_string(),
            profile: listener.profile.as_ref().map(ToString::to_string),
            caller: listener.caller.as_deref().map(str::to_owned),
        });
        let profiles = settings.profiles.iter().map(|(name, profile)| admin::ProfileView {
            name: name.to_string(),
            upstream: profile.upstream.to_string(),
            credentials: profile.credentials.to_string(),
        });
        let view = admin::GatewayView {
            started: self.started,
            listeners: listeners.collect(),
            profiles: profiles.collect(),
            managers: shared.managers.clone(),
            trail: shared.trail.clone(),
            cache: shared.cache.clone(),
            directory: Arc::clone(&shared.profiles),
            notices: Arc::clone(&shared.notices),
            webhooks: self.webhooks.clone(),
            fleet: shared.fleet.clone(),
            fleet_log: shared.fleet_log.clone(),
            upstreams: shared
                .profiles
                .fixed()
                .map(|profile| (profile.name.clone(), Arc::clone(&profile.health)))
                .collect(),
            certificates: settings.certificates().into(),
            observed: shared
                .upstreams
                .iter()
                .map(|(name, upstream)| (name.clone(), Arc::clone(&upstream.observed)))
                .collect(),
            limits: admin::LimitsView {
                connections_limit: settings.limits.connections,
                in_flight_limit: settings.limits.in_flight,
                places: shared.places.clone(),
            },
            policy: Arc::clone(&shared.policy),
            callers: Arc::clone(&shared.callers),
            activity: Arc::clone(&shared.activity),
            metrics: Arc::clone(&shared.metrics),
            tokens: Arc::clone(&shared.tokens),
            reloads: self.reloads.clone(),
            configuration: admin::ConfigurationView {
                policy: settings.revision.policy_id().to_string(),
                since: Timestamp::now(),
                refused: None,
            },
            draining: self.draining.clone(),
        };
        shared.activity.always_count(settings.profiles.keys().cloned().collect());
        match &self.window {
            Some(window) => window.show(view),
            None => self.window = Some(admin::SharedView::new(view)),
        }
    }

    /// Shows that a configuration was refused, until one is accepted.
    pub(super) fn show_refused(&self, reason: &str) {
        if let Some(window) = &self.window {
            window.refuse(reason.to_owned());
        }
    }

    /// Serves the admin or the metrics listener.
    pub(super) fn admin(&mut self, server: AdminServer) {
        let Some(window) = self.window.clone() else { return };
        let (ending, address) = (self.ending.clone(), server.socket.address().clone());
        self.tasks.spawn(async move {
            if let Err(error) = server.serve(window, ending).await {
                tracing::error!(%address, error = %Chain(&error), "the admin listener ended");
            }
        });
    }

    /// Exports the spans of traced calls.
    pub(super) fn trace(&mut self, traces: Option<TraceExporter>) {
        if let Some(exporter) = traces {
            self.tasks.spawn(exporter.run(self.ending.clone()));
        }
    }

    /// Stops all tasks; the span exporter gets a moment to flush. What is left is the membership of the fleet.
    pub(super) async fn end(mut self) -> Option<Membership> {
        self.ending.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _left_behind = tokio::time::timeout(LAST_MOMENT, ended).await;
        self.tasks.shutdown().await;
        self.membership
    }
}

async fn refresh(manager: &CredentialManager) {
    if let Err(error) = manager.refresh().await {
        tracing::warn!(error = %Chain(&*error), "credentials could not be read again");
    }
}

/// Connections of webhooks at the same time. Over it, the oldest one is closed for a new one.
const WEBHOOK_CONNECTIONS: usize = 64;
/// Time limit for stopping the tasks.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// Interval of cache maintenance: personal data must not outlive its freshness.
const CACHE_MAINTENANCE: Duration = Duration::from_secs(1);
/// The interval that [`ProfileMetrics::choose`](crate::telemetry::ProfileMetrics::choose) counts on.
const CHOICE_OF_BUSIEST: Duration = Duration::from_mins(1);
