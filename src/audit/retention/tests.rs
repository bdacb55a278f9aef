use std::{fs, path::Path, process::Command, time::SystemTime};

use jiff::SignedDuration;

use super::*;
use crate::{
    audit::{
        Record, Settings, Trail, TrailSegment,
        emptied::emptied_path,
        encode::Removal,
        export::ExportProgress,
        recover,
        testing::{check, record},
    },
    domain::{ByteSize, Span},
};

const NONE: RetentionRules =
    RetentionRules { compress_after: None, retain_for: None, retain_bytes: None, exported: None };
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn settings(home: &Path) -> Settings {
    Settings { segment_bytes: ByteSize(1), compress_after: None, ..Settings::new(home) }
}

/// A trail of several files, which is still written.
fn trail(home: &Path) -> Trail {
    trail_of_calls_at(home, SystemTime::now)
}

fn trail_of_calls_at(home: &Path, time: fn() -> SystemTime) -> Trail {
    let trail = Trail::open(&settings(home)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..4 {
        let stored = trail.submit_synced(Record { time: time(), ..record() });
        runtime.block_on(stored).unwrap();
    }
    // The writer has done what follows a batch.
    while trail.stats().synced_seq < trail.stats().last_seq {
        thread::yield_now();
    }
    trail
}

fn keeper(trail: &Trail, rules: RetentionRules) -> Keeper {
    let task = RetentionTask {
        directory: trail.directory().to_owned(),
        readers: Readers::default(),
        rules,
        queue: Arc::clone(trail.queue()),
        clock: ClockWatch::new(Reading::now(), None, None),
        pending: Vec::new(),
    };
    Keeper::new(task, Arc::default())
}

fn run(trail: &Trail, rules: RetentionRules) -> Option<Blocked> {
    let (_sender, stopped) = channel();
    let mut keeper = keeper(trail, rules);
    keeper.round(Timestamp::now(), &stopped);
    *keeper.state.blocked.lock()
}

fn segments(home: &Path) -> Vec<TrailSegment> {
    TrailSegment::list(home).unwrap()
}

fn lines_of(home: &Path, kind: &str) -> Vec<serde_json::Value> {
    let texts = segments(home).into_iter().map(|segment| fs::read_to_string(segment.path).unwrap());
    let lines = texts.collect::<String>();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

/// The ranges of the `retention` lines.
fn announced(home: &Path) -> Vec<(u64, u64)> {
    let range =
        |line: &serde_json::Value| (line["from"].as_u64().unwrap(), line["to"].as_u64().unwrap());
    lines_of(home, "retention").iter().map(range).collect()
}

fn ranges(segments: &[TrailSegment]) -> Vec<(u64, u64)> {
    segments.windows(2).map(|pair| (pair[0].first_seq, pair[1].first_seq - 1)).collect()
}

#[test]
fn compressed_files_read_as_before() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    fs::write(home.path().join("audit-x.jsonl.zst.new"), "of a killed process").unwrap();
    run(&trail, RetentionRules { compress_after: Some(Duration::from_hours(1)), ..NONE });
    assert!(segments(home.path()).iter().all(|segment| !segment.compressed));
    assert!(!home.path().join("audit-x.jsonl.zst.new").exists());

    run(&trail, RetentionRules { compress_after: AT_ONCE, ..NONE });
    let compressed: Vec<_> = segments(home.path()).iter().map(|s| s.compressed).collect();
    let (last, ended) = compressed.split_last().unwrap();
    assert!(ended.len() >= 3 && ended.iter().all(|c| *c) && !last, "{compressed:?}");
    let last = trail.close().unwrap();
    let report = check(home.path());
    assert_eq!((report.problems.len(), report.last_seq), (0, Some(last)));
}

#[test]
fn the_oldest_files_are_deleted_first_and_each_has_a_line() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    assert_eq!(run(&trail, NONE), None);
    let before = segments(home.path());
    let size = |segments: &[TrailSegment]| -> u64 {
        segments.iter().map(|segment| segment.path.metadata().unwrap().len()).sum()
    };
    // Deletion comes first. The lines that tell of it take room as well, so more than one file may have to go.
    let bound = size(&before[before.len() - 3..]);
    let rules = RetentionRules { retain_bytes: Some(bound), compress_after: AT_ONCE, ..NONE };
    assert_eq!(run(&trail, rules), None);
    let left = segments(home.path());
    assert!(left[0].first_seq > 1 && left[0].compressed);
    assert!(before.iter().any(|segment| segment.first_seq == left[0].first_seq));
    trail.close().unwrap();
}

