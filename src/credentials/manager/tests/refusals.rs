//! Calls that Pigello answered with 401, and the set that they used.

use super::*;
use crate::credentials::testing::Log;

#[tokio::test(start_paused = true)]
async fn a_refused_call_waits_for_the_newer_version_and_all_of_them_share_the_refresh() {
    let root = TempDir::new().unwrap();
    let manager = loaded(&root).await;
    let old = manager.snapshot().unwrap();
    manager.report(&old, CredentialVerdict::Accepted);
    let begun = manager.shared.reads_begun.load(Ordering::SeqCst);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (manager, old) = (manager.clone(), Arc::clone(&old));
            tokio::spawn(async move { manager.after_unauthorized(&old).await })
        })
        .collect();
    time::sleep(Duration::from_millis(600)).await;
    mount(root.path(), "..2");
    for call in calls {
        let Next::Repeat(lease) = call.await.unwrap() else { panic!("not repeated") };
        assert_eq!(secret(&lease), "..2-client_secret");
    }
    assert!(manager.shared.reads_begun.load(Ordering::SeqCst) - begun <= 8);
    assert_eq!(manager.status().state, SetState::Probation);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_stays_refused_holds_calls_once_and_is_then_passed_on() {
    let root = TempDir::new().unwrap();
    let manager = loaded(&root).await;
    let lease = manager.snapshot().unwrap();
    let before = Instant::now();
    assert!(matches!(manager.after_unauthorized(&lease).await, Next::PassOn));
    assert!(before.elapsed() <= Duration::from_millis(1_700), "{:?}", before.elapsed());
    assert_eq!(manager.status().state, SetState::Rejected);
    assert_eq!(manager.status().rejections, 1);
    let before = Instant::now();
    assert!(matches!(manager.after_unauthorized(&lease).await, Next::PassOn));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_asked_makes_a_refused_call_a_503_and_the_line_is_bounded() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let mut settings = settings(root.path());
    settings.refresh.holders = 2;
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.refresh().await.unwrap();
    fs::remove_dir_all(root.path()).unwrap();
    let lease = manager.snapshot().unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (manager, lease) = (manager.clone(), Arc::clone(&lease));
            tokio::spawn(async move {
                let before = Instant::now();
                let next = manager.after_unauthorized(&lease).await;
                (next, before.elapsed())
            })
        })
        .collect();
    let (mut waited, mut at_once) = (0, 0);
    for call in calls {
        let (Next::Unavailable(reason), time) = call.await.unwrap() else { panic!("no 503") };
        if time.is_zero() {
            assert!(reason.detail().contains("too many calls wait"), "{reason}");
            at_once += 1;
        } else {
            assert!(reason.detail().contains("cannot be asked"), "{reason}");
            waited += 1;
        }
    }
    assert_eq!((waited, at_once), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_that_finds_no_place_is_not_sent_away_until_the_next_plain_read() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let mut settings = settings(root.path());
    settings.refresh.holders = 0;
    let manager = CredentialManager::new(settings, &Sources::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    next(&mut manager.subscribe()).await;
    // Until all tasks wait: the hour to the next read has begun.
    time::sleep(Duration::from_millis(1)).await;
    let lease = manager.snapshot().unwrap();
    let Next::Unavailable(reason) = manager.after_unauthorized(&lease).await else {
        panic!("no 503")
    };
    // A refresh on a 401 reads the source long before.
    assert!(reason.retry_after() <= manager.settings().refresh.retry_cap, "{reason:?}");
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_is_not_taken_yet_is_tried_by_one_call_a_second() {
    let root = TempDir::new().unwrap();
    let manager = loaded(&root).await;
    let old = manager.snapshot().unwrap();
    manager.report(&old, CredentialVerdict::Accepted);
    mount(root.path(), "..2");
    manager.refresh().await.unwrap();
    let new = manager.snapshot().unwrap();
    let Next::Repeat(again) = manager.after_unauthorized(&new).await else { panic!("no repeat") };
    assert!(Arc::ptr_eq(&again, &old));
    manager.report(&old, CredentialVerdict::Accepted);
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&manager.snapshot_to_try().unwrap(), &old));
        time::advance(Duration::from_millis(1_001)).await;
        // Never for a call that cannot be repeated, and for one of the others.
        assert!(Arc::ptr_eq(&manager.snapshot().unwrap(), &old));
        assert!(Arc::ptr_eq(&manager.snapshot_to_try().unwrap(), &new));
    }
    assert!(Arc::ptr_eq(&manager.snapshot_to_try().unwrap(), &old));
    manager.report(&new, CredentialVerdict::Accepted);
    assert!(Arc::ptr_eq(&manager.snapshot().unwrap(), &new));
    assert!(manager.status().accepted_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_set_is_read_again_with_pauses_and_shut_after_its_limit() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    next(&mut manager.subscribe()).await;
    let lease = manager.snapshot().unwrap();
    assert!(matches!(manager.after_unauthorized(&lease).await, Next::PassOn));
    let begun = manager.shared.reads_begun.load(Ordering::SeqCst);
    time::sleep(Duration::from_secs(290)).await;
    manager.snapshot().unwrap();
    let reads = manager.shared.reads_begun.load(Ordering::SeqCst) - begun;
    assert!((10..60).contains(&reads), "{reads} reads");
    time::sleep(Duration::from_secs(20)).await;
    let reason = manager.snapshot().unwrap_err();
    assert!(reason.detail().contains("Pigello has refused"), "{reason}");
    // One call in a while is a trial, and its success opens the set again.
    time::sleep(Duration::from_secs(20)).await;
    // Asking for the generation in use takes no trial.
    assert_eq!(manager.generation(), None);
    let trial = manager.snapshot().unwrap();
    manager.snapshot().unwrap_err();
    manager.report(&trial, CredentialVerdict::Accepted);
    manager.snapshot().unwrap();
    assert_eq!(manager.generation(), Some(trial.generation()));
    assert_eq!(manager.status().state, SetState::Fresh);
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test]
async fn a_new_version_that_pigello_refuses_is_told_while_the_old_one_serves() {
    let (log, _guard) = Log::listen();
    let root = TempDir::new().unwrap();
    let manager = loaded(&root).await;
    manager.report(&manager.snapshot().unwrap(), CredentialVerdict::Accepted);
    mount(root.path(), "..2");
    manager.refresh().await.unwrap();
    assert_eq!(manager.status().refused_version, None);
    let new = manager.snapshot().unwrap();
    for _ in 0..2 {
        let Next::Repeat(old) = manager.after_unauthorized(&new).await else {
            panic!("not repeated")
        };
        manager.report(&old, CredentialVerdict::Accepted);
        assert_eq!(old.version().as_str(), "..1");
    }
    let status = manager.status();
    assert_eq!(status.refused_version.as_deref(), Some("..2"));
    assert_eq!(status.version.as_deref(), Some("..1"));
    let text = log.text();
    let told = text.matches("the version before it stays in use").count();
    assert!(text.contains("WARN") && told == 1, "{text}");
    manager.report(&new, CredentialVerdict::Accepted);
    assert_eq!(manager.status().refused_version, None);
}
