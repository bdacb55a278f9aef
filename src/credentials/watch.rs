//! Notices that files changed. It only says when to look again; what is there, a read decides.
//!
//! The folder is watched, never a file: Kubernetes swaps a link in it and deletes the files, and
//! a watch on a deleted file stays silent for ever. Not every file system reports changes, so the
//! interval of the manager stands behind this.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{sync::Notify, time};

use super::{source::Watched, write_tracker::WriteTracker};

/// How long a folder that never comes to rest is waited for, in quiet times; then it is read as
/// it is, and the read sees to it that what it takes is whole.
const MAX_QUIET_ROUNDS: usize = 20;

/// A watch on one folder, renewed when the folder is another one than before.
pub(super) struct Watch {
    watched: Watched,
    changed: Arc<Notify>,
    alive: Option<Alive>,
}

struct Alive {
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
    folder: FolderId,
}

/// Tells a folder from another that was put in its place.
type FolderId = (u64, u64);

impl Watch {
    pub(super) fn new(watched: Watched) -> Self {
        Self { watched, changed: Arc::new(Notify::new()), alive: None }
    }

    /// The end that waits.
    pub(super) fn signal(&self) -> Signal {
        Signal(Arc::clone(&self.changed))
    }

    /// Sees to it that the folder that is there now is watched. Blocks.
    pub(super) fn renew(&mut self) {
        let present = fs::metadata(&self.watched.folder).map(|m| (m.dev(), m.ino())).ok();
        if present == self.alive.as_ref().map(|alive| alive.folder) {
            return;
        }
        self.alive = present.and_then(|folder| match self.start() {
            Ok(watcher) => Some(Alive { _watcher: watcher, folder }),
            Err(error) => {
                tracing::warn!(
                    folder = %self.watched.folder.display(), %error,
                    "cannot watch a credential folder; it is read at intervals only"
                );
                None
            }
        });
    }

    fn start(&self) -> notify::Result<RecommendedWatcher> {
        let Watched { file, writers, .. } = self.watched.clone();
        let changed = Arc::clone(&self.changed);
        // What the watch before saw is of another folder.
        writers.forget();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
            note(&writers, event.as_ref().ok());
            // An error means that events were lost: then something did happen.
            if event.is_ok_and(|event| !matters(&event, file.as_deref())) {
                return;
            }
            changed.notify_one();
        })?;
        watcher.watch(&self.watched.folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Keeps count of who writes. Opening a file with truncation and writing to it are both a change of
/// its data, and the end is told as a close. A file that is made anew is empty until then, which is
/// refused anyhow.
fn note(writers: &WriteTracker, event: Option<&notify::Event>) {
    let Some(event) = event.filter(|event| !event.need_rescan()) else { return writers.forget() };
    let tell: fn(&WriteTracker, &Path) = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => WriteTracker::begun,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => WriteTracker::ended,
        _ => return,
    };
    event.paths.iter().for_each(|path| tell(writers, path));
}

fn matters(event: &notify::Event, file: Option<&Path>) -> bool {
    if event.need_rescan() {
        return true;
    }
    match event.kind {
        // Our own reading would wake us again.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    let Some(file) = file else { return true };
    event.paths.iter().any(|path| {
        let name = path.file_name().unwrap_or_default();
        // A store that is itself a mounted secret changes by the swap of `..data`.
        name == file.as_os_str() || name.as_encoded_bytes().starts_with(b"..")
    })
}

/// Wakes up after changes.
#[derive(Clone, Debug)]
pub(super) struct Signal(Arc<Notify>);

impl Signal {
    /// One that never fires, for sources without files.
    pub(super) fn never() -> Self {
        Self(Arc::new(Notify::new()))
    }

    /// Waits for a change, and then until nothing has changed for `quiet`.
    pub(super) async fn settled(&self, quiet: Duration) {
        self.0.notified().await;
        for _ in 0..MAX_QUIET_ROUNDS {
            if time::timeout(quiet, self.0.notified()).await.is_err() {
                return;
            }
        }
    }
}
