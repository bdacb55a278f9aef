//! Kills a process that writes an audit trail, at random moments, and checks the trail.
//!
//! The process is this test binary, which runs [`writes_until_it_is_killed`].

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    ops::ControlFlow,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode};
use pigello_gateway::{
    audit::{
        Durability, Intent, Outcome, ReadItem, Record, Settings, Trail, TrailReadError, Verdict,
        VerifyOptions, VerifyReport, files, read_through, verify,
    },
    domain::{ByteSize, ListenerName, PolicyId, ProfileName, RequestId},
};
use serde_json::Value;

const DIRECTORY: &str = "TRAIL_CRASH_DIRECTORY";
const SYNCED: &str = "TRAIL_CRASH_SYNCED";
const ROUNDS: usize = 25;

/// Does nothing unless another test starts it in a process of its own.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent passes the directory by the environment")]
fn writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let synced = std::env::var_os(SYNCED).is_some();
    let durability = if synced { Durability::Synced } else { Durability::Batched };
    let settings = Settings {
        durability,
        segment_bytes: ByteSize(30_000),
        ..Settings::new(Path::new(&directory))
    };
    let trail = Trail::open(&settings).unwrap();
    // Wait until the `start` line is on disk.
    while trail.stats().written == 0 || trail.stats().synced_seq < trail.stats().last_seq {
        std::thread::yield_now();
    }
    print("began", "");
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let trail = trail.clone();
            std::thread::spawn(move || {
                while if synced { synced_call(&trail) } else { batched_call(&trail) } {}
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}

/// Returns whether the parent still reads.
fn batched_call(trail: &Trail) -> bool {
    let record = record();
    let id = record.request_id.to_string();
    trail.submit(record);
    std::thread::sleep(Duration::from_micros(300));
    print("written", &trail.stats().last_seq.to_string()) && print("answered", &id)
}

/// Returns whether the parent still reads.
fn synced_call(trail: &Trail) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let record = record();
        let id = record.request_id.to_string();
        trail.intent(intent(&record)).await.unwrap();
        print("sent", &id);
        trail.submit_synced(record).await.unwrap();
        print("answered", &id)
    })
}

/// One write per line, so that a killed process prints complete lines.
fn print(what: &str, id: &str) -> bool {
    std::io::stdout().write_all(format!("\n@ {what} {id}\n").as_bytes()).is_ok()
}

/// What the process printed before the kill.
#[derive(Default)]
struct Printed {
    sent: HashSet<String>,
    answered: HashSet<String>,
    /// The last line that the trail called written.
    written: u64,
}

fn record() -> Record {
    Record {
        time: SystemTime::now(),
        request_id: RequestId::fresh(),
        trace_id: 1,
        own: None,
        peer: None,
        refused_certificate: None,
        policy: PolicyId::default(),
        listener: ListenerName::new("sidecar"),
        caller: Some("billing".into()),
        caller_proof: None,
        profile: Some(ProfileName::new("production")),
        operation: Some("tenant.list".into()),
        method: Method::GET,
        target: "/accounts/users/customer/tenant/list/".parse().ok(),
        status: Some(StatusCode::OK),
        outcome: Outcome::Forwarded,
        cache: None,
        source_request_id: None,
        source_chain: None,
        upstream_status: Some(StatusCode::OK),
        upstream_tls: None,
        attempts: 1,
        retries: Vec::new(),
        credential_version: Some("7".into()),
        duration: Duration::from_millis(12),
        queue_time: Duration::ZERO,
        upstream_time: Some(Duration::from_millis(11)),
        request_bytes: 0,
        response_bytes: 2_048,
        error: None,
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

fn intent(record: &Record) -> Intent {
    Intent {
        time: record.time,
        request_id: record.request_id,
        caller: record.caller.clone(),
        profile: record.profile.clone().unwrap(),
        operation: record.operation.clone(),
        method: record.method.clone(),
        target: record.target.clone(),
    }
}

fn check(directory: &Path) -> VerifyReport {
    verify(directory, VerifyOptions::default(), |_| {}).unwrap()
}

fn start(directory: &Path, synced: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", "audit_kill::writes_until_it_is_killed"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if synced {
        command.env(SYNCED, "1");
    }
    command.spawn().unwrap()
}

fn kill_after(mut child: Child, time: Duration) -> Printed {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("@ began") {
        assert!(out.read_line(&mut text).unwrap() > 0, "the process did not start: {text}");
    }
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        rest
    });
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut printed = Printed::default();
    for line in reader.join().unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["@", "sent", id] => drop(printed.sent.insert(id.to_owned())),
            ["@", "answered", id] => drop(printed.answered.insert(id.to_owned())),
            ["@", "written", seq] => printed.written = printed.written.max(seq.parse().unwrap()),
            _ => {}
        }
    }
    printed
}

