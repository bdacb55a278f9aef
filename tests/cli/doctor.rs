//! The likeliest mistakes, each met as a user meets it: what `check --online` says of it, and what the
//! caller is told meanwhile, is in `mistakes/`. What `serve` says of those that keep it from starting is in
//! `messages.rs`.
//!
//! `UPDATE_EXPECTED=1` writes these files anew. What differs from run to run is written as a word:
//! `DIR`, `PORT`, `TIME`, `N`.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pigello_mock::{Authority, EXAMPLE_SUBTENANT, MADE_UP_VALUES, MockPigello, Options};
use rustix::net::{self, AddressFamily, SocketType};
use tokio::runtime::Runtime;

use crate::{
    bao::Bao,
    docs::is_as_made,
    program::{Place, Running, exchange, get, output},
};

/// What a user reads must be as it was when somebody last judged it.
#[track_caller]
fn expect(mistake: &str, told: &str) {
    is_as_made(&format!("tests/cli/mistakes/{mistake}.txt"), told);
}

/// The failed steps of `check --online` and their hints, and what is on standard error.
fn complaints(place: &Place) -> String {
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(1), "{out}{errors}");
    for (name, value) in MADE_UP_VALUES {
        assert!(!name.is_secret() || !format!("{out}{errors}").contains(value));
    }
    let (_, online) = out.split_once("\nOnline\n").unwrap();
    let mut kept = String::new();
    let mut bad = false;
    for line in online.lines() {
        let step = ["✓", "!", "–", "✗"].iter().any(|mark| line.contains(mark));
        bad = if step { line.contains('✗') } else { bad };
        if bad {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            kept += &(line + "\n");
        }
    }
    plain(&(kept + &errors), &place.path("").display().to_string())
}

/// Without what differs from run to run, and without the log.
fn plain(text: &str, folder: &str) -> String {
    let said = text.lines().filter(|line| !line.starts_with('{'));
    let text = said.map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
    let text = text.replace(folder, "DIR/");
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(next) = rest.chars().next() {
        let timestamp = rest.get(..20).filter(|text| text.ends_with('Z') && digits(text) == 4);
        if timestamp.is_some() {
            plain.push_str("TIME");
            rest = &rest[20..];
            continue;
        }
        let count = digits(rest);
        if count > 0 {
            let port = plain.ends_with("127.0.0.1:") || plain.ends_with("localhost:");
            let port = port || plain.ends_with("sport = :");
            plain.push_str(match () {
                () if port => "PORT",
                () if count > 8 || rest[count..].starts_with(" ms") => "N",
                () => &rest[..count],
            });
            rest = &rest[count..];
            continue;
        }
        plain.push(next);
        rest = &rest[next.len_utf8()..];
    }
    plain
}

fn change(place: &Place, from: &str, to: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(text.contains(from), "{from} in\n{text}");
    fs::write(place.config(), text.replacen(from, to, 1)).unwrap();
}

/// The sentence and the type of a problem that a caller gets for a read.
fn problem(place: &Place) -> (String, String) {
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    let address = gateway.address_of("tcp");
    let target = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let answer = exchange(&address, &get(&target));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    let status = head.lines().next().unwrap();
    let text = |name: &str| problem[name].as_str().unwrap().to_owned();
    (format!("{status}\n{}\n{}\n", text("title"), text("detail")), text("type"))
}

#[test]
fn a_typo_in_a_key() {
    let place = Place::new("");
    change(&place, "address = \"127.0.0.1:0\"", "adress = \"127.0.0.1:0\"");
    let (code, _, errors) = output(&["check", "--config", &place.config()]);
    assert_eq!(code, Some(2), "{errors}");
    expect("typo-in-a-key", &plain(&errors, &place.path("").display().to_string()));
}

#[test]
fn an_event_log_that_is_not_there() {
    let place = Place::new("[notices]\nevent_log = \"poll\"\n");
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("it can be read; 0 events lately"), "{out}");
    change(&place, "event_log = \"poll\"", "event_log = \"poll\"\npath = \"/common/log/\"");
    expect("no-event-log", &complaints(&place));
}

