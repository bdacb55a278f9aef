use std::{fs, sync::Arc};

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    audit::{
        FindingKind, FleetLogReport, SigningKey, TrailDoubtKind, TrailProblemKind, Verdict,
        VerifyOptions, VerifyReport,
        chain::Hash,
        testing::{eventually, record},
        tlog::Head,
        verify, verify_fleet_log,
    },
    domain::Span,
    fleet::{Record, Role, TrailHead},
};

/// What a gateway tells after its trail was changed.
type Change = fn(&Gateway) -> Seen;

const SECOND: Duration = Duration::from_secs(1);
const CHAIN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// A process that tells of its trail, which has this key.
#[derive(Clone)]
struct Gateway {
    process: Uuid,
    started: Timestamp,
    chain: &'static str,
    key: Arc<SigningKey>,
}

fn key() -> Arc<SigningKey> {
    let home = tempfile::tempdir().unwrap();
    Arc::new(SigningKey::open(&home.path().join("key"), home.path()).unwrap())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

impl Gateway {
    fn new(chain: &'static str) -> Self {
        Self { process: Uuid::new_v4(), started: at(1000), chain, key: key() }
    }

    /// The process that takes over from it.
    fn restarted(&self) -> Self {
        let started = self.started + SECOND;
        Self { process: Uuid::new_v4(), started, ..self.clone() }
    }

    /// Its record with a head over so many lines.
    fn tells(&self, written: u64, size: u64) -> Seen {
        self.tells_other(written, size, "as they were")
    }

    fn tells_other(&self, written: u64, size: u64, lines: &str) -> Seen {
        let root = Hash::of(format!("{size} {lines}").as_bytes());
        let origin = format!("a.test/{}", self.chain);
        let key = self.key.public().verifier_key(&origin);
        let trail = TrailHead {
            chain: Some(self.chain.to_owned()),
            seq: size,
            hash: String::new(),
            note: Some(Head { origin, size, root }.sign(&self.key)),
            key: Some(key.to_string()),
            interval_ms: 20_000,
            ended: false,
        };
        seen(self.process, written, self.started, trail)
    }

    fn ends(&self, written: u64, size: u64) -> Seen {
        let mut seen = self.tells(written, size);
        seen.record.trail.as_mut().unwrap().ended = true;
        seen
    }
}

fn seen(process: Uuid, written: u64, started: Timestamp, trail: TrailHead) -> Seen {
    let record = Record {
        instance: "pod-1".to_owned(),
        role: Role::Member,
        version: "1.0.0".to_owned(),
        configuration: "a".to_owned(),
        started,
        trail: Some(trail),
        event_log: "off".to_owned(),
        credentials: Vec::new(),
        more: 0,
    };
    let differs = Vec::new();
    Seen { process, is_self: false, seen_seconds: 0, written, differs, record }
}

/// Observes records, each reading that long after the one before, and returns what was logged.
fn observe(chains: &mut Chains, readings: &[&[Seen]], passed: Duration) -> Vec<Entry> {
    readings.iter().flat_map(|seen| chains.observe(seen, passed, at(2000))).collect()
}

fn found(chains: &Chains) -> Vec<FindingKind> {
    chains.findings().map(|finding| finding.kind).collect()
}

#[test]
fn a_trail_that_grows_and_ends_is_as_it_should_be() {
    let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
    let two = one.restarted();
    let readings: [&[Seen]; 5] = [
        &[one.tells(1, 10)],
        &[one.tells(2, 20)],
        // Read at once: the end of the first, and the next process.
        &[two.tells(4, 31), one.ends(3, 30)],
        &[two.tells(5, 31)],
        &[two.ends(6, 40)],
    ];
    let logged = observe(&mut chains, &readings, SECOND);
    assert_eq!(found(&chains), []);
    let sizes = logged.iter().map(|entry| match entry {
        Entry::Head(head) => (head.size, head.ended),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(10, false), (20, false), (30, true), (31, false), (40, true)]
    );
    observe(&mut chains, &[&[]], 1000 * SECOND);
    assert_eq!(found(&chains), [], "it has ended");
}

#[test]
fn one_that_is_killed_is_silent_until_it_is_heard_of_again() {
    let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
    observe(&mut chains, &[&[one.tells(1, 10)], &[one.tells(1, 10)]], 30 * SECOND);
    assert_eq!(found(&chains), [], "three intervals are not over");
    let logged = observe(&mut chains, &[&[]], 31 * SECOND);
    assert_eq!(found(&chains), [FindingKind::Silent]);
    assert_eq!(logged.len(), 1, "once: {logged:?}");
    assert_eq!(observe(&mut chains, &[&[]], 1000 * SECOND), []);
    let two = one.restarted();
    observe(&mut chains, &[&[two.tells(2, 11)]], SECOND);
    assert_eq!(found(&chains), []);
    // It goes on telling, and its trail does not grow any more.
    observe(&mut chains, &[&[two.tells(3, 11)], &[two.tells(4, 11)]], 31 * SECOND);
    assert_eq!(found(&chains), [FindingKind::Silent]);
    assert_eq!(chains.acknowledge(CHAIN), 1);
    observe(&mut chains, &[&[]], 1000 * SECOND);
    assert_eq!(found(&chains), [], "an operator knows");
    observe(&mut chains, &[&[two.tells(9, 12)], &[]], 1000 * SECOND);
    assert_eq!(found(&chains), [FindingKind::Silent], "and it was heard of since");
}

#[test]
fn a_trail_that_is_not_what_it_was_stays_found_until_somebody_knows() {
    let other_key = |one: &Gateway| Gateway { key: key(), ..one.restarted() };
    let changes: [(FindingKind, Change); 2] = [
        (FindingKind::Shorter, |one| one.restarted().tells(2, 9)),
        (FindingKind::Rewritten, |one| one.restarted().tells_other(2, 10, "others")),
    ];
    for (kind, change) in changes {
        let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
        let changed = change(&one);
        observe(&mut chains, &[&[one.tells(1, 10)]], SECOND);
        let logged = observe(&mut chains, &[std::slice::from_ref(&changed)], SECOND);
        assert_eq!(found(&chains), [kind], "{logged:?}");
        let finding = chains.findings().next().unwrap();
        assert_eq!((finding.size, finding.last_seq), (10, 10), "{kind:?}");
        // It does not go away because the trail grows.
        let later = Gateway { process: changed.process, ..one.restarted() };
        observe(&mut chains, &[&[later.tells(3, 12)]], SECOND);
        assert_eq!(found(&chains), [kind]);
        assert_eq!(chains.acknowledge(CHAIN), 1);
        observe(&mut chains, &[&[later.tells(4, 5)], &[later.tells(5, 6)]], SECOND);
        assert_eq!(found(&chains), [], "what it has now counts");
    }
    let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
    observe(&mut chains, &[&[one.tells(1, 10)], &[other_key(&one).tells(2, 11)]], SECOND);
    assert_eq!(found(&chains), [FindingKind::OtherKey]);
    assert_eq!(chains.acknowledge(OTHER), 0);
}

#[test]
fn two_that_continue_one_chain_are_found_and_a_restart_is_none() {
    let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
    let (two, three) = (one.restarted(), one.restarted().restarted());
    let restarts: [&[Seen]; 4] = [
        &[one.tells(1, 10)],
        // The record of a process that was killed is there for thirty seconds.
        &[one.tells(1, 10), two.tells(2, 11)],
        &[one.tells(1, 10), two.tells(3, 12), three.tells(4, 13)],
        &[one.tells(1, 10), three.tells(5, 14)],
    ];
    observe(&mut chains, &restarts, SECOND);
    assert_eq!(found(&chains), []);
    observe(&mut chains, &[&[two.tells(6, 13), three.tells(5, 14)]], SECOND);
    assert_eq!(found(&chains), [FindingKind::Cloned]);
}

#[test]
fn old_records_and_forged_heads_find_nothing() {
    let (mut chains, one) = (Chains::default(), Gateway::new(CHAIN));
    let two = one.restarted();
    observe(&mut chains, &[&[one.tells(1, 10)], &[two.tells(3, 20)]], SECOND);
    // Whoever runs the store shows what was told before.
    observe(&mut chains, &[&[two.tells(4, 15)], &[one.tells(5, 10)]], SECOND);
    let stranger = Gateway::new(OTHER);
    let forge = |change: fn(&mut TrailHead)| {
        let mut seen = stranger.tells(1, 10);
        change(seen.record.trail.as_mut().unwrap());
        seen
    };
    let forged = [
        forge(|trail| trail.note = None),
        forge(|trail| trail.key = None),
        forge(|trail| trail.key = Some("no key".to_owned())),
        forge(|trail| trail.note = Some(trail.note.clone().unwrap().replace("\n10\n", "\n11\n"))),
        forge(|trail| trail.note = Some("x".repeat(2000))),
        forge(|trail| trail.seq = 9),
        Gateway { chain: "../../chain", ..stranger.clone() }.tells(1, 10),
        stranger.tells(1, 0),
    ];
    assert_eq!(observe(&mut chains, &[&forged], SECOND), []);
    assert_eq!((found(&chains), chains.len()), (Vec::new(), 1));
}

#[test]
fn a_large_fleet_logs_two_heads_a_second() {
    let chains_of: Vec<_> = (0..100_u128).map(|n| format!("{n:032x}").leak() as &str).collect();
    let gateways: Vec<_> = chains_of.iter().map(|chain| Gateway::new(chain)).collect();
    let mut chains = Chains::default();
    let mut count = 0;
    for reading in 1..=21 {
        let seen: Vec<_> = gateways.iter().map(|one| one.tells(reading, 10 * reading)).collect();
        count += chains.observe(&seen, 5 * SECOND, at(2000)).len();
    }
    assert_eq!(count, 300, "the first of each, and one each in 50 s");
    assert_eq!(chains.last_heads().len(), 0);
}

/// A hub and a gateway with trails in folders.
struct Scene {
    trail: TempDir,
    hub: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { trail: tempfile::tempdir().unwrap(), hub: tempfile::tempdir().unwrap() }
    }

    fn settings(&self) -> Settings {
        Settings {
            checkpoint_interval: Span(Duration::from_millis(20)),
            sync_interval: Duration::from_millis(1),
            instance: Some("pod-1".to_owned()),
            ..Settings::new(self.trail.path())
        }
    }

    /// Runs the gateway for some calls, and has the hub see how it begins and ends.
    fn run(&self, log: &FleetLog, calls: u64) {
        let (process, started) = (Uuid::new_v4(), Timestamp::now());
        let trail = Trail::open(&self.settings()).unwrap();
        let first = trail.stats().last_seq;
        eventually("a head", || trail.head().is_some_and(|head| head.seq > first));
        log.observe(&[seen(process, 1, started, trail.head().unwrap())], SECOND);
        for _ in 0..calls {
            trail.submit(record());
        }
        trail.clone().close().unwrap();
        let head = trail.head().unwrap();
        assert!(head.ended, "{head:?}");
        log.observe(&[seen(process, 2, started, head)], SECOND);
    }

    fn log(&self) -> FleetLog {
        let hub = Settings::new(self.hub.path());
        let log = FleetLog::open(&hub).unwrap();
        log.read_back().unwrap();
        log
    }

    fn told(&self) -> FleetLogReport {
        let folder = FleetLog::folder(self.hub.path());
        verify_fleet_log(&folder, VerifyOptions::default()).unwrap()
    }

    /// The trail, held against the fleet log.
    fn check(&self) -> VerifyReport {
        let told = Some(self.told().chains);
        let options = VerifyOptions { told, ..VerifyOptions::default() };
        verify(self.trail.path(), options, |_| {}).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.ends_with("chain.json") {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// Takes everything away but the name of the chain, which no copy keeps.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if !path.ends_with("chain.json") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn the_log_is_a_trail_and_every_trail_is_held_against_it() {
    let scene = Scene::new();
    let log = scene.log();
    scene.run(&log, 3);
    scene.run(&log, 3);
    assert!(log.findings().is_empty());
    log.close().unwrap();
    let told = scene.told();
    assert_eq!(told.verdict(), Verdict::Ok, "{:?} {:?}", told.log.problems, told.log.doubts);
    let [chain] = &told.chains[..] else { panic!("{:?}", told.chains) };
    assert_eq!((&*chain.instance, chain.ended), ("pod-1", true));
    let report = scene.check();
    assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
    let heads = report.told.unwrap();
    assert_eq!((heads.compared, heads.agreed), (chain.count(), chain.count()));
    assert_eq!(heads.last_agreed, Some(chain.last_seq));
    assert_eq!(report.last_seq, Some(chain.last_seq + 1), "its checkpoint");
    let origin = fs::read_to_string(FleetLog::folder(scene.hub.path()).join("tlog/key")).unwrap();
    assert!(origin.starts_with("pigello-gateway/fleet/"), "{origin}");
}

#[test]
fn a_trail_that_was_put_back_is_found_and_what_is_lost_is_told() {
    let scene = Scene::new();
    let backup = tempfile::tempdir().unwrap();
    let log = scene.log();
    scene.run(&log, 3);
    copy(scene.trail.path(), backup.path());
    scene.run(&log, 20);
    log.close().unwrap();
    let last = scene.told().chains[0].last_seq;
    clear(scene.trail.path());
    copy(backup.path(), scene.trail.path());
    let report = scene.check();
    let end = report.last_seq.unwrap();
    let lost = |kind: &TrailProblemKind| matches!(kind, TrailProblemKind::Lost { from, to, .. } if (*from, *to) == (end + 1, last));
    assert!(report.problems.iter().any(|problem| lost(&problem.kind)), "{:?}", report.problems);
    assert_eq!(report.verdict(), Verdict::Wrong);

    // It goes on from there under the same name, which the hub sees, also one that has started again since.
    let log = scene.log();
    scene.run(&log, 0);
    let kinds: Vec<_> = log.findings().iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::Shorter]);
    log.close().unwrap();
    let again = scene.log();
    assert_eq!(again.findings(), log.findings());
    // And it becomes longer than it was, with other lines.
    let trail = Trail::open(&scene.settings()).unwrap();
    eventually("it is longer", || trail.stats().last_seq > last + 5);
    trail.close().unwrap();
    let report = scene.check();
    let is_rewrite = |kind: &TrailProblemKind| matches!(kind, TrailProblemKind::NotAsTold { after } if (1..=end).contains(after));
    assert!(report.problems.iter().any(|it| is_rewrite(&it.kind)), "{:?}", report.problems);
    assert_eq!(again.acknowledge(&again.findings()[0].chain), 1);
    again.close().unwrap();
    assert!(scene.log().findings().is_empty(), "the log says that somebody knows");
    assert_eq!(scene.told().chains[0].findings.len(), 1, "and what was found");
}

