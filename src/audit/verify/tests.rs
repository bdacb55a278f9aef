use std::{fs, time::SystemTime};

use super::{TrailProblemKind as K, *};
use crate::{
    audit::{
        PUBLIC_KEY, Record, Settings, Trail,
        chain::{ChainFields, Tip},
        testing::record,
    },
    domain::{ByteSize, Span},
};

/// Three files of a trail: `start`, six calls in pairs, each pair signed, and a `stop`.
struct Scene {
    home: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<String>)>,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            segment_bytes: ByteSize(6_200),
            checkpoint_records: 2,
            compress_after: None,
            ..Settings::new(home.path())
        };
        let trail = Trail::open(&settings).unwrap();
        for _ in 0..6 {
            trail.submit(record());
            futures_util::FutureExt::now_or_never(trail.submit_synced(record()));
            while trail.stats().synced_seq < trail.stats().last_seq || trail.stats().queued > 0 {
                std::thread::yield_now();
            }
        }
        trail.close().unwrap();
        let files: Vec<_> = TrailSegment::list(home.path())
            .unwrap()
            .into_iter()
            .map(|file| {
                let text = fs::read_to_string(&file.path).unwrap();
                (file.path, text.lines().map(ToOwned::to_owned).collect())
            })
            .collect();
        assert!(files.len() >= 3, "{} files", files.len());
        Self { home, files }
    }

    fn check(&self) -> VerifyReport {
        self.check_against(VerifyOptions::default())
    }

    fn check_against(&self, against: VerifyOptions) -> VerifyReport {
        for (path, lines) in &self.files {
            fs::write(path, lines.join("\n") + "\n").unwrap();
        }
        verify(self.home.path(), against, |_| {}).unwrap()
    }

    fn lines(&mut self, file: usize) -> &mut Vec<String> {
        &mut self.files[file].1
    }

    /// Removes the last lines, and with its last line a file.
    fn cut_tail(&mut self, lines: usize) {
        for _ in 0..lines {
            let (path, last) = self.files.last_mut().unwrap();
            last.pop();
            if last.is_empty() {
                fs::remove_file(path).unwrap();
                self.files.pop();
            }
        }
    }

    /// The index of the nth call of a file.
    fn call_in(&self, file: usize, nth: usize) -> usize {
        let calls = self.files[file].1.iter().enumerate().filter(|(_, line)| is_call(line));
        calls.map(|(at, _)| at).nth(nth).unwrap()
    }

    /// The content of `checkpoint.json`.
    fn latest(&self) -> Checkpoint {
        let Latest::Found(latest) = Latest::read(self.home.path()) else { panic!("there is one") };
        latest
    }

    fn forget_checkpoint_file(&self) {
        fs::remove_file(self.home.path().join("checkpoint.json")).unwrap();
        fs::remove_file(self.home.path().join("tlog/checkpoint")).unwrap();
    }

    /// Computes all hashes from that line on again, as an attacker who knows the format would.
    fn rehash_from(&mut self, file: usize, line: usize) {
        let mut tip = None;
        for (f, (_, lines)) in self.files.iter_mut().enumerate() {
            for (l, text) in lines.iter_mut().enumerate() {
                let fields = ChainFields::read(text.as_bytes()).unwrap();
                let seq = crate::audit::line_head(text.as_bytes()).unwrap().seq;
                if (f, l) < (file, line) {
                    tip = Some(Tip { seq, hash: fields.stated });
                    continue;
                }
                let head = text.split_once(",\"prev\"").unwrap().0.to_owned();
                let from = tip.get_or_insert(Tip { seq: seq - 1, hash: fields.prev });
                let head = head.replacen(
                    &format!("\"seq\":{seq},"),
                    &format!("\"seq\":{},", from.seq + 1),
                    1,
                );
                let mut sealed = head.into_bytes();
                from.append(&mut sealed, 0);
                *text = String::from_utf8(sealed).unwrap().trim_end().to_owned();
            }
        }
    }
}

fn is_call(line: &str) -> bool {
    line.starts_with("{\"kind\":\"call\"")
}

fn seq(line: &str) -> u64 {
    crate::audit::line_head(line.as_bytes()).unwrap().seq
}

fn first(report: &VerifyReport) -> Option<(u64, K)> {
    report.problems.first().map(|problem| (problem.line, problem.kind.clone()))
}

#[test]
fn a_trail_as_it_was_written_is_right() {
    let report = Scene::new().check();
    assert_eq!((report.verdict(), &*report.problems), (Verdict::Ok, &[][..]));
    assert_eq!((report.calls, report.crashes, report.first_seq), (12, 0, Some(1)));
    assert!(report.checkpoints >= 3);
    assert_eq!(report.vouched_seq, report.last_seq.map(|last| last - 1));
}

