//! One watcher for many folders, as they come, go and are replaced.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const QUIET: Duration = Duration::from_millis(5);

/// A watch on a folder, which has begun.
fn watch(folder: &Path, watcher: &FolderWatcher) -> FolderWatch {
    let target = WatchTarget { folder: folder.to_owned(), file: None, writers: None };
    let mut watch = FolderWatch::new(target, watcher.clone());
    watch.renew();
    watch
}

/// Waits for a change, with a bound that only a failure reaches.
async fn heard(watch: &FolderWatch) {
    time::timeout(Duration::from_secs(20), watch.signal().settled(QUIET)).await.unwrap();
}

fn watched(watcher: &FolderWatcher) -> usize {
    watcher.folders.lock().by_id.len()
}

#[tokio::test]
async fn each_hears_of_its_own_folder_and_of_no_other() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let folders: Vec<_> = (0..50).map(|number| root.path().join(number.to_string())).collect();
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    let watches: Vec<_> = folders.iter().map(|folder| watch(folder, &watcher)).collect();
    assert_eq!(watched(&watcher), 50);
    for (folder, own) in folders.iter().zip(&watches) {
        fs::write(folder.join("client_secret"), "made-up").unwrap();
        heard(own).await;
    }
    // What all of them heard is over.
    fs::write(folders[7].join("client_secret"), "made-up too").unwrap();
    heard(&watches[7]).await;
    let other = time::timeout(10 * QUIET, watches[8].signal().settled(QUIET)).await;
    assert!(other.is_err(), "it heard of another folder");
}

#[tokio::test]
async fn two_paths_of_one_folder_both_hear() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let (folder, link) = (root.path().join("folder"), root.path().join("link"));
    fs::create_dir(&folder).unwrap();
    symlink(&folder, &link).unwrap();
    let (first, second) = (watch(&folder, &watcher), watch(&link, &watcher));
    assert_eq!(watched(&watcher), 1);
    fs::write(folder.join("client_secret"), "made-up").unwrap();
    heard(&first).await;
    heard(&second).await;
    drop(second);
    fs::write(folder.join("client_secret"), "made-up").unwrap();
    heard(&first).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again_however_it_went() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let mut watch = watch(&folder, &watcher);
    for round in 0..10 {
        if round % 2 == 0 {
            // Its number is often given to the next one.
            fs::remove_dir_all(&folder).unwrap();
        } else {
            fs::rename(&folder, root.path().join(round.to_string())).unwrap();
        }
        heard(&watch).await;
        watch.renew();
        fs::create_dir(&folder).unwrap();
        watch.renew();
        fs::write(folder.join("client_secret"), "made-up").unwrap();
        heard(&watch).await;
    }
    assert_eq!(watched(&watcher), 1);
}

#[tokio::test]
async fn folders_below_one_that_goes_are_told() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let above = root.path().join("above");
    let below = above.join("between").join("below");
    fs::create_dir_all(&below).unwrap();
    let (_above, mut below_watch) = (watch(&above, &watcher), watch(&below, &watcher));
    fs::rename(above.join("between"), root.path().join("elsewhere")).unwrap();
    heard(&below_watch).await;
    fs::create_dir_all(&below).unwrap();
    below_watch.renew();
    fs::write(below.join("client_secret"), "made-up").unwrap();
    heard(&below_watch).await;
}

#[test]
fn a_folder_that_nobody_watches_is_left() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    for round in 0..20 {
        let folder = root.path().join(round.to_string());
        fs::create_dir(&folder).unwrap();
        drop(watch(&folder, &watcher));
        assert_eq!(watched(&watcher), 1);
    }
    assert!(watcher.folders.lock().left.is_empty());
}

#[test]
fn sets_that_come_and_go_leave_nothing_behind() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let _stays = watch(root.path(), &watcher);
    for _ in 0..10_000 {
        drop(watch(root.path(), &watcher));
    }
    let folders = watcher.folders.lock();
    let listeners = folders.by_id.values().next().unwrap().listeners.lock();
    assert!(listeners.capacity() <= 8, "{}", listeners.capacity());
}

#[tokio::test]
async fn who_watches_one_file_hears_of_that_one_and_of_the_folders_end() {
    let (root, watcher) = (TempDir::new().unwrap(), FolderWatcher::default());
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let target = WatchTarget::file(&folder.join("credentials.sealed"));
    let mut watch = FolderWatch::new(target, watcher.clone());
    watch.renew();
    fs::write(folder.join("another"), "made-up").unwrap();
    let other = time::timeout(10 * QUIET, watch.signal().settled(QUIET)).await;
    assert!(other.is_err(), "it heard of another file");
    fs::write(folder.join("credentials.sealed"), "made-up").unwrap();
    heard(&watch).await;
    fs::remove_dir_all(&folder).unwrap();
    heard(&watch).await;
}