#[test]
fn a_key_that_others_can_read() {
    let place = Place::new("");
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (store, values) = (path("credentials.sealed"), path("credentials"));
    let name = ["credentials", "--file", &store, "--name", "test"];
    for arguments in [&["init"][..], &["set", "--from-directory", &values]] {
        assert_eq!(output(&[&name[..], arguments].concat()).0, Some(0));
    }
    change(
        &place,
        "source = \"directory\"\n            path = \"credentials\"",
        "source = \"sealed\"\nfile = \"credentials.sealed\"\nkey_file = \"credentials.key\"",
    );
    assert_eq!(output(&["check", "--online", "--config", &place.config()]).0, Some(0));
    let key = place.path("credentials.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    expect("wrong-file-mode", &complaints(&place));
}

/// A place whose credentials lie in a vault, with all seven in it.
fn in_a_vault() -> Option<(Place, Bao)> {
    let bao = Bao::start()?;
    let place = Place::new(&bao.tables());
    change(
        &place,
        "source = \"directory\"\n            path = \"credentials\"",
        "source = \"vault\"\npath = \"pigello\"",
    );
    let values = MADE_UP_VALUES.map(|(name, value)| format!("{}={value}", name.key()));
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    bao.run(&[&["kv", "put", "-mount=secret", "pigello"], &values[..]].concat());
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("✓ lets the gateway read the secret"), "{out}");
    Some((place, bao))
}

#[test]
fn a_vault_that_is_sealed() {
    let Some((place, bao)) = in_a_vault() else { return };
    bao.run(&["operator", "seal"]);
    expect("sealed-vault", &complaints(&place));
}

#[test]
fn another_authority_than_the_vaults() {
    let Some((place, bao)) = in_a_vault() else { return };
    let named = format!("ca_file = \"{}\"", bao.ca_file().display());
    fs::write(place.path("other.pem"), Authority::new("other").unwrap().pem()).unwrap();
    change(&place, &named, "ca_file = \"other.pem\"");
    expect("wrong-authority-of-the-vault", &complaints(&place));
}

#[test]
fn a_login_that_may_not_read_the_secret() {
    let Some((place, bao)) = in_a_vault() else { return };
    let policy = place.path("policy.hcl");
    fs::write(&policy, "path \"secret/data/other\" {\n  capabilities = [\"read\"]\n}\n").unwrap();
    bao.run(&["policy", "write", "other", policy.to_str().unwrap()]);
    let file = place.path("token");
    let limited = bao.run(&["token", "create", "-policy=other", "-field=token"]);
    fs::write(&file, limited).unwrap();
    let named = format!("token_file = \"{}\"", bao.token_file().display());
    change(&place, &named, "token_file = \"token\"");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    expect("policy-too-narrow", &complaints(&place));
}

#[test]
fn another_authority_than_the_upstreams() {
    let place = Place::new("");
    fs::write(place.path("ca.pem"), Authority::new("other").unwrap().pem()).unwrap();
    expect("wrong-authority", &complaints(&place));
}

/// A mock inside this process, that a place then calls.
fn calling(options: Options) -> (Place, Runtime, MockPigello) {
    let runtime = Runtime::new().unwrap();
    let mock = runtime.block_on(MockPigello::start(options)).unwrap();
    let place = Place::new("");
    calls(&place, &mock.origin());
    fs::write(place.path("ca.pem"), mock.ca_pem().unwrap()).unwrap();
    (place, runtime, mock)
}

/// Has the place call another upstream.
fn calls(place: &Place, origin: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    let (_, upstream) = text.split_once("upstream = \"").unwrap();
    let (before, _) = upstream.split_once('"').unwrap();
    change(place, before, origin);
}

#[test]
fn a_certificate_whose_time_is_over() {
    let authority = Arc::new(Authority::new("mock").unwrap());
    let certificate = authority.expired_server(&["localhost", "127.0.0.1"]).unwrap();
    let (place, _runtime, _mock) = calling(Options::new().certificate(authority, certificate));
    expect("expired-certificate", &complaints(&place));
}

