//! What a signal does to a serving gateway, and a limit on the size of files.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::program::{Place, Running, exchange, get, output};

const LIST: &str = "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10";

/// A gateway that is ready, and the address of its TCP listener.
fn ready(place: &Place) -> (Running, String, String) {
    ready_logging(place, Stdio::null())
}

fn ready_logging(place: &Place, log: Stdio) -> (Running, String, String) {
    let config = place.config();
    let mut gateway = Running::start_logging(&["serve", "--config", &config], log);
    let address = gateway.address_of("tcp");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    (gateway, address, admin)
}

fn status(address: &str) -> String {
    exchange(address, &get(LIST)).split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn a_signal_without_a_meaning_changes_nothing() {
    let place = Place::new("");
    let (gateway, address, _) = ready(&place);
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::STKFLT,
        Signal::XCPU,
        Signal::XFSZ,
        Signal::PIPE,
        Signal::WINCH,
        Signal::URG,
        Signal::CHILD,
        Signal::CONT,
        Signal::HUP,
    ] {
        gateway.signal(signal);
        gateway.signal(signal);
        assert_eq!(status(&address), "200", "{signal:?}");
    }
    // The real-time signals but for the last one.
    for number in 34..64 {
        let kill = format!("kill -{number} {}", gateway.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
    assert_eq!(status(&address), "200");
    // Job control stops the process as any other, and it goes on.
    gateway.signal(Signal::TSTP);
    gateway.signal(Signal::CONT);
    assert_eq!(status(&address), "200");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn each_end_signal_drains_also_when_other_signals_come_meanwhile() {
    for end in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let place = Place::with_mock("[cache]\nenabled = false\n", &["--latency", "1s"]);
        let log = fs::File::create(place.path("log")).unwrap();
        let (gateway, address, admin) = ready_logging(&place, log.into());
        let call = std::thread::spawn(move || status(&address));
        while !exchange(&admin, &get("/metrics")).contains("pigello_gateway_in_flight_calls 1") {}
        gateway.signal(end);
        // Signals have no order among each other.
        while !fs::read_to_string(place.path("log")).unwrap().contains("draining") {}
        for signal in [Signal::HUP, Signal::USR1, Signal::ALARM, Signal::HUP] {
            gateway.signal(signal);
        }
        assert_eq!(call.join().unwrap(), "200", "{end:?}");
        assert_eq!(gateway.wait().code(), Some(0), "{end:?}");
        let log = fs::read_to_string(place.path("log")).unwrap();
        assert!(log.contains("is not reloaded: the gateway is ending"), "{log}");
        assert!(!log.contains("ERROR") && !log.contains("stay in use"), "{log}");
    }
}

/// `ulimit -f`, or `LimitFSIZE=` of a unit: like a full disk.
#[test]
fn a_limit_on_the_size_of_files_is_a_failed_write_and_ends_with_the_limit() {
    for (keys, meanwhile) in [("", "503"), ("on_failure = \"continue\"\n", "200")] {
        let place = Place::new(keys);
        let (gateway, address, admin) = ready(&place);
        let process = Pid::from_raw(i32::try_from(gateway.id()).unwrap());
        let limit = |bytes: Option<u64>| {
            let wanted = Rlimit { current: bytes, maximum: None };
            prlimit(process, Resource::Fsize, wanted).unwrap();
        };
        let trail = || {
            let files = fs::read_dir(place.path("audit")).unwrap().map(|file| file.unwrap());
            let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(".jsonl"));
            files.map(|file| file.metadata().unwrap().len()).max().unwrap()
        };
        let writable = || exchange(&admin, &get("/status")).contains("\"writable\":true");
        limit(Some(trail() + 2000));
        while writable() {
            status(&address);
        }
        let answer = exchange(&address, &get(LIST));
        assert_eq!(answer.split(' ').nth(1), Some(meanwhile), "{answer}");
        assert_eq!(answer.contains("audit_unavailable"), meanwhile == "503", "{answer}");
        limit(None);
        while !writable() {}
        while status(&address) != "200" {}
        assert_eq!(gateway.end().0, Some(0));
        let (code, out, errors) = output(&["audit", "verify", "--config", &place.config()]);
        assert_eq!(code, Some(0), "{out}{errors}");
    }
}

/// From the first moment of the process to the last: no hangup ends it.
#[test]
fn a_hangup_reaches_a_gateway_that_is_not_ready_yet() {
    let place = Place::new("");
    let config = place.config();
    // The vault's place is taken by a pipe that nobody writes to: the first read of the credentials waits.
    let secret = place.path("credentials/client_secret");
    let kept = fs::read(&secret).unwrap();
    fs::remove_file(&secret).unwrap();
    let mut gateway = Running::start(&["serve", "--config", &config]);
    let status = || fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let catches = |signal: Signal| {
        let status = status();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        caught & (1 << (signal.as_raw() - 1)) != 0
    };
    while !catches(Signal::HUP) {}
    for signal in [Signal::HUP, Signal::XFSZ] {
        gateway.signal(signal);
    }
    fs::write(&secret, kept).unwrap();
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    assert_eq!(gateway.end().0, Some(0));
}

/// A terminal that is closed: what has nothing to reload ends, and leaves nothing behind.
#[test]
fn a_hangup_ends_the_demo_and_the_mock() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
    demo.args(["demo", "--keep-running"]).env("TMPDIR", folder.path()).stderr(Stdio::null());
    let mut demo = Running::of(&mut demo);
    demo.line_with("curl -i http://");
    demo.signal(Signal::USR1);
    demo.signal(Signal::HUP);
    demo.line_with("Everything is removed again");
    assert!(demo.wait().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let mut mock = Running::start(&["mock-upstream", "--listen", "127.0.0.1:0"]);
    mock.origin();
    mock.signal(Signal::HUP);
    assert_eq!(mock.wait().code(), Some(0));
}

/// Standard output as a pipe whose reader has left, as in `config show | head -0`.
#[test]
fn a_reader_that_leaves_is_no_error_and_no_answer_is_lost() {
    let place = Place::new("");
    let config = place.config();
    let usual = [
        (&["config", "show", "--json", "--config", &config][..], 0),
        (&["config", "show", "--config", &config], 0),
        (&["config", "schema"], 0),
        (&["check", "--config", &config], 0),
        (&["explain", "GET", LIST, "--config", &config], 0),
        (&["completions", "bash"], 0),
        (&["man"], 0),
        (&["--help"], 0),
        (&["--version"], 0),
        // Its exit code is the answer, whoever reads what it prints.
        (&["check", "--online", "--no-call", "--config", "/nonexistent.toml"], 2),
    ];
    for (arguments, code) in usual {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}: {errors}");
        assert!(code != 0 || errors.is_empty(), "{arguments:?}: {errors}");
    }
}
