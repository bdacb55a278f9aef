//! The trail on a disk that is full or broken.

use parking_lot::Condvar;

use super::*;
use crate::audit::{
    storage::Syncable,
    testing::{Seen, eventually, record},
};

/// A disk that can be made full or broken.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    room: Option<usize>,
    syncs: u32,
    sync_fails: bool,
    /// Writes fail until the file is restored on another disk.
    is_dead: bool,
    is_replaced: bool,
}

impl Disk {
    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.0.0.lock());
        self.0.1.notify_all();
    }

    fn calls(&self) -> usize {
        let state = self.0.0.lock();
        memchr::memmem::find_iter(&state.bytes, b"{\"kind\":\"call\"").count()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().bytes.clone()).unwrap()
    }

    fn lost(&self) -> Option<u64> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .find(|line| line["kind"] == "gap")
            .and_then(|line| line["lost"].as_u64())
    }
}

impl Syncable for Disk {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.sync_fails {
            return Err(io::Error::other("the disk is failing"));
        }
        state.syncs += 1;
        Ok(())
    }
}

impl Storage for Disk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock();
        if state.is_dead {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let room = state.room.unwrap_or(usize::MAX).min(bytes.len());
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(left) = &mut state.room {
            *left -= room;
        }
        state.bytes.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn syncable(&self) -> Arc<dyn Syncable> {
        Arc::new(self.clone())
    }

    fn rotate(&mut self, _next_seq: u64, _now: SystemTime) -> Option<Arc<dyn Syncable>> {
        None
    }

    fn restore_if_missing(&mut self) -> io::Result<Option<String>> {
        let mut state = self.0.0.lock();
        if !std::mem::take(&mut state.is_replaced) {
            return Ok(None);
        }
        state.is_dead = false;
        Ok(Some("audit.jsonl".to_owned()))
    }
}

fn on(disk: &Disk, settings: &Settings) -> Trail {
    let queue = Arc::new(RecordQueue::new(settings, 0));
    let encoder = Encoder::new(crate::audit::Tip::START, ObjectNaming::default());
    let writer = Writer::new(Arc::clone(&queue), disk.clone(), encoder, settings);
    Trail::start(settings, queue, writer).unwrap()
}

fn quick() -> Settings {
    Settings { retry_interval: Duration::from_millis(1), ..Settings::new("unused") }
}

#[test]
fn a_full_disk_refuses_calls_until_there_is_room_and_loses_nothing() {
    let disk = Disk::default();
    disk.set(|state| state.room = Some(100));
    let trail = on(&disk, &quick());
    trail.submit(record());
    eventually("calls are refused", || trail.admit().is_err());
    assert!(!trail.stats().writable);
    for _ in 0..50 {
        trail.submit(record());
    }
    disk.set(|state| state.room = None);
    eventually("calls are admitted", || trail.admit().is_ok());
    trail.close().unwrap();
    assert_eq!((disk.calls(), disk.lost()), (51, None));
}

#[test]
fn a_disk_that_died_is_given_up_for_the_one_in_its_place() {
    let disk = Disk::default();
    let trail = on(&disk, &quick());
    trail.submit(record());
    eventually("a record is written", || disk.calls() == 1);
    disk.set(|state| state.is_dead = true);
    trail.submit(record());
    eventually("calls are refused", || trail.admit().is_err());
    disk.set(|state| state.is_replaced = true);
    eventually("calls are admitted", || trail.admit().is_ok());
    trail.close().unwrap();
    assert_eq!((disk.calls(), disk.lost()), (2, None));
    assert!(disk.text().contains("{\"kind\":\"restored\""));
}

#[test]
fn with_continue_calls_go_on_and_what_finds_no_room_is_counted() {
    let disk = Disk::default();
    disk.set(|state| state.room = Some(0));
    let settings = Settings { on_failure: OnFailure::Continue, queue_records: 10, ..quick() };
    let trail = on(&disk, &settings);
    trail.submit(record());
    eventually("the disk has said no", || !trail.stats().writable);
    for _ in 0..25 {
        trail.submit(record());
        assert_eq!(trail.admit(), Ok(()));
    }
    assert_eq!(trail.stats().lost, 15);
    disk.set(|state| state.room = None);
    eventually("the disk takes lines again", || trail.stats().writable);
    trail.close().unwrap();
    assert_eq!((disk.calls(), disk.lost()), (11, Some(15)));
}

#[test]
fn a_watcher_sees_every_record_once_also_while_the_disk_is_full() {
    let disk = Disk::default();
    let (trail, seen) = (on(&disk, &quick()), Arc::new(Seen::default()));
    trail.set_observer(Arc::<Seen>::clone(&seen));
    let calls: Vec<_> = (0..60).map(|_| record()).collect();
    for (room, twenty) in [None, Some(100), None].into_iter().zip(calls.chunks(20)) {
        disk.set(|state| state.room = room);
        let before = seen.0.lock().len();
        for call in twenty {
            trail.submit(call.clone());
        }
        eventually("they are seen", || seen.0.lock().len() == before + 20);
    }
    trail.close().unwrap();
    let ids: Vec<_> = calls.iter().map(|call| call.request_id).collect();
    assert_eq!((&*seen.0.lock(), disk.calls()), (&ids, 60));
}

#[tokio::test]
async fn a_synced_record_is_answered_after_the_sync() {
    let disk = Disk::default();
    let trail = on(&disk, &quick());
    trail.submit_synced(record()).await.unwrap();
    assert_eq!(disk.calls(), 1);
    assert!(disk.0.0.lock().syncs >= 1);
    assert_eq!(trail.stats().synced_seq, 1);
}

#[tokio::test]
async fn a_synced_record_that_cannot_be_kept_is_an_error_and_still_written_later() {
    let disk = Disk::default();
    disk.set(|state| state.sync_fails = true);
    let trail = on(&disk, &quick());
    let error = trail.submit_synced(record()).await.unwrap_err();
    assert_eq!(error.to_string(), "the audit trail cannot be written: the disk is failing");
    assert!(trail.submit_synced(record()).await.is_err());
    disk.set(|state| state.sync_fails = false);
    eventually("calls are admitted", || trail.admit().is_ok());
    trail.close().unwrap();
    assert_eq!(disk.calls(), 2);
}

#[tokio::test]
async fn synced_calls_share_a_sync() {
    let disk = Disk::default();
    let trail = on(&disk, &quick());
    let before = disk.0.0.lock().syncs;
    let waiting: Vec<_> = {
        // The writer cannot finish a batch while the disk is held, so these collect behind it.
        let held = disk.0.0.lock();
        let waiting = (0..64).map(|_| trail.submit_synced(record())).collect();
        drop(held);
        waiting
    };
    for outcome in waiting {
        outcome.await.unwrap();
    }
    let syncs = disk.0.0.lock().syncs - before;
    assert!(syncs <= 4, "{syncs} syncs for 64 calls");
}

#[test]
fn a_trail_that_cannot_be_closed_in_order_says_so() {
    let disk = Disk::default();
    disk.set(|state| state.room = Some(0));
    let trail = on(&disk, &quick());
    trail.submit(record());
    let error = trail.close().unwrap_err();
    assert!(error.to_string().starts_with("the audit trail cannot be written"), "{error}");
}
