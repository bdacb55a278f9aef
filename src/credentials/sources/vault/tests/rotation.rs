//! Rotations under load: workers that use whatever the manager gives them, and an upstream that
//! takes only whole sets of the versions it knows. The four orders in which an operator, a vault
//! and Pigello can change are played with a real vault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use rustix::process::Signal;
use tokio::{task::JoinHandle, time};
use tokio_util::sync::CancellationToken;

use super::server::Server;
use crate::{
    credentials::{
        CredentialManager, CredentialVerdict, Identifiers, Lease, Next, RefreshSettings, SetState,
        Settings, SourceSettings, Sources, TokenSource, ValueName, VaultAuth,
    },
    domain::CredentialsName,
};

const WORKERS: usize = 32;
/// Longer than any test waits for an event.
const LONG_HOLD: Duration = Duration::from_mins(2);
/// How often the path repeats one call after a 401.
const REPEATS: usize = 2;

/// Pigello, as far as credentials go.
#[derive(Default)]
struct Upstream {
    /// The texts of the versions that it takes.
    takes: RwLock<Vec<&'static str>>,
    refused: AtomicU64,
    mixed: AtomicU64,
}

impl Upstream {
    fn takes(&self, texts: &[&'static str]) {
        *self.takes.write() = texts.to_vec();
    }

    fn call(&self, lease: &Lease) -> CredentialVerdict {
        let text = |name: ValueName| {
            lease.value(name).expose_to(|value| {
                value.strip_suffix(name.key()).map(str::to_owned).unwrap_or_default()
            })
        };
        let first = text(ValueName::CustomerId);
        if ValueName::ALL.into_iter().any(|name| text(name) != first) {
            self.mixed.fetch_add(1, Ordering::Relaxed);
        }
        let known = self.takes.read().iter().any(|known| format!("{known}-") == first);
        if known {
            return CredentialVerdict::Accepted;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        CredentialVerdict::Refused
    }
}

/// The outcomes of the calls.
#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    slowest_millis: AtomicU64,
}

struct Trial {
    server: Server,
    manager: CredentialManager,
    upstream: Arc<Upstream>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Trial {
    async fn start() -> Option<Self> {
        Self::start_with(RefreshSettings::HOLD).await
    }

    /// A vault with version `old`, an upstream that takes it, and workers that call. A call that is
    /// refused waits for a newer version, for `hold` at most.
    async fn start_with(hold: Duration) -> Option<Self> {
        let server = Server::start().await?;
        server.write("old").await;
        let token = server.root.path().join("token");
        std::fs::write(&token, "made-up-root-token").unwrap();
        let vault = server.settings(VaultAuth::Token(TokenSource::File(token)));
        let manager = CredentialManager::new(
            Settings {
                name: CredentialsName::new("production"),
                source: SourceSettings::Vault(Box::new(vault)),
                fixed: Identifiers::new(),
                keep: None,
                refresh: RefreshSettings {
                    interval: Duration::from_secs(1),
                    retry_cap: Duration::from_secs(1),
                    hold,
                    holders: 8,
                    ..RefreshSettings::default()
                },
            },
            &Sources::default(),
        );
        manager.refresh().await.unwrap();
        let upstream = Arc::new(Upstream::default());
        upstream.takes(&["old"]);
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let mut tasks = vec![tokio::spawn(manager.clone().run(stop.clone()))];
        for _ in 0..WORKERS {
            let (manager, upstream) = (manager.clone(), Arc::clone(&upstream));
            let (tally, stop) = (Arc::clone(&tally), stop.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.is_cancelled() {
                    call(&manager, &upstream, &tally).await;
                    time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        let trial = Self { server, manager, upstream, tally, stop, tasks };
        trial.calls(100).await;
        Some(trial)
    }

    /// Waits until so many more calls were accepted.
    async fn calls(&self, more: u64) {
        let enough = self.tally.accepted.load(Ordering::Relaxed) + more;
        until(|| self.tally.accepted.load(Ordering::Relaxed) >= enough).await;
    }

    async fn until_version(&self, version: &str) {
        let mut generations = self.manager.subscribe();
        time::timeout(Duration::from_mins(1), async {
            while self.manager.status().version.as_deref() != Some(version) {
                generations.changed().await.unwrap();
            }
        })
        .await
        .unwrap();
    }

    async fn end(self) -> (Arc<Tally>, CredentialManager) {
        self.calls(200).await;
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        assert_eq!(self.upstream.mixed.load(Ordering::Relaxed), 0);
        (self.tally, self.manager)
    }
}

/// Waits for something that happens, with a bound that only a failure reaches.
async fn until(happened: impl Fn() -> bool) {
    time::timeout(Duration::from_mins(1), async {
        while !happened() {
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

async fn call(manager: &CredentialManager, upstream: &Upstream, tally: &Tally) {
    let began = time::Instant::now();
    let add = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let Ok(mut lease) = manager.snapshot_to_try() else { return add(&tally.unavailable) };
    for repeat in 0..=REPEATS {
        if upstream.call(&lease) == CredentialVerdict::Accepted {
            manager.report(&lease, CredentialVerdict::Accepted);
            add(&tally.accepted);
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap();
            tally.slowest_millis.fetch_max(millis, Ordering::Relaxed);
            return;
        }
        match manager.after_unauthorized(&lease).await {
            Next::Repeat(other) if repeat < REPEATS => lease = other,
            Next::Repeat(_) | Next::PassOn => return add(&tally.refused),
            Next::Unavailable(_) => return add(&tally.unavailable),
        }
    }
}

fn failed(tally: &Tally) -> u64 {
    tally.refused.load(Ordering::Relaxed) + tally.unavailable.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_overlap_no_call_fails() {
    let Some(trial) = Trial::start().await else { return };
    trial.upstream.takes(&["old", "new"]);
    trial.server.write("new").await;
    trial.until_version("2").await;
    trial.calls(500).await;
    trial.upstream.takes(&["new"]);
    let (tally, manager) = trial.end().await;
    assert_eq!(failed(&tally), 0, "{tally:?}");
    assert_eq!(manager.status().state, SetState::Probation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_vault_written_first_no_call_fails() {
    let Some(trial) = Trial::start_with(LONG_HOLD).await else { return };
    trial.server.write("new").await;
    // The new version was tried and refused, and calls go on with the old one.
    until(|| trial.upstream.refused.load(Ordering::Relaxed) > 0).await;
    trial.calls(100).await;
    trial.upstream.takes(&["new"]);
    trial.until_version("2").await;
    let (tally, _) = trial.end().await;
    assert_eq!(failed(&tally), 0, "{tally:?}");
    // No call waited for a newer version to come.
    let slowest = Duration::from_millis(tally.slowest_millis.load(Ordering::Relaxed));
    assert!(slowest < LONG_HOLD, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_pigello_changed_first_calls_wait_and_none_fails() {
    let Some(mut trial) = Trial::start().await else { return };
    // Room for every worker in the line.
    let old = trial.manager.clone();
    trial.stop.cancel();
    for task in trial.tasks.drain(..) {
        task.await.unwrap();
    }
    let mut settings = old.settings().clone();
    settings.refresh.holders = WORKERS;
    settings.refresh.hold = LONG_HOLD;
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.refresh().await.unwrap();
    trial.upstream.takes(&["new"]);
    let calls: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (manager, upstream) = (manager.clone(), Arc::clone(&trial.upstream));
            let tally = Arc::clone(&trial.tally);
            tokio::spawn(async move { call(&manager, &upstream, &tally).await })
        })
        .collect();
    until(|| trial.upstream.refused.load(Ordering::Relaxed) == WORKERS as u64).await;
    assert!(calls.iter().all(|call| !call.is_finished()), "{:?}", trial.tally);
    trial.server.write("new").await;
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(failed(&trial.tally), 0, "{:?}", trial.tally);
    let slowest = Duration::from_millis(trial.tally.slowest_millis.load(Ordering::Relaxed));
    assert!(slowest < LONG_HOLD, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_pigello_changed_while_the_vault_hangs_the_line_is_bounded_and_the_503_honest() {
    let Some(trial) = Trial::start().await else { return };
    trial.server.signal(Signal::STOP);
    trial.upstream.takes(&["new"]);
    until(|| trial.tally.unavailable.load(Ordering::Relaxed) > 100).await;
    assert_eq!(trial.tally.refused.load(Ordering::Relaxed), 0, "{:?}", trial.tally);
    trial.server.signal(Signal::CONT);
    trial.server.write("new").await;
    trial.until_version("2").await;
    // Calls that began before are done.
    trial.calls(200).await;
    let before = failed(&trial.tally);
    trial.calls(200).await;
    assert_eq!(failed(&trial.tally), before, "{:?}", trial.tally);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_hangs_is_not_noticed_by_any_call() {
    let Some(trial) = Trial::start().await else { return };
    trial.server.signal(Signal::STOP);
    trial.calls(2_000).await;
    assert_eq!(failed(&trial.tally), 0, "{:?}", trial.tally);
    // A call that waited for the vault would take the five seconds that a call of the vault may take.
    assert!(trial.tally.slowest_millis.load(Ordering::Relaxed) < 5_000, "{:?}", trial.tally);
    trial.server.signal(Signal::CONT);
    trial.server.write("old").await;
    trial.until_version("2").await;
    trial.end().await;
}