#[test]
fn a_trail_that_is_gone_is_known_up_to_its_last_head() {
    let scene = Scene::new();
    let log = scene.log();
    scene.run(&log, 3);
    log.close().unwrap();
    let last = scene.told().chains[0].last_seq;
    fs::remove_dir_all(scene.trail.path()).unwrap();
    let trail = Trail::open(&scene.settings()).unwrap();
    eventually("as many lines as before", || trail.stats().last_seq > last);
    trail.close().unwrap();
    let doubts: Vec<_> = scene.check().doubts.into_iter().map(|doubt| doubt.kind).collect();
    let of_chain = |kind: &TrailDoubtKind| matches!(kind, TrailDoubtKind::ToldNotCompared { to, .. } if *to == last);
    assert!(doubts.iter().any(of_chain) && doubts.contains(&TrailDoubtKind::Untold), "{doubts:?}");
}

#[test]
fn a_fleet_log_that_is_altered_is_wrong() {
    let scene = Scene::new();
    let log = scene.log();
    scene.run(&log, 3);
    log.close().unwrap();
    let folder = FleetLog::folder(scene.hub.path());
    let file = &files(&folder).unwrap()[0].path;
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("\"pod-1\"", "\"pod-2\"", 1)).unwrap();
    assert_eq!(scene.told().verdict(), Verdict::Wrong);
}
