//! What other gateways of a fleet tell, and what it leads to.

use super::{super::heard::Nudge, *};
use crate::{
    credentials::Adoption,
    fleet::{KeyRing, VersionOfSet},
};

fn told(version: &str, fingerprint: &str) -> VersionOfSet {
    VersionOfSet {
        set: CredentialsName::new("production"),
        version: version.into(),
        fingerprint: fingerprint.into(),
    }
}

/// A manager that uses no version without proof, and has read `..1`.
async fn cautious(root: &TempDir) -> CredentialManager {
    mount(root.path(), "..1");
    let mut settings = settings(root.path());
    settings.refresh.adoption =
        Adoption::Proven { canary: 0.01, patience: Duration::from_mins(10) };
    let manager = CredentialManager::new(settings, &Sources::default());
    manager.refresh().await.unwrap();
    manager
}

/// One that has used `..1` and has read `..2`; and what is told of that.
async fn waiting(root: &TempDir) -> (CredentialManager, VersionOfSet) {
    let manager = cautious(root).await;
    manager.report(&manager.snapshot().unwrap(), CredentialVerdict::Accepted);
    mount(root.path(), "..2");
    manager.refresh().await.unwrap();
    let fingerprint = {
        let record = manager.shared.record.lock();
        let (new, old) = record.rotation.versions();
        new.unwrap().fingerprint_after(old.unwrap())
    };
    (manager, told("..2 of another host", &fingerprint))
}

fn version(manager: &CredentialManager) -> String {
    manager.status().version.unwrap()
}

#[tokio::test]
async fn a_version_is_used_when_its_values_were_accepted_elsewhere_whatever_it_is_called_there() {
    let root = TempDir::new().unwrap();
    let (manager, told_of) = waiting(&root).await;
    let causes = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&causes);
    manager.set_observer(Arc::new(move |change| seen.lock().push(change.cause)));
    assert_eq!(version(&manager), "..1");
    assert_eq!(manager.status().waiting_version.as_deref(), Some("..2"));
    assert!(manager.status().refused_version.is_none());
    // Other values with its name, and a name that nobody has.
    manager.hear(&Change::Accepted(told("..2", "0123456789ab")));
    let long = VersionOfSet { version: "x".repeat(300).into(), ..told_of.clone() };
    manager.hear(&Change::Accepted(long));
    assert_eq!(version(&manager), "..1");
    manager.hear(&Change::Rejected(told_of.clone()));
    assert_eq!(manager.status().rejected_version.as_deref(), Some("..2"));
    assert_eq!(version(&manager), "..1");
    manager.hear(&Change::Accepted(told_of.clone()));
    assert_eq!(version(&manager), "..2");
    assert!(manager.status().waiting_version.is_none());
    manager.hear(&Change::Rejected(told_of));
    assert_eq!(version(&manager), "..2", "one refusal takes nothing away");
    assert_eq!(causes.lock().last(), Some(&ChangeCause::Proven));
}

#[tokio::test]
async fn what_is_heard_before_the_read_counts_after_it() {
    let root = TempDir::new().unwrap();
    let (_, accepted) = waiting(&root).await;
    let root = TempDir::new().unwrap();
    let manager = cautious(&root).await;
    manager.hear(&Change::Accepted(accepted));
    let fleet = fleet();
    manager.join(fleet);
    mount(root.path(), "..2");
    manager.refresh().await.unwrap();
    assert_eq!(version(&manager), "..2");
}

#[tokio::test]
async fn a_forbidden_call_proves_nothing_and_an_accepted_one_is_told() {
    let root = TempDir::new().unwrap();
    let (manager, _) = waiting(&root).await;
    let fleet = fleet();
    manager.join(Arc::clone(&fleet));
    let new = {
        let mut record = manager.shared.record.lock();
        record.rotation.try_out();
        Arc::clone(record.rotation.versions().0.unwrap())
    };
    manager.report(&new, CredentialVerdict::Forbidden);
    assert_eq!((version(&manager).as_str(), fleet.status().waiting), ("..1", 0));
    manager.report(&new, CredentialVerdict::Accepted);
    assert_eq!((version(&manager).as_str(), fleet.status().waiting), ("..2", 1));
}

#[tokio::test]
async fn a_version_that_was_heard_of_is_not_told_again() {
    let root = TempDir::new().unwrap();
    mount(root.path(), "..1");
    let manager = CredentialManager::new(settings(root.path()), &Sources::default());
    let fleet = fleet();
    manager.join(Arc::clone(&fleet));
    manager.refresh().await.unwrap();
    assert_eq!(fleet.status().waiting, 0, "a start is no rotation");
    mount(root.path(), "..2");
    manager.refresh().await.unwrap();
    assert_eq!(fleet.status().waiting, 1);
    let other = TempDir::new().unwrap();
    let of_third = {
        mount(other.path(), "..2");
        let third = CredentialManager::new(settings(other.path()), &Sources::default());
        third.refresh().await.unwrap();
        mount(other.path(), "..3");
        third.refresh().await.unwrap();
        let record = third.shared.record.lock();
        let (new, old) = record.rotation.versions();
        told("..3", &new.unwrap().fingerprint_after(old.unwrap()))
    };
    manager.report(&manager.snapshot().unwrap(), CredentialVerdict::Accepted);
    manager.hear(&Change::Credentials(of_third));
    mount(root.path(), "..3");
    manager.refresh().await.unwrap();
    assert_eq!(fleet.status().waiting, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_word_the_version_is_used_after_a_while() {
    let root = TempDir::new().unwrap();
    let (manager, _) = waiting(&root).await;
    let mut generations = manager.subscribe();
    let before = Instant::now();
    let stop = CancellationToken::new();
    let run = tokio::spawn(manager.clone().run(stop.clone()));
    generations.changed().await.unwrap();
    assert_eq!(version(&manager), "..2");
    assert!(before.elapsed() >= Duration::from_secs(599), "{:?}", before.elapsed());
    stop.cancel();
    run.await.unwrap();
}

/// A member that tells of versions that there are not has the source read seldom, and of one that is there is heard.
#[tokio::test(start_paused = true)]
async fn a_nudge_has_the_source_read_soon_and_a_flood_of_them_seldom() {
    let mut nudge = Nudge::default();
    let (mut reads, began) = (0, Instant::now());
    let interval = Duration::from_mins(1);
    while began.elapsed() < Duration::from_mins(30) {
        nudge.plan(Instant::now());
        if nudge.due().is_some_and(|due| due <= Instant::now()) {
            reads += 1;
            nudge.read(false, interval, Instant::now());
        }
        time::advance(Duration::from_millis(100)).await;
    }
    assert!((25..=36).contains(&reads), "{reads} in half an hour");
    nudge.read(true, interval, Instant::now());
    assert_eq!(nudge.due(), None);
    time::advance(Duration::from_secs(5)).await;
    // A regular read puts nothing off.
    nudge.read(true, interval, Instant::now());
    let now = Instant::now();
    nudge.plan(now);
    assert!(nudge.due().unwrap() <= now + Duration::from_millis(2_500));
}

/// A fleet whose store is away: what is told waits.
fn fleet() -> Arc<Member> {
    let settings = serde_json::json!({
        "name": "test",
        "key": { "source": "file", "path": "/nowhere" },
        "store": { "address": "unix:/nowhere" },
    });
    Member::open(serde_json::from_value(settings).unwrap(), KeyRing::new()).unwrap()
}
