//! A manager with real folders: what it holds, when it reads, and what callers are told when it cannot.

mod keep;
mod peers;
mod refusals;

use std::{fs, io::Write as _, os::unix::fs::symlink, path::Path, sync::atomic::Ordering};

use tempfile::TempDir;

use super::*;
use crate::{
    credentials::{Identifiers, RefreshSettings, SetState, SetVersion, SourceSettings, ValueName},
    domain::CredentialsName,
    error::{Error, Kind},
};

fn settings(folder: &Path) -> Settings {
    Settings {
        name: CredentialsName::new("production"),
        source: SourceSettings::Directory { path: folder.to_owned() },
        fixed: Identifiers::new(),
        keep: None,
        refresh: RefreshSettings {
            quiet: Duration::from_millis(10),
            // Long, so that a test that passes has been woken by the watch.
            interval: Duration::from_hours(1),
            ..RefreshSettings::default()
        },
    }
}

/// Another generation of a folder as Kubernetes mounts it.
fn mount(root: &Path, generation: &str) {
    let folder = root.join(generation);
    fs::create_dir_all(&folder).unwrap();
    for name in ValueName::ALL {
        fs::write(folder.join(name.key()), format!("{generation}-{name}")).unwrap();
    }
    symlink(generation, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
}

fn secret(lease: &Lease) -> String {
    lease.value(ValueName::ClientSecret).expose_to(str::to_owned)
}

/// Waits for another generation, with a bound that only a failure reaches.
async fn next(generations: &mut watch::Receiver<u64>) {
    time::timeout(Duration::from_mins(1), generations.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_there_before_the_first_read_and_callers_are_told() {
    let root = TempDir::new().unwrap();
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let reason = manager.snapshot().unwrap_err();
    assert_eq!(reason.detail(), "The credential set \"production\" has not been read yet.");
    fs::write(root.path().join("client_secret"), "").unwrap();
    let error = manager.refresh().await.unwrap_err();
    assert!(error.to_string().contains("`client_secret` is empty"), "{error}");
    let reason = manager.snapshot().unwrap_err();
    assert!(reason.detail().contains("`customer_id` is missing"), "{reason}");
    assert!(!reason.detail().contains(&root.path().display().to_string()), "{reason}");
    let error = Error::from(reason);
    assert_eq!(error.kind(), Kind::CredentialsUnavailable);
    assert!(error.retry_after_hint().is_some_and(|after| after >= Duration::from_secs(1)));
    assert_eq!(manager.status().state, SetState::Empty);
    assert_eq!(manager.status().failures, 1);
}

#[tokio::test]
async fn a_lease_outlives_the_rotation_and_generations_differ() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let first = SetVersion::new("..1");
    assert_eq!(
        manager.refresh().await.unwrap(),
        RefreshOutcome::Replaced { from: None, to: first.clone() }
    );
    let old = manager.snapshot().unwrap();
    assert_eq!(
        manager.refresh().await.unwrap(),
        RefreshOutcome::Unchanged { version: first.clone() }
    );
    assert_eq!(manager.snapshot().unwrap().generation(), old.generation());
    mount(root.path(), "..2");
    let second = SetVersion::new("..2");
    assert_eq!(
        manager.refresh().await.unwrap(),
        RefreshOutcome::Replaced { from: Some(first), to: second }
    );
    let new = manager.snapshot().unwrap();
    assert_eq!(
        (secret(&old), secret(&new)),
        ("..1-client_secret".into(), "..2-client_secret".into())
    );
    assert_ne!(old.generation(), new.generation());
    assert_eq!(*manager.subscribe().borrow(), new.generation());
    assert_eq!(manager.status().rotations, 1);
}

#[tokio::test]
async fn a_source_that_fails_takes_nothing_away() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    manager.refresh().await.unwrap();
    fs::remove_dir_all(root.path()).unwrap();
    manager.refresh().await.unwrap_err();
    assert_eq!(secret(&manager.snapshot().unwrap()), "..1-client_secret");
    let status = manager.status();
    assert_eq!(status.state, SetState::Stale);
    assert_eq!(status.version.as_deref(), Some("..1"));
    assert!(status.last_error.is_some_and(|error| error.ends_with("does not exist")));
    assert!(!serde_json::to_string(&manager.status()).unwrap().contains("..1-client"));
}

#[tokio::test]
async fn a_swap_is_seen_by_the_watch_time_after_time() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let mut generations = manager.subscribe();
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    next(&mut generations).await;
    for round in 2..6 {
        mount(root.path(), &format!("..{round}"));
        fs::remove_dir_all(root.path().join(format!("..{}", round - 1))).unwrap();
        next(&mut generations).await;
        assert_eq!(secret(&manager.snapshot().unwrap()), format!("..{round}-client_secret"));
    }
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_folder_that_comes_later_is_found_and_one_put_in_its_place_too() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("later");
    let manager = CredentialManager::new(settings(&folder), &Sources::default());
    let mut generations = manager.subscribe();
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    time::timeout(Duration::from_secs(20), async {
        while manager.status().failures == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    fs::create_dir(&folder).unwrap();
    mount(&folder, "..1");
    next(&mut generations).await;
    fs::rename(&folder, root.path().join("before")).unwrap();
    fs::create_dir(&folder).unwrap();
    mount(&folder, "..2");
    next(&mut generations).await;
    assert_eq!(secret(&manager.snapshot().unwrap()), "..2-client_secret");
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn half_a_value_is_not_read_however_long_its_writer_takes() {
    let root = TempDir::new().unwrap();
    for name in ValueName::ALL {
        fs::write(root.path().join(name.key()), format!("old-{name}")).unwrap();
    }
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let mut generations = manager.subscribe();
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    next(&mut generations).await;
    let writers = manager.shared.source.writers().unwrap();
    // Truncated, half written, and left like that for twenty quiet times, while a refresh waits.
    let mut file = fs::File::create(root.path().join("client_secret")).unwrap();
    file.write_all(b"new-cli").unwrap();
    writers.busy().await;
    let refresh = tokio::spawn({
        let manager = manager.clone();
        async move { manager.refresh().await }
    });
    let quiet = manager.settings().refresh.quiet;
    let early = time::timeout(20 * quiet, generations.changed()).await;
    assert!(early.is_err() && !refresh.is_finished(), "{:?}", manager.status());
    file.write_all(b"ent_secret").unwrap();
    drop(file);
    refresh.await.unwrap().unwrap();
    assert_eq!(secret(&manager.snapshot().unwrap()), "new-client_secret");
    assert_eq!((manager.status().rotations, manager.status().failures), (1, 0));
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn many_refreshes_at_once_read_twice_at_most() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.refresh().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(manager.shared.reads_begun.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn who_waits_for_the_first_read_shares_it_and_may_go_away() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let mut impatient = Box::pin(manager.first_read());
    assert!(futures_util::poll!(&mut impatient).is_pending());
    drop(impatient);
    let waiting = || futures_util::future::join_all((0..50).map(|_| manager.first_read()));
    assert!(waiting().await.iter().all(Result::is_ok));
    // Those who come later have it at once.
    fs::remove_dir_all(root.path()).unwrap();
    assert!(waiting().await.iter().all(Result::is_ok));
    assert_eq!(manager.shared.reads_begun.load(Ordering::SeqCst), 1);
    manager.refresh().await.unwrap_err();
    assert!(waiting().await.iter().all(Result::is_err));
    assert_eq!(manager.shared.reads_begun.load(Ordering::SeqCst), 2);
}

/// A manager with a set that was read once.
async fn loaded(root: &TempDir) -> CredentialManager {
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    manager.refresh().await.unwrap();
    manager
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_source_costs_nothing_and_max_stale_is_kept_to_the_second() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let mut settings = settings(root.path());
    settings.refresh.interval = Duration::from_secs(30);
    settings.refresh.max_stale = Some(Duration::from_hours(2));
    let manager = CredentialManager::new(settings, &Sources::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    next(&mut manager.subscribe()).await;
    fs::rename(root.path().join("..data"), root.path().join("away")).unwrap();
    let hour = Instant::now() + Duration::from_hours(1);
    while Instant::now() < hour {
        time::sleep(Duration::from_secs(10)).await;
        assert_eq!(secret(&manager.snapshot().unwrap()), "..1-client_secret");
    }
    assert_eq!(manager.status().state, SetState::Stale);
    let confirmed = manager.status().unconfirmed_seconds.unwrap();
    let left = Duration::from_secs(7_200 - confirmed);
    time::sleep(left.saturating_sub(Duration::from_secs(2))).await;
    manager.snapshot().unwrap();
    time::sleep(Duration::from_secs(4)).await;
    let reason = manager.snapshot().unwrap_err();
    assert!(reason.detail().contains("away for too long"), "{reason}");
    assert_eq!(manager.status().state, SetState::Expired);
    // And it comes back without a restart.
    fs::rename(root.path().join("away"), root.path().join("..data")).unwrap();
    next(&mut manager.subscribe()).await;
    assert_eq!(manager.status().state, SetState::Fresh);
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_when_the_source_is_asked_next() {
    let root = TempDir::new().unwrap();
    let manager =
        CredentialManager::new(settings(&root.path().join("nowhere")), &Sources::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    let begun = || manager.shared.reads_begun.load(Ordering::SeqCst);
    let told = || manager.snapshot().unwrap_err().retry_after();
    while manager.status().failures == 0 {
        tokio::task::yield_now().await;
    }
    // Until all tasks wait: the pause after that failure has begun.
    time::sleep(Duration::from_millis(1)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let before = begun();
        let after = told();
        longest = longest.max(after);
        // A call that comes as told finds that the source was asked; one that is earlier does not.
        time::sleep(after.saturating_sub(Duration::from_millis(20))).await;
        assert_eq!(begun() - before, 0, "{after:?}");
        time::sleep(Duration::from_millis(60)).await;
        assert_eq!(begun() - before, 1, "{after:?}");
    }
    assert!(longest > Duration::from_secs(2), "the pauses grow: {longest:?}");
    stop.cancel();
    run.await.unwrap();
}

/// Version after version under callers that never pause: a thousand, or as many as
/// `PIGELLO_TEST_ROTATIONS` says (ten thousand take half a minute).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rotations_mix_nothing_and_fail_no_call() {
    let rotations = std::env::var_os("PIGELLO_TEST_ROTATIONS");
    let rotations: u64 = rotations.map_or(1_000, |text| text.to_str().unwrap().parse().unwrap());
    let root = TempDir::new().unwrap();
    let manager = loaded(&root).await;
    let stop = CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (manager, stop) = (manager.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut calls, mut seen) = (0_u64, 0);
                while !stop.is_cancelled() {
                    let lease = manager.snapshot().unwrap();
                    assert!(lease.generation() >= seen, "never back to an older one");
                    seen = lease.generation();
                    let mut headers = http::HeaderMap::new();
                    lease.write_to(&mut headers);
                    for name in ValueName::ALL {
                        let value = headers[name.header()].to_str().unwrap();
                        assert_eq!(value, format!("{}-{name}", lease.version()));
                    }
                    manager.report(&lease, CredentialVerdict::Accepted);
                    calls += 1;
                    tokio::task::yield_now().await;
                }
                calls
            })
        })
        .collect();
    // Files are written over in two folders by turns; what is swapped is the link.
    for rotation in 0..rotations {
        let generation = format!("..r{rotation}");
        let folder = root.path().join(&generation);
        if rotation > 1 {
            fs::rename(root.path().join(format!("..r{}", rotation - 2)), &folder).unwrap();
        }
        mount(root.path(), &generation);
        let outcome = manager.refresh().await.unwrap();
        let to = SetVersion::new(generation);
        assert!(matches!(outcome, RefreshOutcome::Replaced { to: found, .. } if found == to));
    }
    stop.cancel();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    assert_eq!(manager.status().rotations, rotations);
    assert!(calls > 1_000, "{calls}");
}