#[test]
fn a_changed_record_is_named() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    let line = &mut scene.lines(1)[at];
    *line = line.replace("billing", "nobody");
    let report = scene.check();
    assert_eq!(first(&report), Some((at as u64 + 1, K::Changed)));
    assert_eq!(report.problems.len(), 1, "one change is one problem");
}

#[test]
fn a_removed_record_is_named() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    let gone = seq(&scene.lines(1).remove(at));
    let report = scene.check();
    assert_eq!(first(&report).unwrap().1, K::Removed { from: gone, to: gone });
    assert_eq!(report.problems.len(), 1);
}

#[test]
fn a_removed_file_is_named() {
    for file in [0, 1] {
        let mut scene = Scene::new();
        let (path, lines) = scene.files.remove(file);
        fs::remove_file(path).unwrap();
        let (from, to) = (seq(&lines[0]), seq(lines.last().unwrap()));
        assert_eq!(first(&scene.check()).unwrap().1, K::Removed { from, to });
    }
}

#[test]
fn a_copied_record_is_named() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    let copy = scene.lines(1)[at].clone();
    scene.lines(1).insert(at + 1, copy);
    let report = scene.check();
    assert_eq!(first(&report), Some((at as u64 + 2, K::Repeated)));
    assert_eq!(report.problems.len(), 1);
}

#[test]
fn a_forged_record_is_named() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    // Its own hash and its `prev` are right.
    let mut forged = scene.lines(1)[at].split_once(",\"prev\"").unwrap().0.to_owned();
    forged = forged.replace("billing", "nobody");
    let fields = ChainFields::read(scene.lines(1)[at].as_bytes()).unwrap();
    let mut tip = Tip { seq: seq(&scene.lines(1)[at]) - 1, hash: fields.prev };
    let mut sealed = forged.into_bytes();
    tip.append(&mut sealed, 0);
    let forged = String::from_utf8(sealed).unwrap().trim_end().to_owned();

    scene.lines(1).insert(at, forged.clone());
    assert_eq!(first(&scene.check()), Some((at as u64 + 2, K::Inserted)));

    // In the place of the original, it does not fit the next line.
    scene.lines(1).remove(at + 1);
    assert_eq!(first(&scene.check()), Some((at as u64 + 2, K::Replaced)));
}

#[test]
fn reordered_records_are_named() {
    let mut scene = Scene::new();
    let at = scene.call_in(0, 0);
    scene.lines(0).swap(at, at + 1);
    let report = scene.check();
    assert_eq!(first(&report), Some((at as u64 + 1, K::Moved)));
    assert!(report.problems.iter().all(|p| p.kind == K::Moved || p.kind == K::Replaced));
}

#[test]
fn rubbish_is_named() {
    let mut scene = Scene::new();
    scene.lines(1).insert(1, "{\"kind\":\"call\"}".to_owned());
    assert_eq!(first(&scene.check()), Some((2, K::NotALine)));
}

#[test]
fn an_old_file_put_in_again_is_named_once() {
    let mut scene = Scene::new();
    let (path, lines) = scene.files[0].clone();
    let name = path.file_name().unwrap().to_str().unwrap().replacen("audit-0", "audit-1", 1);
    let later = path.with_file_name(name);
    scene.files.push((later.clone(), lines));
    let report = scene.check();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((&problem.file, problem.line, &problem.kind), (&later, 1, &K::Replayed));
}

#[test]
fn a_rewritten_trail_is_named_by_its_checkpoints() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    let line = &mut scene.lines(1)[at];
    *line = line.replace("billing", "nobody");
    let changed = seq(&scene.files[1].1[at]);
    scene.rehash_from(1, at);
    let report = scene.check();
    let (_, K::Rewritten { after }) = first(&report).unwrap() else { panic!("{report:?}") };
    assert!(after < changed && after > 0, "{after} {changed}");
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[test]
fn a_removed_and_rehashed_record_is_named_too() {
    let mut scene = Scene::new();
    let at = scene.call_in(1, 0);
    scene.lines(1).remove(at);
    scene.rehash_from(1, at);
    scene.forget_checkpoint_file();
    assert!(matches!(first(&scene.check()), Some((_, K::Rewritten { .. }))));
}

#[test]
fn another_key_is_named() {
    let scene = Scene::new();
    let other = Scene::new();
    let key = KeySource::File(other.home.path().join(PUBLIC_KEY));
    let against = VerifyOptions { key, ..VerifyOptions::default() };
    assert!(matches!(first(&scene.check_against(against)), Some((_, K::OtherKey { .. }))));
}

