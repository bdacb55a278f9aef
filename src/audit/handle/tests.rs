use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use parking_lot::Condvar;

use super::*;
use crate::{
    audit::{
        TrailSegment,
        storage::Syncable,
        testing::{Seen, check, record},
    },
    domain::ByteSize,
};

/// A trail in a directory of its own.
fn open(directory: &Path) -> Trail {
    Trail::open(&Settings::new(directory)).unwrap()
}

fn lines(directory: &Path) -> Vec<serde_json::Value> {
    TrailSegment::list(directory)
        .unwrap()
        .iter()
        .flat_map(|segment| {
            let text = fs::read_to_string(&segment.path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
        })
        .collect()
}

fn kinds(directory: &Path) -> Vec<String> {
    lines(directory).iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect()
}

/// Waits up to ten seconds for another thread.
fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn every_record_is_written_by_the_time_the_trail_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("audit");
    let trail = open(&directory);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let trail = trail.clone();
            std::thread::spawn(move || (0..500).for_each(|_| trail.submit(record())))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // A start, the calls, a stop and the last checkpoint.
    assert_eq!(trail.close().unwrap(), 4003);
    let report = check(&directory);
    assert_eq!((report.calls, report.lines, report.crashes), (4000, 4003, 0));
    assert_eq!((report.checkpoints, report.vouched_seq), (1, Some(4002)));
    assert_eq!(report.problems, []);
}

#[test]
fn a_record_reaches_the_file_without_anyone_asking() {
    let home = tempfile::tempdir().unwrap();
    let trail = open(home.path());
    trail.submit(record());
    eventually("the record is written", || kinds(home.path()).contains(&"call".to_owned()));
    eventually("and synced", || {
        let stats = trail.stats();
        stats.synced_seq == stats.last_seq && stats.last_seq == 2
    });
    assert_eq!(trail.stats().queued, 0);
}

#[test]
fn the_files_are_for_the_gateways_user_alone() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("deep/audit");
    open(&directory).close().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_second_gateway_is_turned_away() {
    let home = tempfile::tempdir().unwrap();
    let first = open(home.path());
    let error = Trail::open(&Settings::new(home.path())).unwrap_err();
    assert!(error.to_string().contains("in use by another gateway"), "{error}");
    first.close().unwrap();
    open(home.path()).close().unwrap();
}

#[test]
fn a_trail_goes_on_where_it_stopped() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let trail = open(home.path());
        trail.submit(record());
        trail.close().unwrap();
    }
    assert_eq!(kinds(home.path()), ["start", "call", "stop", "checkpoint"].repeat(3));
    let report = check(home.path());
    assert_eq!((report.last_seq, report.crashes, report.problems.len()), (Some(12), 0, 0));
}

/// The only file of a trail, cut or added to as a crash would.
fn damage(directory: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let [segment] = &TrailSegment::list(directory).unwrap()[..] else { panic!("one file") };
    let mut bytes = fs::read(&segment.path).unwrap();
    change(&mut bytes);
    fs::write(&segment.path, bytes).unwrap();
}

#[test]
fn a_trail_cut_off_at_any_byte_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let trail = open(home.path());
    trail.submit(record());
    trail.close().unwrap();
    let [segment] = &TrailSegment::list(home.path()).unwrap()[..] else { panic!("one file") };
    let whole = fs::read(&segment.path).unwrap();
    let ends = memchr::memchr_iter(b'\n', &whole).flat_map(|end| [end, end + 1]);
    for length in (0..whole.len()).step_by(61).chain(ends).filter(|cut| *cut < whole.len()) {
        damage(home.path(), |bytes| *bytes = whole[..length].to_vec());
        // A killed process has not published a checkpoint of unwritten lines.
        fs::remove_file(home.path().join("checkpoint.json")).unwrap();
        open(home.path()).close().unwrap();
        let report = check(home.path());
        assert_eq!(report.problems, [], "cut at {length}");
        let kept = whole[..=length].split(|byte| *byte == b'\n').count() - 1;
        let torn = kinds(home.path()).contains(&"torn".to_owned());
        let at_line_end = length == 0 || whole[length - 1] == b'\n' || whole[length] == b'\n';
        assert_eq!(torn, !at_line_end, "cut at {length}");
        assert!(report.lines >= kept as u64 + 2, "cut at {length}");
        if torn {
            let lines = lines(home.path());
            let torn = lines.iter().find(|line| line["kind"] == "torn").unwrap();
            let fragment = torn["fragment"].as_str().unwrap().as_bytes();
            assert!(whole[..length].ends_with(fragment) && !fragment.is_empty());
        }
    }
}

