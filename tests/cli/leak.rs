//! A canary instead of the secret, driven through the program: it is found nowhere.

use std::{fmt::Write as _, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pigello_gateway::mock::EXAMPLE_SUBTENANT;
use rustix::process::Signal;

use crate::program::{Place, Running, get, output, over_tcp};

const CANARY: &str = "canary-41c7e09b5d/made+up=secret";
const ROTATED: &str = "canary-8f02d6a17e/made+up=secret";

/// The forms in which a secret could turn up: as it is, and as pages, logs and URLs would write it.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut hex = String::new();
    bytes.iter().try_for_each(|byte| write!(hex, "{byte:02x}")).unwrap();
    let percent: String = bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let unpadded = BASE64_STANDARD.encode(bytes);
    let (_, tail) = secret.split_at(secret.len() / 2);
    [secret, &hex, &percent, unpadded.trim_end_matches('='), &secret.replace('/', "\\/"), tail]
        .iter()
        .map(|form| form.as_bytes().to_vec())
        .collect()
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for secret in [CANARY, ROTATED] {
        for form in forms(secret) {
            let found = bytes.windows(form.len()).any(|window| window == form);
            assert!(!found, "{what} holds {:?}", String::from_utf8_lossy(&form));
        }
    }
}

fn assert_folder_is_clean(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_folder_is_clean(&path);
        } else {
            assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_secret_is_in_nothing_that_leaves_the_process() {
    let place = Place::accepting_anything("[telemetry]\nlog_level = \"trace\"\n");
    fs::write(place.path("credentials/client_secret"), CANARY).unwrap();
    let config = place.config();
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &config], log.into());
    let address = gateway.address_of("tcp");
    let admin = gateway.address_of("admin");
    while !over_tcp(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}

    let subtenant = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let with = |field: &str| {
        format!(
            "GET {subtenant} HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"
        )
    };
    let mut answers = vec![over_tcp(&address, &get(&subtenant))];
    // Upstreams that echo what they got, fail, and break off; callers that probe.
    for fault in ["echo=everything", "status=401", "status=500", "cut-body", "close-unanswered"] {
        let fault = format!("X-Mock-Fault: {fault}\r\nCache-Control: no-cache");
        answers.push(over_tcp(&address, &with(&fault)));
    }
    answers.push(over_tcp(&address, &with("X-PIGELLO-CLIENT-SECRET: forged")));
    answers.push(over_tcp(&address, &get("/nowhere/")));
    answers.push(over_tcp(&address, "NONSENSE\r\n\r\n"));
    for page in ["/status", "/metrics", "/readyz", "/livez", "/nothing"] {
        answers.push(over_tcp(&admin, &get(page)));
    }
    for command in ["check", "config show"] {
        let arguments: Vec<_> = command.split(' ').chain(["--config", config.as_str()]).collect();
        let (_, out, errors) = output(&arguments);
        answers.push(out + &errors);
    }
    for answer in &answers {
        assert_clean("an answer", answer.as_bytes());
    }
    let process = format!("/proc/{}", gateway.id());
    for file in ["cmdline", "environ"] {
        if let Ok(bytes) = fs::read(format!("{process}/{file}")) {
            assert_clean(file, &bytes);
        }
    }

    fs::write(place.path("credentials/client_secret"), ROTATED).unwrap();
    gateway.signal(Signal::HUP);
    while !over_tcp(&admin, &get("/status")).contains("\"rotations\":1") {}
    over_tcp(&address, &get("/accounts/users/customer/tenant/list/"));
    assert_eq!(gateway.end().0, Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("ended"), "the log is at its most talkative");
    assert_clean("the log", log.as_bytes());
    assert_folder_is_clean(&place.path("audit"));
}

#[test]
fn a_broken_credential_file_is_told_without_its_text() {
    let place = Place::accepting_anything("");
    fs::write(place.path("credentials/client_secret"), format!("{CANARY}\n{ROTATED}\n")).unwrap();
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(out.contains("client_secret"), "{out}");
    assert_clean("the output", (out + &errors).as_bytes());
}
