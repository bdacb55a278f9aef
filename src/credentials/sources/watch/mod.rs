//! Watches files for changes. A change only starts a read, which decides what there is.
//!
//! The folder is watched and not a file: Kubernetes swaps a link in the folder and deletes the files,
//! and a watch on a deleted file reports nothing. Not every file system reports changes, so files are
//! read at intervals as well.
//!
//! One watcher serves all sets. A system gives a user few of them (`fs.inotify.max_user_instances`, 128 by
//! default), and each has a thread.

use std::{
    collections::HashMap,
    fmt, fs, mem,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time};

use super::write_tracker::WriteTracker;

/// After so many quiet times a folder that keeps changing is read as it is. The read itself makes sure
/// that the values are whole.
const MAX_QUIET_ROUNDS: usize = 20;

/// What one set watches.
#[derive(Clone, Debug)]
pub(in crate::credentials) struct WatchTarget {
    pub(in crate::credentials) folder: PathBuf,
    /// The file that matters, if only one does.
    pub(in crate::credentials) file: Option<PathBuf>,
    /// Learns which files are being written, if that matters.
    pub(in crate::credentials) writers: Option<WriteTracker>,
}

impl WatchTarget {
    /// One file, which is replaced as a whole.
    pub(super) fn file(path: &Path) -> Self {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder, file: path.file_name().map(Into::into), writers: None }
    }
}

/// Watches the folders of all sets. Clones share it.
#[derive(Clone, Default)]
pub(in crate::credentials) struct FolderWatcher {
    /// Made by the first watch. Its thread locks `folders` for each event, so `folders` is never locked while
    /// it is called.
    backend: Arc<Mutex<Option<RecommendedWatcher>>>,
    folders: Arc<Mutex<Folders>>,
}

/// Device and inode of a folder.
type FolderId = (u64, u64);

/// The folders that are watched. A folder with two paths is watched once, because the system has one watch for it.
#[derive(Default)]
struct Folders {
    by_id: HashMap<FolderId, Arc<WatchedFolder>>,
    by_path: HashMap<PathBuf, FolderId>,
    /// Paths whose watch is of no use any more.
    left: Vec<PathBuf>,
}

struct WatchedFolder {
    id: FolderId,
    /// The path that its events have.
    path: PathBuf,
    listeners: Mutex<Vec<Weak<Listener>>>,
}

/// One set that learns of changes.
#[derive(Debug)]
struct Listener {
    target: WatchTarget,
    changed: Notify,
}

impl FolderWatcher {
    /// Has a listener learn of changes in its folder, which is the one with that id.
    fn add(&self, id: FolderId, listener: &Arc<Listener>) -> notify::Result<Weak<WatchedFolder>> {
        let mut backend = self.backend.lock();
        let path = fs::canonicalize(&listener.target.folder)?;
        let (folder, left) = {
            let mut folders = self.folders.lock();
            if let Some(known) = folders.by_id.get(&id) {
                known.add(listener);
                return Ok(Arc::downgrade(known));
            }
            folders.leave_unused();
            if let Some(replaced) = folders.by_path.get(&path).copied() {
                folders.leave(replaced);
            }
            let listeners = Mutex::new(vec![Arc::downgrade(listener)]);
            let folder = Arc::new(WatchedFolder { id, path: path.clone(), listeners });
            // Before the watch begins, so that none of its events is missed.
            folders.by_id.insert(id, Arc::clone(&folder));
            folders.by_path.insert(path.clone(), id);
            (Arc::downgrade(&folder), mem::take(&mut folders.left))
        };
        let watched = self.backend(&mut backend).and_then(|backend| {
            for path in left {
                // It ended by itself if the folder is gone.
                backend.unwatch(&path).ok();
            }
            backend.watch(&path, RecursiveMode::NonRecursive)
        });
        if watched.is_err() {
            self.folders.lock().remove(id);
        }
        watched.map(|()| folder)
    }

    fn backend<'a>(
        &self,
        backend: &'a mut Option<RecommendedWatcher>,
    ) -> notify::Result<&'a mut RecommendedWatcher> {
        if let Some(backend) = backend {
            return Ok(backend);
        }
        let folders = Arc::clone(&self.folders);
        let new = notify::recommended_watcher(move |event| folders.lock().tell(event))?;
        Ok(backend.insert(new))
    }
}

impl Folders {
    /// Tells those of an event whom it concerns.
    fn tell(&mut self, event: notify::Result<Event>) {
        let Some(event) = event.ok().filter(|event| !event.need_rescan()) else {
            // Events were lost, so anything may have changed.
            self.by_id.values().for_each(|folder| folder.each(Listener::changed_unseen));
            return;
        };
        if is_of_reader(event.kind) {
            return;
        }
        let paths = || event.paths.iter().flat_map(|path| [Some(path.as_path()), path.parent()]);
        let mut ids: Vec<_> =
            paths().flatten().filter_map(|path| self.by_path.get(path).copied()).collect();
        ids.dedup();
        for folder in ids.iter().filter_map(|id| self.by_id.get(id)) {
            folder.each(|listener| listener.see(&event));
        }
        if let EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) = event.kind {
            // With a folder, those in it are gone.
            let gone = |path: &Path| event.paths.iter().any(|gone| path.starts_with(gone));
            let ids = self.by_path.iter().filter(|(path, _)| gone(path)).map(|(_, id)| *id);
            for id in ids.collect::<Vec<_>>() {
                self.leave(id);
            }
        }
    }

    /// Watches a folder no more. Its listeners look for another one.
    fn leave(&mut self, id: FolderId) {
        let Some(folder) = self.remove(id) else { return };
        folder.each(Listener::changed_unseen);
        self.left.push(folder.path.clone());
    }

    fn remove(&mut self, id: FolderId) -> Option<Arc<WatchedFolder>> {
        let folder = self.by_id.remove(&id)?;
        self.by_path.remove(&folder.path);
        Some(folder)
    }

    fn leave_unused(&mut self) {
        let unused = self.by_id.values().filter(|folder| !folder.is_used()).map(|folder| folder.id);
        for id in unused.collect::<Vec<_>>() {
            self.leave(id);
        }
    }
}