fn intent(record: &Record) -> Intent {
    Intent {
        time: record.time,
        request_id: record.request_id,
        caller: None,
        profile: record.profile.clone(),
        operation: None,
        method: record.method.clone(),
        target: record.target.clone(),
    }
}

#[tokio::test]
async fn a_call_that_lasted_for_many_files_is_unknown_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: ByteSize(2_000), ..Settings::new(home.path()) };
    let trail = Trail::open(&settings).unwrap();
    let slow = intent(&record());
    let lost = slow.request_id.to_string();
    trail.intent(slow).await.unwrap();
    for _ in 0..20 {
        trail.submit_synced(record()).await.unwrap();
    }
    trail.close().unwrap();
    let files = TrailSegment::list(home.path()).unwrap();
    assert!(files.len() > 4);
    let end = &files.last().unwrap().path;
    let bytes = fs::read(end).unwrap();
    let stop = memchr::memmem::find(&bytes, b"{\"kind\":\"stop\"").unwrap();
    fs::write(end, &bytes[..stop]).unwrap();
    fs::remove_file(home.path().join("checkpoint.json")).unwrap();
    Trail::open(&settings).unwrap().close().unwrap();
    let lines = lines(home.path());
    let unknown: Vec<_> = lines.iter().filter(|line| line["kind"] == "unknown").collect();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!(unknown[0]["request_id"], *lost);
}

#[tokio::test]
async fn only_calls_without_a_record_are_unknown_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let trail = open(home.path());
    // Answered with something stale, and then renewed in the background.
    let renewed = record();
    let (background, lone) = (intent(&renewed), intent(&record()));
    let lost = lone.request_id.to_string();
    trail.submit_synced(renewed).await.unwrap();
    trail.intent(background).await.unwrap();
    trail.intent(lone).await.unwrap();
    trail.close().unwrap();
    let end = kinds(home.path()).iter().rposition(|kind| kind == "intent").unwrap();
    damage(home.path(), |bytes| {
        let length = memchr::memchr_iter(b'\n', bytes).nth(end).unwrap() + 1;
        bytes.truncate(length);
    });
    fs::remove_file(home.path().join("checkpoint.json")).unwrap();
    open(home.path()).close().unwrap();
    let lines = lines(home.path());
    let unknown: Vec<_> = lines.iter().filter(|line| line["kind"] == "unknown").collect();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!(unknown[0]["request_id"], *lost);
}

#[test]
fn a_damaged_end_is_set_aside_and_named() {
    let home = tempfile::tempdir().unwrap();
    let trail = open(home.path());
    trail.submit(record());
    trail.close().unwrap();
    damage(home.path(), |bytes| bytes.extend_from_slice(&[0; 4096]));
    open(home.path()).close().unwrap();
    assert_eq!(
        kinds(home.path()),
        ["start", "call", "stop", "checkpoint", "damaged", "start", "stop", "checkpoint"]
    );
    let lines = lines(home.path());
    let aside = home.path().join(lines[4]["file"].as_str().unwrap());
    assert_eq!(fs::read(aside).unwrap(), [0; 4096]);
    // A power cut does this, but an attacker can too: a person must examine it.
    let [problem] = &check(home.path()).problems[..] else { panic!("one problem") };
    assert!(matches!(problem.kind, crate::audit::TrailProblemKind::Damaged { .. }));
}

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
    let encoder = Encoder::new(crate::audit::Tip::START, None);
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