#[test]
fn there_are_as_many_lines_as_deletions() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    let before = segments(home.path());
    run(&trail, RetentionRules { retain_for: AT_ONCE, ..NONE });
    trail.close().unwrap();
    assert!(before.len() > 3);
    assert_eq!(announced(home.path()), ranges(&before)[..before.len() - 1]);
    assert_eq!(check(home.path()).problems, []);
}

/// What a crash leaves of a trail.
fn copy_of(home: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut cp = Command::new("cp");
    cp.arg("-r").arg(home.join(".")).arg(copy.path());
    // The head of the tree may take its name meanwhile.
    while !cp.status().unwrap().success() {}
    copy
}

/// The marks of a deletion that a crash interrupted: `emptied` before the line, or whole behind the line.
#[test]
fn a_deletion_that_was_interrupted_is_finished_once() {
    for is_emptied in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let trail = trail(home.path());
        let before = segments(home.path());
        if !is_emptied {
            let removal = removal(&before[0], &before[1]);
            let (_, synced) = trail.queue().announce(Notice::Removal(removal));
            synced.blocking_recv().unwrap().unwrap();
        }
        let copy = copy_of(home.path());
        trail.close().unwrap();
        // A killed process has written no `stop`.
        let (home, before) = (copy.path(), segments(copy.path()));
        if is_emptied {
            let removal = removal(&before[0], &before[1]);
            fs::write(emptied_path(&before[0].path, &removal), "").unwrap();
            fs::remove_file(&before[0].path).unwrap();
        }
        for _ in 0..2 {
            let trail = Trail::open(&settings(home)).unwrap();
            let gone = || {
                let names = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
                !names.into_iter().any(|name| name.to_string_lossy().starts_with("deleted-"))
                    && segments(home)[0].first_seq == before[1].first_seq
            };
            while !gone() {
                thread::yield_now();
            }
            trail.close().unwrap();
        }
        assert_eq!(announced(home), ranges(&before)[..1], "emptied: {is_emptied}");
        assert_eq!(check(home).problems, []);
    }
}

fn removal(segment: &TrailSegment, next: &TrailSegment) -> Removal {
    let tip = recover::tip_before(next).unwrap();
    Removal { from: segment.first_seq, to: tip.seq, last_hash: tip.hash }
}

#[test]
fn what_the_collector_has_not_had_stays_and_that_is_told() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    let before = segments(home.path());
    let exported = |seq| Some(Arc::new(ExportProgress::new(seq)));
    let rules = |seq| RetentionRules { retain_for: AT_ONCE, exported: exported(seq), ..NONE };
    assert_eq!(run(&trail, rules(before[1].first_seq - 2)), Some(Blocked::Export));
    assert_eq!(segments(home.path()), before);
    assert_eq!(run(&trail, rules(before[1].first_seq - 1)), Some(Blocked::Export));
    assert_eq!(segments(home.path())[0], before[1]);
    assert_eq!(run(&trail, rules(u64::MAX)), None);
    trail.close().unwrap();
}

#[test]
fn a_clock_in_doubt_deletes_and_compresses_nothing_by_age() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    let before = segments(home.path());
    let (_sender, stopped) = channel();
    let retain_for = Some(Duration::from_hours(24));
    let rules = RetentionRules { retain_for, compress_after: retain_for, ..NONE };
    let mut keeper = keeper(&trail, rules.clone());
    let now = Reading::now();
    let jumped = Reading { wall: now.wall + SignedDuration::from_hours(20_000), ..now };
    let change = keeper.clock.look(jumped);
    keeper.tell_of_clock(change);
    keeper.round(jumped.wall, &stopped);
    assert!(segments(home.path()).starts_with(&before));
    assert_eq!(*keeper.state.blocked.lock(), Some(Blocked::Clock));
    assert!(keeper.state.clock_is_doubted.load(Ordering::Relaxed));
    assert!(ClockDoubt::of(home.path()).read().is_some(), "a restart knows of it");
    // A bound of size does not follow the clock.
    keeper.rules.retain_bytes = Some(1);
    keeper.round(jumped.wall, &stopped);
    assert!(segments(home.path())[0].first_seq >= before[before.len() - 1].first_seq);
    keeper.rules = rules;

    let change = keeper.clock.look(now);
    keeper.tell_of_clock(change);
    assert!(ClockDoubt::of(home.path()).read().is_none());
    trail.close().unwrap();
    assert_eq!(lines_of(home.path(), "clock").len(), 2);
}