impl WatchedFolder {
    fn each(&self, see: impl Fn(&Listener)) {
        self.listeners.lock().iter().filter_map(Weak::upgrade).for_each(|listener| see(&listener));
    }

    fn add(&self, listener: &Arc<Listener>) {
        let mut listeners = self.listeners.lock();
        // Sets come and go, so those that are gone make room first.
        if listeners.len() == listeners.capacity() {
            listeners.retain(|listener| listener.strong_count() > 0);
        }
        listeners.push(Arc::downgrade(listener));
    }

    /// Whether anybody listens.
    fn is_used(&self) -> bool {
        self.listeners.lock().iter().any(|listener| listener.strong_count() > 0)
    }
}

impl Listener {
    fn see(&self, event: &Event) {
        if let Some(writers) = &self.target.writers {
            track_writers(writers, event);
        }
        if is_change(event, self.target.file.as_deref()) {
            self.changed.notify_one();
        }
    }

    fn changed_unseen(&self) {
        // Those that are known may have ended, or wrote in another folder.
        if let Some(writers) = &self.target.writers {
            writers.forget();
        }
        self.changed.notify_one();
    }
}

/// A watch on the folder of one set, started again when another folder takes its place.
pub(in crate::credentials) struct FolderWatch {
    watcher: FolderWatcher,
    listener: Arc<Listener>,
    /// Gone when the folder is watched no more.
    folder: Weak<WatchedFolder>,
    is_failing: bool,
}

impl FolderWatch {
    pub(in crate::credentials) fn new(target: WatchTarget, watcher: FolderWatcher) -> Self {
        let listener = Arc::new(Listener { target, changed: Notify::new() });
        Self { watcher, listener, folder: Weak::new(), is_failing: false }
    }

    /// The signal that tells of changes.
    pub(in crate::credentials) fn signal(&self) -> ChangeSignal {
        ChangeSignal(Some(Arc::clone(&self.listener)))
    }

    /// Watches the folder that is there now. Blocks.
    pub(in crate::credentials) fn renew(&mut self) {
        let folder = &self.listener.target.folder;
        let present = fs::metadata(folder).map(|found| (found.dev(), found.ino())).ok();
        if present.is_some() && present == self.folder.upgrade().map(|folder| folder.id) {
            return;
        }
        if let Some(before) = self.folder.upgrade() {
            let own = Arc::downgrade(&self.listener);
            before.listeners.lock().retain(|listener| !listener.ptr_eq(&own));
        }
        // The writers that are known wrote in another folder.
        if let Some(writers) = &self.listener.target.writers {
            writers.forget();
        }
        self.folder = Weak::new();
        let Some(present) = present else { return };
        match self.watcher.add(present, &self.listener) {
            Ok(folder) => {
                self.folder = folder;
                self.is_failing = false;
            }
            Err(error) if !mem::replace(&mut self.is_failing, true) => tracing::warn!(
                folder = %folder.display(), %error,
                "cannot watch a credential folder; it is read at intervals only"
            ),
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "still cannot watch a folder");
            }
        }
    }
}

/// Notes who begins and ends writing. Truncating a file and writing to it both change its data, and the
/// writer's end is a close. A new file is empty until then, and an empty value is refused.
fn track_writers(writers: &WriteTracker, event: &Event) {
    let note: fn(&WriteTracker, &Path) = match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => WriteTracker::begun,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => WriteTracker::ended,
        _ => return,
    };
    event.paths.iter().for_each(|path| note(writers, path));
}

/// Whether it is about reading. Otherwise our own reads would start reads.
fn is_of_reader(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn is_change(event: &Event, file: Option<&Path>) -> bool {
    let Some(file) = file else { return true };
    event.paths.iter().any(|path| {
        let name = path.file_name().unwrap_or_default();
        // A store in a mounted secret changes with the link `..data`.
        name == file.as_os_str() || name.as_encoded_bytes().starts_with(b"..")
    })
}

/// Tells of changes.
#[derive(Clone, Debug)]
pub(in crate::credentials) struct ChangeSignal(Option<Arc<Listener>>);

impl ChangeSignal {
    /// A signal that never comes, for sources without files.
    pub(in crate::credentials) fn never() -> Self {
        Self(None)
    }

    /// Waits for a change, and then until nothing has changed for `quiet`.
    pub(in crate::credentials) async fn settled(&self, quiet: Duration) {
        let Some(listener) = &self.0 else { return std::future::pending().await };
        listener.changed.notified().await;
        for _ in 0..MAX_QUIET_ROUNDS {
            if time::timeout(quiet, listener.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for FolderWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folders = self.folders.lock();
        f.debug_struct("FolderWatcher")
            .field("folders", &folders.by_id.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