#[test]
fn a_clock_that_is_off_by_a_day() {
    let (place, _runtime, mock) = calling(Options::new());
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    let date = format!("header=Date: {}", httpdate::fmt_http_date(tomorrow));
    mock.handle().fault(date.parse().unwrap());
    expect("clock-off-by-a-day", &complaints(&place));
}

#[test]
fn a_file_of_authorities_that_is_not_there() {
    let place = Place::new("");
    fs::remove_file(place.path("ca.pem")).unwrap();
    expect("no-authority", &complaints(&place));
}

#[test]
fn seven_minus_one() {
    let place = Place::new("");
    fs::remove_file(place.path("credentials/service_id")).unwrap();
    expect("seven-minus-one", &complaints(&place));
    let (problem, _) = problem(&place);
    expect("seven-minus-one-caller", &problem);
}

#[test]
fn a_caller_that_is_not_allowed() {
    let place = Place::new("[[callers]]\nname = \"billing\"\nallow = [\"tenant.*\"]\n");
    change(&place, "name = \"tcp\"", "name = \"tcp\"\ncaller = \"billing\"");
    let (problem, _) = problem(&place);
    expect("caller-not-allowed", &problem);
    let target = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let config = place.config();
    let arguments = ["explain", "--config", &config, "--caller", "billing", "GET", &target];
    let (code, out, errors) = output(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    expect("caller-not-allowed-explained", &plain(&out, &place.path("").display().to_string()));
}

#[test]
fn an_upstream_that_is_down() {
    // Bound and not listening: nothing answers there, and nobody else gets the port.
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(net::getsockname(&socket).unwrap()).unwrap();
    let place = Place::new("");
    calls(&place, &format!("https://{address}"));
    expect("upstream-down", &complaints(&place));
    let (problem, _) = problem(&place);
    expect("upstream-down-caller", &problem);
}

#[test]
fn the_steps_are_there_for_programs_too() {
    let place = Place::new("");
    let config = place.config();
    let arguments = ["check", "--online", "--json", "--config", &config];
    let (code, out, errors) = output(&arguments);
    assert_eq!(code, Some(0), "{out}{errors}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], true);
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    for name in [
        "configuration",
        "files",
        "credentials test",
        "dns test",
        "tcp test",
        "tls test",
        "call test",
        "audit directory",
        "clock",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    fs::remove_file(place.path("credentials/client_secret")).unwrap();
    let (code, out, _) = output(&arguments);
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], false);
    let failed: Vec<_> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["state"] == "failed")
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["credentials test"]);

    change(&place, "profile = \"test\"", "profile = \"tset\"");
    let (code, out, errors) = output(&arguments);
    assert_eq!((code, errors.as_str()), (Some(2), ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["steps"][0]["step"], "configuration");
    assert!(report["steps"][0]["hint"].as_str().unwrap().contains("test"), "{out}");
}

#[test]
fn the_one_call_can_be_left_out() {
    let (place, _runtime, mock) = calling(Options::new());
    let config = place.config();
    let arguments = ["check", "--online", "--no-call", "--config", &config];
    let (code, out, errors) = output(&arguments);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_eq!(mock.handle().request_count(), 0);
    assert_eq!(output(&["check", "--online", "--config", &config]).0, Some(0));
    let requests = mock.handle().requests();
    assert_eq!(requests.len(), 1);
}

#[test]
fn addresses_that_the_running_gateway_has_are_in_order() {
    let place = Place::new("");
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    change(&place, "address = \"127.0.0.1:0\"", &format!("address = \"{}\"", free()));
    let metrics = format!("\n[metrics]\naddress = \"{}\"\n", free());
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text + &metrics).unwrap();
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    gateway.address_of("metrics");
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{out}{errors}");
    for what in ["listener tcp", "admin", "metrics"] {
        let line = out.lines().find(|line| line.trim_start().starts_with(&format!("{what} ")));
        let is_held = |line: &str| line.contains("✓ the running gateway has ");
        assert!(line.is_some_and(is_held), "{what}: {out}");
    }
}
