use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    audit::{
        TrailDoubtKind, Verdict,
        testing::{check, eventually, record},
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
    // A start with a checkpoint, the calls, a stop with a checkpoint.
    assert_eq!(trail.close().unwrap(), 4004);
    let report = check(&directory);
    assert_eq!((report.calls, report.lines, report.crashes), (4000, 4004, 0));
    assert_eq!((report.checkpoints, report.vouched_seq), (2, Some(4003)));
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
        stats.synced_seq == stats.last_seq && stats.last_seq == 3
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
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // What has no data of persons may be read by whoever may enter.
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("tlog") => 0o755,
            Some("chain.json") => 0o644,
            _ => 0o600,
        };
        assert_eq!(mode(&path), expected, "{path:?}");
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
    assert_eq!(kinds(home.path()), ["start", "checkpoint", "call", "stop", "checkpoint"].repeat(3));
    let report = check(home.path());
    assert_eq!((report.last_seq, report.crashes, report.problems.len()), (Some(15), 0, 0));
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
        profile: record.profile.clone().unwrap(),
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
        [
            &["start", "checkpoint", "call", "stop", "checkpoint"][..],
            &["damaged", "start", "checkpoint", "stop", "checkpoint"],
        ]
        .concat()
    );
    let lines = lines(home.path());
    let aside = home.path().join(lines[5]["file"].as_str().unwrap());
    assert_eq!(fs::read(aside).unwrap(), [0; 4096]);
    // A power cut leaves zeros, which are no records.
    let report = check(home.path());
    assert_eq!((report.verdict(), report.damaged), (Verdict::Ok, 1));

    let record = b"{\"kind\":\"call\",\"seq\":1}\n";
    damage(home.path(), |bytes| bytes.extend_from_slice(record));
    open(home.path()).close().unwrap();
    let report = check(home.path());
    let [doubt] = &report.doubts[..] else { panic!("{report:?}") };
    assert!(matches!(doubt.kind, TrailDoubtKind::RecordsDamaged { records: 1, .. }));
}
