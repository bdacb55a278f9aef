//! Watches files for changes. A change only starts a read, which decides what there is.
//!
//! The folder is watched and not a file: Kubernetes swaps a link in the folder and deletes the files,
//! and a watch on a deleted file reports nothing. Not every file system reports changes, so files are
//! read at intervals as well.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{sync::Notify, time};

use super::write_tracker::WriteTracker;

/// After so many quiet times a folder that keeps changing is read as it is. The read itself makes sure
/// that the values are whole.
const MAX_QUIET_ROUNDS: usize = 20;

/// The folder to watch.
#[derive(Clone, Debug)]
pub(in crate::credentials) struct WatchTarget {
    pub(in crate::credentials) folder: PathBuf,
    /// The file that matters, if only one does.
    pub(in crate::credentials) file: Option<PathBuf>,
    /// Learns which files are being written.
    pub(in crate::credentials) writers: WriteTracker,
}

impl WatchTarget {
    /// One file.
    pub(super) fn file(path: &Path, writers: WriteTracker) -> Self {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder, file: path.file_name().map(Into::into), writers }
    }
}

/// A watch on one folder, started again when another folder takes its place.
pub(in crate::credentials) struct FolderWatch {
    target: WatchTarget,
    changed: Arc<Notify>,
    active: Option<ActiveWatch>,
}

struct ActiveWatch {
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
    folder: FolderId,
}

/// Device and inode of a folder.
type FolderId = (u64, u64);

impl FolderWatch {
    pub(in crate::credentials) fn new(target: WatchTarget) -> Self {
        Self { target, changed: Arc::new(Notify::new()), active: None }
    }

    /// The signal that tells of changes.
    pub(in crate::credentials) fn signal(&self) -> ChangeSignal {
        ChangeSignal(Arc::clone(&self.changed))
    }

    /// Watches the folder that is there now. Blocks.
    pub(in crate::credentials) fn renew(&mut self) {
        let present = fs::metadata(&self.target.folder).map(|m| (m.dev(), m.ino())).ok();
        if present == self.active.as_ref().map(|active| active.folder) {
            return;
        }
        self.active = present.and_then(|folder| match self.start() {
            Ok(watcher) => Some(ActiveWatch { _watcher: watcher, folder }),
            Err(error) => {
                tracing::warn!(
                    folder = %self.target.folder.display(), %error,
                    "cannot watch a credential folder; it is read at intervals only"
                );
                None
            }
        });
    }

    fn start(&self) -> notify::Result<RecommendedWatcher> {
        let WatchTarget { file, writers, .. } = self.target.clone();
        let changed = Arc::clone(&self.changed);
        // The writers that are known wrote in another folder.
        writers.forget();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
            track_writers(&writers, event.as_ref().ok());
            // An error means that events were lost, so something may have changed.
            if event.is_ok_and(|event| !is_change(&event, file.as_deref())) {
                return;
            }
            changed.notify_one();
        })?;
        watcher.watch(&self.target.folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Notes who begins and ends writing. Truncating a file and writing to it both change its data, and the
/// writer's end is a close. A new file is empty until then, and an empty value is refused.
fn track_writers(writers: &WriteTracker, event: Option<&notify::Event>) {
    let Some(event) = event.filter(|event| !event.need_rescan()) else { return writers.forget() };
    let note: fn(&WriteTracker, &Path) = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => WriteTracker::begun,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => WriteTracker::ended,
        _ => return,
    };
    event.paths.iter().for_each(|path| note(writers, path));
}

fn is_change(event: &notify::Event, file: Option<&Path>) -> bool {
    if event.need_rescan() {
        return true;
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        // Otherwise our own reads would start reads.
        EventKind::Access(_) => return false,
        _ => {}
    }
    let Some(file) = file else { return true };
    event.paths.iter().any(|path| {
        let name = path.file_name().unwrap_or_default();
        // A store in a mounted secret changes with the link `..data`.
        name == file.as_os_str() || name.as_encoded_bytes().starts_with(b"..")
    })
}

/// Tells of changes.
#[derive(Clone, Debug)]
pub(in crate::credentials) struct ChangeSignal(Arc<Notify>);

impl ChangeSignal {
    /// A signal that never comes, for sources without files.
    pub(in crate::credentials) fn never() -> Self {
        Self(Arc::new(Notify::new()))
    }

    /// Waits for a change, and then until nothing has changed for `quiet`.
    pub(in crate::credentials) async fn settled(&self, quiet: Duration) {
        self.0.notified().await;
        for _ in 0..MAX_QUIET_ROUNDS {
            if time::timeout(quiet, self.0.notified()).await.is_err() {
                return;
            }
        }
    }
}
