//! The last set on disk: written after reads, used by a process that begins while the source is away.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::credentials::{Keep, testing::Log};

const HOUR: Duration = Duration::from_hours(1);

/// A folder with a mount, and settings that keep its set.
fn keeping(root: &TempDir) -> Settings {
    let mounted = root.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mut settings = settings(&mounted);
    settings.refresh.max_stale = Some(HOUR);
    let keep = |name| root.path().join(name);
    settings.keep = Some(Keep { file: keep("kept"), key_file: keep("kept.key") });
    settings
}

/// A set that was kept that long ago by another process; its source is gone.
async fn kept_before(root: &TempDir, ago: Duration) -> Settings {
    let settings = keeping(root);
    let mounted = root.path().join("mounted");
    mount(&mounted, "..1");
    let manager = CredentialManager::new(settings.clone(), &Sources::default());
    manager.refresh().await.unwrap();
    let lease = manager.snapshot().unwrap();
    let confirmed = Timestamp::now() - jiff::SignedDuration::try_from(ago).unwrap();
    manager.shared.source.kept_file(&settings).unwrap().write(&[&lease], confirmed).unwrap();
    fs::remove_dir_all(mounted).unwrap();
    settings
}

#[tokio::test(start_paused = true)]
async fn it_serves_until_max_stale_from_when_its_source_confirmed_it() {
    let root = TempDir::new().unwrap();
    let settings = kept_before(&root, HOUR / 2).await;
    let kept = fs::read(root.path().join("kept")).unwrap();
    assert!(kept.starts_with(b"age-encryption.org/v1\n"));
    assert!(!String::from_utf8_lossy(&kept).contains("client_secret"));
    for name in ["kept", "kept.key"] {
        let mode = fs::metadata(root.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let (log, _guard) = Log::listen();
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.shared.read(RefreshReason::Scheduled).await.unwrap_err();
    let lease = manager.snapshot().unwrap();
    assert_eq!((secret(&lease).as_str(), lease.version().as_str()), ("..1-client_secret", "..1"));
    assert_eq!(manager.status().state, SetState::Stale);
    assert!(manager.status().unconfirmed_seconds.unwrap() >= 1_800);
    assert!(log.text().contains("the set that was kept of it is in use"), "{}", log.text());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    time::sleep((HOUR / 2).checked_sub(Duration::from_secs(5)).unwrap()).await;
    manager.snapshot().unwrap();
    time::sleep(Duration::from_secs(10)).await;
    assert_eq!(manager.status().state, SetState::Expired);
    assert!(manager.snapshot().is_err());
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn what_is_too_old_or_of_another_source_is_not_used() {
    let root = TempDir::new().unwrap();
    let old = kept_before(&root, HOUR * 2).await;
    let root_of_other = TempDir::new().unwrap();
    let mut other = kept_before(&root_of_other, Duration::ZERO).await;
    other.source = SourceSettings::Directory { path: root_of_other.path().join("elsewhere") };
    for (settings, why) in [(old, "longer ago than `max_stale`"), (other, "of another source")] {
        let (log, _guard) = Log::listen();
        let manager = CredentialManager::new(settings, &Sources::default());
        manager.shared.read(RefreshReason::Scheduled).await.unwrap_err();
        assert!(manager.snapshot().is_err());
        assert_eq!(manager.status().state, SetState::Empty);
        assert!(log.text().contains(why), "{}", log.text());
    }
}

#[tokio::test]
async fn both_versions_of_a_rotation_are_kept() {
    let root = TempDir::new().unwrap();
    let settings = keeping(&root);
    let mounted = root.path().join("mounted");
    let manager = CredentialManager::new(settings.clone(), &Sources::default());
    for generation in ["..1", "..2"] {
        mount(&mounted, generation);
        manager.refresh().await.unwrap();
    }
    assert!(manager.status().kept_at.is_some());
    fs::remove_dir_all(mounted).unwrap();
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.refresh().await.unwrap_err();
    let new = manager.snapshot().unwrap();
    assert_eq!(secret(&new), "..2-client_secret");
    let Next::Repeat(old) = manager.after_unauthorized(&new).await else { panic!("not repeated") };
    assert_eq!(secret(&old), "..1-client_secret");
}

#[tokio::test]
async fn a_source_that_answers_is_preferred_and_a_copy_that_others_may_write_is_not_read() {
    let root = TempDir::new().unwrap();
    let settings = kept_before(&root, Duration::ZERO).await;
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("kept"), fs::Permissions::from_mode(0o602)).unwrap();
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.refresh().await.unwrap_err();
    assert!(manager.snapshot().is_err());
    fs::create_dir(root.path().join("mounted")).unwrap();
    mount(&root.path().join("mounted"), "..2");
    manager.refresh().await.unwrap();
    assert_eq!(secret(&manager.snapshot().unwrap()), "..2-client_secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sets_make_and_use_one_key() {
    let root = TempDir::new().unwrap();
    let (template, sources) = (keeping(&root), Sources::default());
    mount(&root.path().join("mounted"), "..1");
    let managers: Vec<_> = (0..100)
        .map(|number| {
            let mut settings = template.clone();
            let keep = settings.keep.as_mut().unwrap();
            keep.file = root.path().join(format!("{number}.kept"));
            CredentialManager::new(settings, &sources)
        })
        .collect();
    futures_util::future::join_all(managers.iter().map(CredentialManager::refresh)).await;
    assert!(managers.iter().all(|manager| manager.status().kept_at.is_some()));
}
