//! A store that is opened once for all sets that are read from it.
//!
//! A thousand sets may lie in one store, and opening it decrypts them all. So those who ask at the same time share
//! it, and what was found is kept until the store or its key changes, without the versions that are not in use.
//! Whether others may write the files is checked each time.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{document::StoredVersion, error::StoreError, store::SealedStore};
use crate::{
    credentials::sources::{
        blocking::{BlockingLane, BlockingThreads, Interrupted},
        stamp::FileStamp,
    },
    process::files,
};

/// A file that changed so recently may change once more without another date: the clocks of file systems tick,
/// every two seconds at worst.
const TICK: Duration = Duration::from_secs(2);

/// The stores of all sets.
#[derive(Debug, Default)]
pub(in crate::credentials::sources) struct OpenStores(Mutex<Vec<Weak<OpenStore>>>);

impl OpenStores {
    /// The store with these files.
    pub(in crate::credentials::sources) fn get(
        &self,
        store: SealedStore,
        threads: &BlockingThreads,
    ) -> Arc<OpenStore> {
        let mut known = self.0.lock();
        known.retain(|known| known.strong_count() > 0);
        let found = known.iter().filter_map(Weak::upgrade).find(|known| known.files == store);
        found.unwrap_or_else(|| {
            let new = Arc::new(OpenStore {
                files: store,
                lane: threads.lane(),
                openings_begun: AtomicU64::new(0),
                last: tokio::sync::Mutex::default(),
            });
            known.push(Arc::downgrade(&new));
            new
        })
    }
}

/// One store, as long as sets are read from it.
#[derive(Debug)]
pub(in crate::credentials::sources) struct OpenStore {
    files: SealedStore,
    lane: BlockingLane,
    openings_begun: AtomicU64,
    /// Locked while the store is opened.
    last: tokio::sync::Mutex<LastOpening>,
}

/// The last opening that ended.
#[derive(Debug, Default)]
struct LastOpening {
    number: u64,
    result: Option<OpenResult>,
}

type OpenResult = Result<OpenedStore, Arc<StoreError>>;

/// What was found in a store.
#[derive(Clone, Debug)]
pub(super) struct OpenedStore {
    /// The versions in use, by the names of their sets.
    pub(super) current: Arc<BTreeMap<String, StoredVersion>>,
    /// The state of the store and of its key, if another one is certain to differ.
    stamps: Option<[FileStamp; 2]>,
}

impl OpenStore {
    /// The files of the store.
    pub(super) fn files(&self) -> &SealedStore {
        &self.files
    }

    /// The names of the sets that have a version in use.
    pub(in crate::credentials::sources) async fn names(
        &self,
    ) -> Result<Result<Vec<String>, Arc<StoreError>>, Interrupted> {
        let opened = self.open().await?;
        Ok(opened.map(|opened| opened.current.keys().cloned().collect()))
    }

    /// What is in the store now. An opening that had begun before is not shared: it may have missed a change.
    pub(super) async fn open(&self) -> Result<OpenResult, Interrupted> {
        let seen = self.openings_begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.number > seen
            && let Some(result) = &last.result
        {
            return Ok(result.clone());
        }
        last.number = self.openings_begun.fetch_add(1, Ordering::SeqCst) + 1;
        let (files, before) = (self.files.clone(), last.result.take().and_then(Result::ok));
        let work = move || open(&files, before, Timestamp::now()).map_err(Arc::new);
        let result = self.lane.run(work).await?;
        last.result = Some(result.clone());
        Ok(result)
    }
}

/// Opens a store, unless it is as it was `before`.
fn open(
    store: &SealedStore,
    before: Option<OpenedStore>,
    now: Timestamp,
) -> Result<OpenedStore, StoreError> {
    files::keep_writers_out(store.key_file())?;
    files::keep_writers_out(store.file())?;
    // Before the content is read, so that a change meanwhile is seen the next time.
    let stamps = stamps(store);
    if let Some(before) = before
        && before.stamps.is_some()
        && before.stamps == stamps
    {
        return Ok(before);
    }
    let sets = store.read()?.sets.into_iter();
    let current = sets.filter_map(|(name, set)| Some((name, set.current?)));
    let is_settled = |stamp: &FileStamp| {
        Duration::try_from(now.duration_since(stamp.changed)).is_ok_and(|age| age > TICK)
    };
    Ok(OpenedStore {
        current: Arc::new(current.collect()),
        stamps: stamps.filter(|stamps| stamps.iter().all(is_settled)),
    })
}