/// The request identifiers of all lines of a kind.
fn on_trail(directory: &Path, kind: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let head = format!("{{\"kind\":\"{kind}\"");
    read_through(&files(directory).unwrap(), |item| {
        if let ReadItem::Line(line) = item
            && line.starts_with(head.as_bytes())
        {
            let line: Value = serde_json::from_slice(line).unwrap();
            found.insert(line["request_id"].as_str().unwrap().to_owned());
        }
        Ok::<_, TrailReadError>(ControlFlow::Continue(()))
    })
    .unwrap();
    found
}

/// Irregular, and the same in every run.
fn delays() -> impl Iterator<Item = Duration> {
    (0..ROUNDS).map(|round| Duration::from_micros((round as u64 * 7_919) % 40_000))
}

#[test]
fn a_synced_trail_loses_no_answered_call_and_leaves_no_sent_call_without_an_intent() {
    let home = tempfile::tempdir().unwrap();
    let mut crashes = 0;
    let (mut sent, mut answered) = (HashSet::new(), HashSet::new());
    for time in delays() {
        let printed = kill_after(start(home.path(), true), time);
        let report = check(home.path());
        assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
        crashes += 1;
        sent.extend(printed.sent);
        answered.extend(printed.answered);
    }
    Trail::open(&Settings::new(home.path())).unwrap().close().unwrap();

    let report = check(home.path());
    assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
    assert_eq!(report.crashes, crashes);
    let (calls, intents) = (on_trail(home.path(), "call"), on_trail(home.path(), "intent"));
    let unknown = on_trail(home.path(), "unknown");
    assert!(answered.len() > ROUNDS, "{} answered calls", answered.len());
    assert_eq!(answered.difference(&calls).next(), None, "an answered call is missing");
    assert_eq!(sent.difference(&intents).next(), None, "a sent call has no intent");
    let open: HashSet<_> = intents.difference(&calls).cloned().collect();
    assert_eq!(open, unknown, "every unfinished call is named, and no other");
}

/// How old the oldest lost record may be is measured by the bench `endurance -- kill`.
#[test]
fn a_batched_trail_loses_nothing_that_the_kernel_had() {
    let home = tempfile::tempdir().unwrap();
    let (mut answered, mut kept) = (0, 0);
    for time in delays() {
        let printed = kill_after(start(home.path(), false), time * 3);
        let report = check(home.path());
        assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
        assert!(report.last_seq.unwrap() >= printed.written, "{} {report:?}", printed.written);
        kept += printed.answered.intersection(&on_trail(home.path(), "call")).count();
        answered += printed.answered.len();
    }
    Trail::open(&Settings::new(home.path())).unwrap().close().unwrap();
    let report = check(home.path());
    assert_eq!((report.verdict(), report.crashes), (Verdict::Ok, ROUNDS as u64), "{report:?}");
    assert!(answered > ROUNDS && kept > ROUNDS, "{kept} of {answered} calls");
}

#[test]
fn a_killed_trail_opens_again_at_once() {
    let home = tempfile::tempdir().unwrap();
    kill_after(start(home.path(), false), Duration::from_millis(100));
    let began = Instant::now();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    trail.submit(record());
    trail.close().unwrap();
    assert_eq!(check(home.path()).crashes, 1);
}
