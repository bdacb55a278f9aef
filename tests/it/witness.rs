//! The trail's log before a witness of another make: the server of the crate `siglog`.
//!
//! `SIGLOG_WITNESS_BIN` names its program; `.ci/run` installs it. Its signature is that of a note (type 0x01),
//! without a time.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pigello_gateway::{
    audit::{
        FleetLog, Settings, Trail, Verdict, VerifyOptions, WitnessSettings, verify,
        verify_fleet_log,
    },
    domain::{Span, VerifierKey},
};
use signed_note::{StandardVerifier, VerifierList};

use crate::support::skip;

/// The key of the first test of RFC 8032 §7.1, as a note's signer and as its verifier.
const SIGNER: &str =
    "PRIVATE+KEY+witness.test/siglog+6681c86f+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const VERIFIER: &str = "witness.test/siglog+6681c86f+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

/// The running server, which ends with the test.
struct Witness {
    child: Child,
    address: SocketAddr,
}

impl Witness {
    /// A witness of the log with that key; `None` if there is no program to start.
    fn start(home: &Path, log: &str) -> Option<Self> {
        let program = env::var_os("SIGLOG_WITNESS_BIN").map(PathBuf::from);
        let Some(program) = program.filter(|program| program.is_file()) else {
            skip("no siglog witness (set SIGLOG_WITNESS_BIN)");
            return None;
        };
        // It does not tell which port it took, so it gets one that was just free.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (origin, _) = log.split_once('+').unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("DATABASE_URL", format!("sqlite:{}/witness.db?mode=rwc", home.display()))
            .env("WITNESS_PRIVATE_KEY", SIGNER)
            .env("WITNESS_LOGS", format!("{origin}={log}"))
            .env("LISTEN_ADDR", address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut witness = Self { child, address };
        until("the witness listens", || {
            assert_eq!(witness.child.try_wait().unwrap(), None, "it ended");
            TcpStream::connect(address).is_ok()
        });
        Some(witness)
    }

    fn settings(&self) -> WitnessSettings {
        let url = format!("http://{}", self.address).parse().unwrap();
        WitnessSettings { url, key: VERIFIER.parse().unwrap() }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// The files of a trail but the one with the name of its chain, which no copy keeps.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target)?;
        } else if !path.ends_with("chain.json") {
            fs::copy(&path, target)?;
        }
    }
    Ok(())
}

fn is_cosigned(home: &Path) -> bool {
    let bytes = fs::read(home.join("tlog/checkpoint")).unwrap();
    let note = signed_note::Note::from_bytes(&bytes).unwrap();
    let verifiers = [VERIFIER.to_owned(), fs::read_to_string(home.join("tlog/key")).unwrap()]
        .map(|key| Box::new(StandardVerifier::new(key.trim_end()).unwrap()) as Box<_>);
    note.verify(&VerifierList::new(verifiers.into())).unwrap().0.len() == 2
}

#[test]
fn a_foreign_witness_cosigns_the_trail_and_refuses_another_history_of_it() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home.path();
    // Idle checkpoints make the lines.
    let settings = Settings {
        checkpoint_interval: Span(Duration::from_millis(20)),
        sync_interval: Duration::from_millis(1),
        ..Settings::new(home)
    };
    Trail::open(&settings).unwrap().close().unwrap();
    let key = fs::read_to_string(home.join("tlog/key")).unwrap();
    let Some(witness) = Witness::start(elsewhere.path(), key.trim_end()) else { return };
    let settings = Settings { witnesses: vec![witness.settings()], ..settings };

    let trail = Trail::open(&settings).unwrap();
    until("the witness cosigns", || trail.stats().witnesses[0].size > 20);
    trail.close().unwrap();
    assert!(is_cosigned(home));
    let backup = elsewhere.path().join("backup");
    copy(home, &backup).unwrap();
    let trail = Trail::open(&settings).unwrap();
    until("it goes on after a restart", || trail.stats().witnesses[0].size > 60);
    trail.close().unwrap();
    let witnesses: Vec<VerifierKey> = vec![VERIFIER.parse().unwrap()];
    let options = VerifyOptions { witnesses, ..VerifyOptions::default() };
    assert_eq!(verify(home, options, |_| {}).unwrap().verdict(), Verdict::Ok);

    // Rolled back under the same name, and then longer than before with other lines.
    for entry in fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if !path.ends_with("chain.json") {
            fs::remove_file(path).unwrap();
        }
    }
    copy(&backup, home).unwrap();
    let trail = Trail::open(&settings).unwrap();
    let chain = trail.stats().chain.unwrap();
    assert!(key.contains(&chain), "the chain is the same");
    until("the witness contradicts", || trail.stats().witnesses[0].contradicts);
    until("the trail is longer than before", || trail.stats().last_seq > 150);
    let stats = trail.stats().witnesses;
    assert!(stats[0].contradicts && stats[0].size == 0, "{stats:?}");
    assert_eq!(trail.admit(), Ok(()), "calls go on");
    trail.close().unwrap();
    assert!(!is_cosigned(home));
}

#[test]
fn a_foreign_witness_cosigns_the_fleet_log() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = Settings {
        checkpoint_interval: Span(Duration::from_millis(20)),
        sync_interval: Duration::from_millis(1),
        ..Settings::new(home.path())
    };
    FleetLog::open(&hub).unwrap().close().unwrap();
    let folder = FleetLog::folder(home.path());
    let key = fs::read_to_string(folder.join("tlog/key")).unwrap();
    let Some(witness) = Witness::start(elsewhere.path(), key.trim_end()) else { return };
    let hub = Settings { witnesses: vec![witness.settings()], ..hub };
    let log = FleetLog::open(&hub).unwrap();
    until("the witness cosigns", || log.status().witnesses[0].size > 20);
    log.close().unwrap();
    assert!(is_cosigned(&folder));
    let options =
        VerifyOptions { witnesses: vec![VERIFIER.parse().unwrap()], ..VerifyOptions::default() };
    let report = verify_fleet_log(&folder, options).unwrap();
    assert_eq!(report.verdict(), Verdict::Ok, "{:?}", report.log);
    assert_eq!(report.log.witnesses, ["witness.test/siglog"]);
}