#[test]
fn a_clock_far_ahead_of_the_last_line_deletes_nothing_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    // The last line is a call that arrived years ago.
    let trail = trail_of_calls_at(home.path(), || record().time);
    let copy = copy_of(home.path());
    trail.close().unwrap();
    let (home, before) = (copy.path(), segments(copy.path()));
    let at_once = Some(Span::from_secs(0));
    let settings = Settings { retain_for: at_once, compress_after: at_once, ..settings(home) };
    for _ in 0..2 {
        let trail = Trail::open(&settings).unwrap();
        while trail.stats().retention_blocked != Some("clock") {
            thread::yield_now();
        }
        assert!(trail.stats().clock_in_doubt);
        trail.close().unwrap();
        assert!(segments(home).starts_with(&before));
    }
    assert_eq!(lines_of(home, "clock").len(), 2, "each start says so");
}

#[test]
fn a_line_from_a_wrong_clock_neither_ages_a_file_nor_keeps_others() {
    let home = tempfile::tempdir().unwrap();
    let name = |seq: u64, day: &str| {
        // No name says when.
        let name = format!("audit-{seq:020}-20200101T000000Z.jsonl");
        let (year, date) = day.split_at(4);
        let (month, day) = date.split_at(2);
        let time = format!("{year}-{month}-{day}T00:00:00.000000Z");
        let line =
            format!("{{\"kind\":\"call\",\"schema\":1,\"seq\":{seq},\"time\":\"{time}\"}}\n");
        fs::write(home.path().join(name), line).unwrap();
    };
    for (seq, day) in [
        (1, "20260301"),
        (2, "20280301"),
        (3, "20260302"),
        (4, "19700101"),
        (5, "20260303"),
        (6, "20260304"),
    ] {
        name(seq, day);
    }
    let now: Timestamp = "2026-03-05T00:00:00Z".parse().unwrap();
    let past = |days: u64| -> Vec<_> {
        let after = Duration::from_hours(24 * days);
        let ended = due::ended(home.path(), now, &mut Beginnings::default()).unwrap();
        let past = ended.iter().filter(|ended| ended.is_past(after, now));
        past.map(|ended| ended.segment.first_seq).collect()
    };
    assert_eq!(past(0), [1, 2, 3, 4, 5]);
    assert_eq!(past(2), [1, 2, 3, 4]);
    assert_eq!(past(3), [1, 2]);
    assert_eq!(past(4), [0; 0]);
}

/// The names of files are anybody's who can write the directory.
#[test]
fn a_renamed_file_keeps_everything_until_it_has_its_name_again() {
    let home = tempfile::tempdir().unwrap();
    let trail = trail(home.path());
    let before = segments(home.path());
    let (first, renamed) = (
        &before[0].path,
        before[0].path.with_file_name("audit-00000000000000000002-20200101T000000Z.jsonl"),
    );
    for rules in [
        RetentionRules { retain_for: AT_ONCE, ..NONE },
        RetentionRules { retain_bytes: Some(1), ..NONE },
        RetentionRules { compress_after: AT_ONCE, ..NONE },
    ] {
        fs::rename(first, &renamed).unwrap();
        assert_eq!(run(&trail, rules.clone()), Some(Blocked::Error), "{rules:?}");
        fs::rename(&renamed, first).unwrap();
        assert_eq!(segments(home.path()), before, "{rules:?}");
    }
    let rules = RetentionRules { retain_bytes: Some(1), ..NONE };
    assert_eq!(run(&trail, rules), None);
    assert_ne!(segments(home.path()), before);
    trail.close().unwrap();
}
