//! Kills a process that writes a trail, at random moments, and looks at what it left.
//!
//! The process is this test binary itself, asked to run [`victim`].

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    Durability, Found, Intent, Settings, Trail, files, line, read_through,
    testing::{check, record},
};
use crate::domain::ByteSize;

const DIRECTORY: &str = "TRAIL_CRASH_DIRECTORY";
const SYNCED: &str = "TRAIL_CRASH_SYNCED";
const ROUNDS: usize = 25;

/// Runs only in a process of its own, until it is killed.
#[test]
#[ignore = "is run by the other tests, in a process that they kill"]
#[expect(clippy::disallowed_methods, reason = "the parent has no other way to say where")]
fn victim() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let synced = std::env::var_os(SYNCED).is_some();
    let durability = if synced { Durability::Synced } else { Durability::Batched };
    let settings = Settings {
        durability,
        segment_bytes: ByteSize(30_000),
        ..Settings::new(Path::new(&directory))
    };
    let trail = Trail::open(&settings).unwrap();
    // Until the start is on the disk.
    while trail.stats().written == 0 || trail.stats().synced_seq < trail.stats().last_seq {
        std::thread::yield_now();
    }
    say("began", "");
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

/// Says whether anybody listens.
fn batched_call(trail: &Trail) -> bool {
    let record = record();
    let id = record.request_id.to_string();
    trail.submit(record);
    std::thread::sleep(Duration::from_micros(300));
    say("answered", &id)
}

/// Says whether anybody listens.
fn synced_call(trail: &Trail) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let record = record();
        let id = record.request_id.to_string();
        let intent = Intent {
            time: record.time,
            request_id: record.request_id,
            caller: record.caller.clone(),
            profile: record.profile.clone(),
            operation: record.operation.clone(),
            method: record.method.clone(),
            target: record.target.clone(),
        };
        trail.intent(intent).await.unwrap();
        say("sent", &id);
        trail.submit_synced(record).await.unwrap();
        say("answered", &id)
    })
}

/// One write, so that a killed process leaves whole lines.
fn say(what: &str, id: &str) -> bool {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    std::io::stdout().write_all(format!("\n@ {what} {now} {id}\n").as_bytes()).is_ok()
}

/// What the victim said before it was killed.
#[derive(Default)]
struct Said {
    sent: HashSet<String>,
    answered: Vec<(u64, String)>,
}

fn start(directory: &Path, synced: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "audit::crash::victim"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if synced {
        command.env(SYNCED, "1");
    }
    command.spawn().unwrap()
}

fn kill_after(mut child: Child, time: Duration) -> Said {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("@ began") {
        assert!(out.read_line(&mut text).unwrap() > 0, "the victim did not begin: {text}");
    }
    let reader = std::thread::spawn(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        rest
    });
    std::thread::sleep(time);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut said = Said::default();
    for line in reader.join().unwrap().lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["@", "sent", _, id] => drop(said.sent.insert(id.to_owned())),
            ["@", "answered", at, id] => {
                said.answered.push((at.parse().unwrap(), id.to_owned()));
            }
            _ => {}
        }
    }
    said
}

/// The identifiers on a trail, by the kind of line.
fn on_trail(directory: &Path, kind: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let files = files(directory).unwrap();
    read_through(&files, |what| {
        if let Found::Line(text) = what
            && let Some((_, id)) = line::request(text).filter(|(k, _)| k == kind)
        {
            found.insert(id.into_owned());
        }
        Ok::<_, super::ReadError>(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    found
}

/// Uneven, and the same every time.
fn moments() -> impl Iterator<Item = Duration> {
    (0..ROUNDS).map(|round| Duration::from_micros((round as u64 * 7_919) % 40_000))
}

#[test]
fn a_synced_trail_loses_no_answered_call_and_leaves_no_sent_call_without_an_intent() {
    let home = tempfile::tempdir().unwrap();
    let mut crashes = 0;
    let (mut sent, mut answered) = (HashSet::new(), HashSet::new());
    for time in moments() {
        let said = kill_after(start(home.path(), true), time);
        crashes += 1;
        sent.extend(said.sent);
        answered.extend(said.answered.into_iter().map(|(_, id)| id));
    }
    Trail::open(&Settings::new(home.path())).unwrap().close().unwrap();

    let report = check(home.path());
    assert_eq!(report.problems, []);
    assert_eq!(report.crashes, crashes);
    let (calls, intents) = (on_trail(home.path(), "call"), on_trail(home.path(), "intent"));
    let unknown = on_trail(home.path(), "unknown");
    assert!(answered.len() > ROUNDS, "{} answered calls", answered.len());
    assert_eq!(answered.difference(&calls).next(), None, "an answered call is missing");
    assert_eq!(sent.difference(&intents).next(), None, "a sent call has no intent");
    let open: HashSet<_> = intents.difference(&calls).cloned().collect();
    assert_eq!(open, unknown, "every unfinished call is named, and no other");
}

#[test]
fn a_batched_trail_loses_at_most_the_last_moments() {
    // The documented window is 20 ms; a machine with more to do than cores adds its own.
    const WINDOW: Duration = Duration::from_millis(250);
    let home = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for time in moments() {
        let said = kill_after(start(home.path(), false), time * 3);
        let calls = on_trail(home.path(), "call");
        let last = said.answered.iter().map(|(at, _)| *at).max().unwrap_or(0);
        for (at, id) in &said.answered {
            let age = Duration::from_micros(last - at);
            assert!(calls.contains(id) || age < WINDOW, "lost a record {age:?} old");
        }
        answered += said.answered.len();
    }
    Trail::open(&Settings::new(home.path())).unwrap().close().unwrap();
    let report = check(home.path());
    assert_eq!((report.problems, report.crashes), (vec![], ROUNDS as u64));
    assert!(answered > ROUNDS, "{answered} calls");
}

#[test]
fn a_gateway_that_was_killed_is_back_at_once() {
    let home = tempfile::tempdir().unwrap();
    kill_after(start(home.path(), false), Duration::from_millis(100));
    let began = Instant::now();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    trail.submit(record());
    trail.close().unwrap();
    assert_eq!(check(home.path()).crashes, 1);
}