#[test]
fn a_cut_tail_is_named_by_the_last_checkpoint() {
    let mut scene = Scene::new();
    let last = seq(scene.files.last().unwrap().1.last().unwrap());
    scene.cut_tail(2);
    assert_eq!(first(&scene.check()).unwrap().1, K::CutTail { to: last });

    // An attacker can also remove `checkpoint.json`, but not the copies outside the host.
    let checkpoint = scene.latest();
    scene.forget_checkpoint_file();
    let report = scene.check();
    assert_eq!((report.verdict(), &*report.problems), (Verdict::NotProved, &[][..]));
    let against = VerifyOptions { checkpoints: Some(vec![checkpoint]), ..VerifyOptions::default() };
    assert_eq!(first(&scene.check_against(against)).unwrap().1, K::CutTail { to: last });
}

#[test]
fn a_cut_tail_is_on_the_trail_itself_once_a_gateway_has_started() {
    let mut scene = Scene::new();
    let last = seq(scene.files.last().unwrap().1.last().unwrap());
    scene.cut_tail(2);
    scene.check();
    Trail::open(&Settings::new(scene.home.path())).unwrap().close().unwrap();
    let report = verify(scene.home.path(), VerifyOptions::default(), |_| {}).unwrap();
    assert_eq!(first(&report).unwrap().1, K::FoundCut { from: last - 1, to: last });
}

#[test]
fn a_trail_from_a_checkpoint_of_another_time_is_named() {
    // The directory was reset to an earlier state, and the gateway continued from there.
    let scene = Scene::new();
    let checkpoint = scene.latest();
    let mut scene = scene;
    scene.cut_tail(3);
    scene.check();
    scene.forget_checkpoint_file();
    let trail = Trail::open(&Settings::new(scene.home.path())).unwrap();
    (0..4).for_each(|_| trail.submit(record()));
    trail.close().unwrap();
    let against = VerifyOptions { checkpoints: Some(vec![checkpoint]), ..VerifyOptions::default() };
    let report = verify(scene.home.path(), against, |_| {}).unwrap();
    assert!(matches!(first(&report), Some((_, K::Rewritten { .. }))), "{report:?}");
}

#[test]
fn files_deleted_by_the_rules_are_no_problem() {
    let scene = Scene::new();
    let settings = Settings {
        retain_for: Some(Span::from_secs(0)),
        compress_after: None,
        ..Settings::new(scene.home.path())
    };
    let before = TrailSegment::list(scene.home.path()).unwrap().len();
    let trail = Trail::open(&settings).unwrap();
    // The retention begins its first round at once.
    while TrailSegment::list(scene.home.path()).unwrap().len() == before {
        std::thread::yield_now();
    }
    trail.close().unwrap();
    let report = verify(scene.home.path(), VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.first_seq > Some(1));
    assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
}

#[test]
fn a_trail_without_its_oldest_files_recovers_from_a_damaged_end() {
    let scene = Scene::new();
    let (last, earlier) = scene.files.split_last().unwrap();
    for (path, _) in earlier {
        fs::remove_file(path).unwrap();
    }
    let mut bytes = fs::read(&last.0).unwrap();
    bytes.resize(bytes.len() + 600_000, 0);
    bytes.push(b'\n');
    fs::write(&last.0, bytes).unwrap();
    Trail::open(&Settings::new(scene.home.path())).unwrap().close().unwrap();
    let report = verify(scene.home.path(), VerifyOptions::default(), |_| {}).unwrap();
    let kinds: Vec<_> = report.problems.iter().map(|problem| &problem.kind).collect();
    assert!(matches!(kinds[..], [K::Removed { from: 1, .. }]), "{kinds:?}");
}

#[test]
fn a_trail_that_is_being_written_can_be_checked() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: ByteSize(20_000), ..Settings::new(home.path()) };
    let trail = Trail::open(&settings).unwrap();
    let writing = trail.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..2_000 {
            // A file's name is the time when it is made.
            writing.submit(Record { time: SystemTime::now(), ..record() });
            std::thread::yield_now();
        }
    });
    while !writer.is_finished() {
        let report = verify(home.path(), VerifyOptions::default(), |_| {}).unwrap();
        // The first lines may not be there yet.
        let is_ok = report.verdict() == Verdict::Ok || report.vouched_seq.is_none();
        assert!(is_ok && report.problems.is_empty(), "{report:?}");
    }
    writer.join().unwrap();
    trail.close().unwrap();
}