fn stamps(store: &SealedStore) -> Option<[FileStamp; 2]> {
    let stamp = |path| fs::metadata(path).map(|metadata| FileStamp::of(&metadata)).ok();
    Some([stamp(store.file())?, stamp(store.key_file())?])
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::SystemTime};

    use futures_util::{future::join_all, poll};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        credentials::{
            ValueName,
            sources::sealed::{StoredSet, StoredValues},
        },
        secret::SecretText,
    };

    fn store(root: &TempDir) -> SealedStore {
        let store = SealedStore::new(root.path().join("sealed"), root.path().join("key"));
        store.create().unwrap();
        store
    }

    /// Puts another version into use.
    fn write(store: &SealedStore, name: &str) {
        let mut values = StoredValues::default();
        values.insert(ValueName::ClientSecret, SecretText::parse(b"made-up").unwrap());
        let changed = store.update(|document| {
            let set = document.sets.entry(name.to_owned()).or_insert_with(StoredSet::empty);
            set.replace_current(values, Timestamp::now());
            Ok::<_, StoreError>(())
        });
        changed.unwrap();
    }

    /// As if so much time had passed.
    fn open_in(
        seconds: i64,
        store: &SealedStore,
        before: &OpenedStore,
    ) -> Result<OpenedStore, StoreError> {
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        open(store, Some(before.clone()), now)
    }

    fn same(one: &OpenedStore, other: &OpenedStore) -> bool {
        Arc::ptr_eq(&one.current, &other.current)
    }

    /// Asks for what is in a store, all at once.
    async fn open_all(all: &[Arc<OpenStore>]) -> Vec<OpenResult> {
        let one = &all[0];
        let others_wait = one.last.lock().await;
        let mut asked: Vec<_> = all.iter().map(|store| Box::pin(store.open())).collect();
        for open in &mut asked {
            assert!(poll!(open).is_pending());
        }
        drop(others_wait);
        join_all(asked).await.into_iter().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn a_thousand_that_ask_at_once_open_it_once() {
        let root = TempDir::new().unwrap();
        let store = store(&root);
        write(&store, "production");
        let (stores, threads) = (OpenStores::default(), BlockingThreads::default());
        let all: Vec<_> = (0..1_000).map(|_| stores.get(store.clone(), &threads)).collect();
        let openings = || all[0].openings_begun.load(Ordering::SeqCst);
        for opened in open_all(&all).await {
            assert_eq!(opened.unwrap().current["production"].version, 1);
        }
        assert_eq!(openings(), 1);
        // A change that is over when somebody asks is seen, and a failure is told to all.
        write(&store, "production");
        let opened = all[0].open().await.unwrap().unwrap();
        assert_eq!(opened.current["production"].version, 2);
        fs::write(store.file(), "damaged").unwrap();
        for opened in open_all(&all).await {
            assert!(matches!(*opened.unwrap_err(), StoreError::Damaged { .. }));
        }
        assert_eq!(openings(), 3);
    }

    #[test]
    fn it_is_not_opened_again_until_the_store_or_its_key_changes() {
        let root = TempDir::new().unwrap();
        let store = store(&root);
        write(&store, "production");
        let first = open(&store, None, Timestamp::now()).unwrap();
        // It changed a moment ago, and may do so again without another date.
        assert!(!same(&first, &open_in(0, &store, &first).unwrap()));
        let settled = open_in(5, &store, &first).unwrap();
        assert!(!same(&settled, &first));
        assert!(same(&settled, &open_in(6, &store, &settled).unwrap()));
        write(&store, "production");
        let newer = open_in(7, &store, &settled).unwrap();
        assert_eq!(newer.current["production"].version, 2);
        // In place, and with the date that it had.
        let bytes = fs::read(store.file()).unwrap();
        let date = fs::metadata(store.file()).unwrap().modified().unwrap();
        fs::write(store.file(), &bytes).unwrap();
        set_modified(&store, date);
        assert!(!same(&newer, &open_in(8, &store, &newer).unwrap()));
    }

    fn set_modified(store: &SealedStore, date: SystemTime) {
        fs::File::options().write(true).open(store.file()).unwrap().set_modified(date).unwrap();
    }

    #[test]
    fn what_others_may_read_or_write_is_refused_though_nothing_changed() {
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = store(&root);
        let settled = open(&store, None, Timestamp::now() + jiff::SignedDuration::from_secs(5));
        let settled = settled.unwrap();
        let mode =
            |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(store.key_file(), 0o640);
        let error = open_in(6, &store, &settled).unwrap_err();
        assert!(matches!(error, StoreError::KeyExposed { .. }), "{error}");
        mode(store.key_file(), 0o600);
        // The folder's permissions are in no stamp of a file.
        mode(root.path(), 0o777);
        let error = open_in(6, &store, &settled).unwrap_err();
        assert!(matches!(error, StoreError::Writable(_)), "{error}");
    }
}
