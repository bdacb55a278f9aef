//! A keeper over real folders: what it holds, when it looks, and what it says when it cannot.

use std::{fs, os::unix::fs::symlink, path::Path};

use tempfile::TempDir;

use super::*;
use crate::{
    credentials::{Identifiers, RefreshSettings, SourceSettings, ValueName},
    domain::CredentialsName,
};

fn settings(folder: &Path) -> Settings {
    Settings {
        name: CredentialsName::new("production"),
        source: SourceSettings::Directory { path: folder.to_owned() },
        fixed: Identifiers::new(),
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
    time::timeout(Duration::from_secs(20), generations.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_there_before_the_first_read_and_callers_are_told() {
    let root = TempDir::new().unwrap();
    let keeper = Keeper::new(settings(root.path()));
    let reason = keeper.snapshot().unwrap_err();
    assert_eq!(reason.detail(), "The credential set \"production\" has not been read yet.");
    fs::write(root.path().join("client_secret"), "").unwrap();
    let error = keeper.refresh().await.unwrap_err();
    assert!(error.to_string().contains("`client_secret` is empty"), "{error}");
    let reason = keeper.snapshot().unwrap_err();
    assert!(reason.detail().contains("`customer_id` is missing"), "{reason}");
    assert!(!reason.detail().contains(&root.path().display().to_string()), "{reason}");
    let error = Error::from(reason);
    assert_eq!(error.kind(), Kind::CredentialsUnavailable);
    assert!(error.retry_after_hint().is_some_and(|after| after >= Duration::from_secs(1)));
    assert_eq!(keeper.status().state, State::Empty);
    assert_eq!(keeper.status().failures, 1);
}

#[tokio::test]
async fn a_lease_outlives_the_rotation_and_generations_differ() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let keeper = Keeper::new(settings(root.path()));
    let first = SetVersion::new("..1");
    assert_eq!(
        keeper.refresh().await.unwrap(),
        RefreshOutcome::Replaced { from: None, to: first.clone() }
    );
    let old = keeper.snapshot().unwrap();
    assert_eq!(
        keeper.refresh().await.unwrap(),
        RefreshOutcome::Unchanged { version: first.clone() }
    );
    assert_eq!(keeper.snapshot().unwrap().generation(), old.generation());
    mount(root.path(), "..2");
    let second = SetVersion::new("..2");
    assert_eq!(
        keeper.refresh().await.unwrap(),
        RefreshOutcome::Replaced { from: Some(first), to: second }
    );
    let new = keeper.snapshot().unwrap();
    assert_eq!(
        (secret(&old), secret(&new)),
        ("..1-client_secret".into(), "..2-client_secret".into())
    );
    assert_ne!(old.generation(), new.generation());
    assert_eq!(*keeper.subscribe().borrow(), new.generation());
    assert_eq!(keeper.status().rotations, 1);
}

#[tokio::test]
async fn a_source_that_fails_takes_nothing_away() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let keeper = Keeper::new(settings(root.path()));
    keeper.refresh().await.unwrap();
    fs::remove_dir_all(root.path()).unwrap();
    keeper.refresh().await.unwrap_err();
    assert_eq!(secret(&keeper.snapshot().unwrap()), "..1-client_secret");
    let status = keeper.status();
    assert_eq!(status.state, State::Stale);
    assert_eq!(status.version.as_deref(), Some("..1"));
    assert!(status.last_error.is_some_and(|error| error.ends_with("does not exist")));
    assert!(!serde_json::to_string(&keeper.status()).unwrap().contains("..1-client"));
}

#[tokio::test]
async fn a_swap_is_seen_by_the_watch_time_after_time() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let keeper = Keeper::new(settings(root.path()));
    let mut generations = keeper.subscribe();
    let stop = CancellationToken::new();
    let run = tokio::spawn(keeper.clone().run(stop.clone()));
    next(&mut generations).await;
    for round in 2..6 {
        mount(root.path(), &format!("..{round}"));
        fs::remove_dir_all(root.path().join(format!("..{}", round - 1))).unwrap();
        next(&mut generations).await;
        assert_eq!(secret(&keeper.snapshot().unwrap()), format!("..{round}-client_secret"));
    }
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_folder_that_comes_later_is_found_and_one_put_in_its_place_too() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("later");
    let keeper = Keeper::new(settings(&folder));
    let mut generations = keeper.subscribe();
    let stop = CancellationToken::new();
    let run = tokio::spawn(keeper.clone().run(stop.clone()));
    time::timeout(Duration::from_secs(20), async {
        while keeper.status().failures == 0 {
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
    assert_eq!(secret(&keeper.snapshot().unwrap()), "..2-client_secret");
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn many_refreshes_at_once_read_twice_at_most() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let keeper = Keeper::new(settings(root.path()));
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.refresh().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(keeper.shared.begun.load(Ordering::SeqCst) <= 2);
}
