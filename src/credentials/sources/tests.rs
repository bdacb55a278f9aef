//! What is common to all sources: what is not there is told from what cannot be read.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::credentials::{Identifiers, RefreshSettings};

fn settings(name: &str, source: SourceSettings) -> Settings {
    Settings {
        name: CredentialsName::new(name),
        source,
        fixed: Identifiers::new(),
        refresh: RefreshSettings::default(),
        keep: None,
    }
}

async fn error(name: &str, source: SourceSettings) -> LoadError {
    load(&settings(name, source), &Sources::default()).await.0.unwrap_err()
}

fn directory(path: &Path) -> SourceSettings {
    SourceSettings::Directory { path: path.to_owned() }
}

#[tokio::test]
async fn a_folder_is_absent_only_from_a_folder_that_is_there() {
    let root = TempDir::new().unwrap();
    assert!(error("one", directory(&root.path().join("one"))).await.is_absent());
    let unmounted = error("one", directory(&root.path().join("unmounted/one"))).await;
    assert!(!unmounted.is_absent(), "{unmounted}");
    fs::create_dir(root.path().join("empty")).unwrap();
    let empty = error("one", directory(&root.path().join("empty"))).await;
    assert!(!empty.is_absent(), "{empty}");
    fs::write(root.path().join("file"), "").unwrap();
    let file = error("one", directory(&root.path().join("file"))).await;
    assert!(!file.is_absent(), "{file}");
}

#[tokio::test]
async fn a_set_is_absent_only_from_a_store_that_opens() {
    let root = TempDir::new().unwrap();
    let store = SealedStore::new(root.path().join("sealed"), root.path().join("key"));
    let source = || SourceSettings::Sealed {
        file: store.file().to_owned(),
        key_file: store.key_file().to_owned(),
    };
    let missing = error("one", source()).await;
    assert!(!missing.is_absent(), "{missing}");
    store.create().unwrap();
    assert!(error("one", source()).await.is_absent());
    fs::write(store.file(), "damaged").unwrap();
    let damaged = error("one", source()).await;
    assert!(!damaged.is_absent(), "{damaged}");
}

#[tokio::test]
async fn variables_that_are_missing_are_no_absent_set() {
    let source = SourceSettings::Environment { prefix: "PIGELLO_TEST_NONE_".to_owned() };
    assert!(!error("one", source).await.is_absent());
}
