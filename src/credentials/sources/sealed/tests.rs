//! The sealed store on a real file system, and opened with the tool it promises to open with.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::{
    credentials::{ValueName, sources::blocking::BlockingThreads},
    secret::SecretText,
};

fn store(root: &TempDir) -> SealedStore {
    SealedStore::new(root.path().join("made-up.sealed"), root.path().join("made-up.key"))
}

fn fill(store: &SealedStore, set: &str, text: &str) {
    let mut values = StoredValues::default();
    for name in ValueName::ALL {
        values.insert(name, SecretText::parse(format!("{text}-{name}").as_bytes()).unwrap());
    }
    store
        .update(|document| {
            let set = document.sets.entry(set.to_owned()).or_insert_with(StoredSet::empty);
            set.replace_current(values, Timestamp::now());
            Ok::<_, StoreError>(())
        })
        .unwrap();
}

async fn read(store: &SealedStore, set: &str) -> Result<CredentialSet, SealedError> {
    let store = OpenStores::default().get(store.clone(), &BlockingThreads::default());
    SealedSource::new(store, CredentialsName::new(set)).read(&Identifiers::new()).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn both_files_are_for_their_owner_alone_and_never_overwritten() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    assert_eq!(store.create().unwrap(), Created::StoreAndKey);
    assert_eq!((mode(store.file()), mode(store.key_file())), (0o600, 0o600));
    let before = (fs::read(store.file()).unwrap(), fs::read(store.key_file()).unwrap());
    assert!(matches!(store.create(), Err(StoreError::Exists { .. })));
    assert_eq!(before, (fs::read(store.file()).unwrap(), fs::read(store.key_file()).unwrap()));
    fill(&store, "production", "made-up");
    assert_eq!(mode(store.file()), 0o600);
    // A second store for a key that is there.
    let other = SealedStore::new(root.path().join("other.sealed"), store.key_file());
    assert_eq!(other.create().unwrap(), Created::Store);
}

#[tokio::test]
async fn sets_are_read_by_name_with_their_version() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    fill(&store, "production", "old");
    fill(&store, "production", "new");
    fill(&store, "trial", "trial");
    let set = read(&store, "production").await.unwrap();
    assert_eq!(set.version().as_str(), "2");
    assert!(set.value(ValueName::ClientSecret).expose_to(|text| text == "new-client_secret"));
    assert_eq!(read(&store, "trial").await.unwrap().version().as_str(), "1");
    assert!(matches!(read(&store, "absent").await, Err(SealedError::NoSet { .. })));
}

#[test]
fn names_and_values_cannot_be_read_without_the_key() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    fill(&store, "a-telling-name", "canary");
    let bytes = fs::read(store.file()).unwrap();
    for text in ["a-telling-name", "canary", "client_secret"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_the_remedy() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(store.key_file(), fs::Permissions::from_mode(mode)).unwrap();
        let error = store.read().unwrap_err();
        assert!(matches!(error, StoreError::KeyExposed { mode: found, .. } if found == mode));
        assert_eq!(error.hint(), Some(format!("chmod 600 {}", store.key_file().display())));
    }
    fs::set_permissions(store.key_file(), fs::Permissions::from_mode(0o400)).unwrap();
    store.read().unwrap();
}

#[test]
fn a_wrong_key_a_cut_file_and_a_changed_byte_are_told_apart() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    fill(&store, "production", "made-up");
    let other = SealedStore::new(root.path().join("other.sealed"), root.path().join("other.key"));
    other.create().unwrap();
    let crossed = SealedStore::new(store.file(), other.key_file());
    assert!(matches!(crossed.read(), Err(StoreError::WrongKey { .. })));
    let whole = fs::read(store.file()).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(store.file(), &whole[..length]).unwrap();
        assert!(matches!(store.read(), Err(StoreError::Damaged { .. })), "{length}");
    }
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(store.file(), changed).unwrap();
    assert!(matches!(store.read(), Err(StoreError::Damaged { .. })));
    fs::write(store.key_file(), "no key\n").unwrap();
    assert!(matches!(store.read(), Err(StoreError::NoKey { .. })));
}

#[test]
fn a_change_that_fails_leaves_the_store_as_it_was() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    fill(&store, "production", "made-up");
    let before = fs::read(store.file()).unwrap();
    let refused: Result<(), _> = store.update(|document| {
        document.sets.clear();
        Err(StoreError::TooLarge { path: "made-up".into() })
    });
    assert!(refused.is_err());
    assert_eq!(fs::read(store.file()).unwrap(), before);
    let names: Vec<_> =
        fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn writers_at_once_lose_nothing() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    store.create().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || fill(store, &format!("set-{writer}"), "made-up"));
        }
    });
    assert_eq!(store.read().unwrap().sets.len(), 8);
}

#[tokio::test]
async fn the_age_tool_opens_the_store_and_makes_keys_for_it() {
    let root = TempDir::new().unwrap();
    let store = store(&root);
    if Command::new("age").arg("--version").output().is_err() {
        crate::credentials::testing::skip("the `age` tool is not installed");
        return;
    }
    let keygen = Command::new("age-keygen").arg("-o").arg(store.key_file()).output().unwrap();
    assert!(keygen.status.success());
    assert_eq!(store.create().unwrap(), Created::Store);
    fill(&store, "production", "made-up");
    let opened =
        Command::new("age").arg("-d").arg("-i").arg(store.key_file()).arg(store.file()).output();
    let text: serde_json::Value = serde_json::from_slice(&opened.unwrap().stdout).unwrap();
    assert_eq!(text["sets"]["production"]["current"]["values"]["client_ct"], "made-up-client_ct");
    // And the other way round: what the tool seals, we open.
    let public = Command::new("age-keygen").arg("-y").arg(store.key_file()).output().unwrap();
    let plain = root.path().join("plain.json");
    fs::write(&plain, serde_json::to_vec(&text).unwrap()).unwrap();
    let sealed = Command::new("age")
        .args(["-r", std::str::from_utf8(&public.stdout).unwrap().trim(), "-o"])
        .args([store.file(), &plain])
        .status();
    assert!(sealed.unwrap().success());
    assert_eq!(read(&store, "production").await.unwrap().version().as_str(), "1");
}
