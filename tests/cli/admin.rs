//! The commands that ask a running gateway, and the admin listener from outside.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use pigello_mock::EXAMPLE_SUBTENANT;
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Place, Running, exchange, get, output};

const READ: &str = "made-up-token-that-may-only-read-0";
const OPERATE: &str = "made-up-token-that-may-operate-too";

fn serve(place: &Place) -> Running {
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &place.config()], log.into());
    let address = gateway.address_of("admin");
    while !exchange(&address, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    gateway
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The admin listener of the place on a free port, with both tokens.
fn on_tcp(place: &Place) -> String {
    write_private(
        &place.path("tokens"),
        &format!("read {READ}   # the page\noperate\t{OPERATE} # and purge\n"),
    );
    let text = fs::read_to_string(place.config()).unwrap();
    let unix = format!("address = \"unix:{}\"", place.path("admin.sock").display());
    let tcp = "address = \"127.0.0.1:0\"\ntoken_file = \"tokens\"";
    fs::write(place.config(), text.replace(&unix, tcp)).unwrap();
    place.path("tokens").to_str().unwrap().to_owned()
}

/// The files of a support bundle.
pub(crate) fn unpack(bundle: &Path) -> BTreeMap<String, String> {
    let gzip = flate2::read::GzDecoder::new(fs::File::open(bundle).unwrap());
    let mut archive = tar::Archive::new(gzip);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

#[test]
fn a_support_bundle_has_what_helps_also_where_nothing_runs() {
    let place = Place::new("");
    let bundle = place.path("help.tar.gz");
    let ask = |more: &[&str]| {
        let always =
            ["support-bundle", "--config", &place.config(), "--out", bundle.to_str().unwrap()];
        output(&[&always[..], more].concat())
    };
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &place.config()], log.into());
    let address = gateway.address_of("tcp");
    exchange(&address, &get("/nowhere/"));
    let (code, out, errors) = ask(&[]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("help.tar.gz") && out.contains("Look at it"), "{out}");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    let parts = unpack(&bundle);
    for (file, holds) in [
        ("version.txt", "commit: "),
        ("machine.txt", "kernel: Linux"),
        ("configuration.toml", "[[listeners]]"),
        ("check.json", "\"ok\": true"),
        ("trail.txt", ".jsonl"),
        ("status.json", "\"credentials\""),
        ("ready.json", "\"ready\""),
        ("metrics.txt", "pigello_gateway_"),
        ("log.txt", "tcp"),
    ] {
        assert!(parts[file].contains(holds), "{file}: {}", parts[file]);
        assert!(out.contains(file), "{out}");
    }
    assert!(!parts["trail.txt"].contains("/nowhere/"), "no records");
    assert_eq!(ask(&[]).0, Some(2), "the file is there");
    assert_eq!(ask(&["--force"]).0, Some(0));
    assert_eq!(gateway.end().0, Some(0));
    // Nothing runs.
    assert_eq!(ask(&["--force"]).0, Some(0));
    let parts = unpack(&bundle);
    assert!(!parts.contains_key("status.json"), "{:?}", parts.keys());
    assert!(parts["missing.txt"].contains("status.json: error: the gateway cannot be asked"));
    assert!(parts["configuration.toml"].contains("[[listeners]]"));
    // The configuration cannot be read.
    fs::write(place.config(), "[limits]\nin_flight = \"many\"\n").unwrap();
    assert_eq!(ask(&["--force"]).0, Some(0));
    let parts = unpack(&bundle);
    for file in ["missing.txt", "check.json"] {
        assert!(parts[file].contains("in_flight"), "{file}: {}", parts[file]);
    }
    let device = ["support-bundle", "--force", "--config", &place.config(), "--out", "/dev/null"];
    assert_eq!(output(&device).0, Some(2), "a device is no file to replace");
}

#[test]
fn people_and_programs_ask_over_the_unix_socket() {
    let place = Place::new("");
    let config = place.config();
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &config], log.into());
    let address = gateway.address_of("tcp");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let target = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    assert!(exchange(&address, &get(&target)).starts_with("HTTP/1.1 200 "));

    let ask = |arguments: &[&str]| {
        let (code, out, errors) = output(&[arguments, &["--config", &config]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        out
    };
    let told = ask(&["status"]);
    for part in [
        "pigello-gateway 0.",
        "listener     tcp",
        "credentials  test  fresh",
        "cache        1 answers",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    let json: Value = serde_json::from_str(&ask(&["status", "--json"])).unwrap();
    assert_eq!(json["cache"]["responses"], 1);
    let by_object = ["purge", "--operation", "subtenant.get", "--pk", EXAMPLE_SUBTENANT];
    assert_eq!(ask(&by_object), "1 cached responses dropped\n");
    let json: Value = serde_json::from_str(&ask(&["purge", "--all", "--json"])).unwrap();
    assert_eq!(json["purged"], 0);
    assert!(ask(&["refresh", "test"]).starts_with("test: read, and still version "));
    let (code, out, errors) = output(&["refresh", "--json", "--config", &config]);
    assert_eq!(code, Some(1), "paced: {out}");
    assert!(errors.contains("try again in "), "{errors}");
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["refreshed"], false);
    let (code, _, errors) = output(&["refresh", "no-such-set", "--config", &config]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no credential set of this name"), "{errors}");
    let (code, _, errors) = output(&["purge", "--operation", "no.such", "--config", &config]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no such operation"), "{errors}");
    for usage in [
        &["purge"][..],
        &["purge", "--all", "--operation", "subtenant.get"],
        &["purge", "--pk", "199001012385"],
        &["status", "--address", "nowhere"],
    ] {
        assert_eq!(output(&[usage, &["--config", &config]].concat()).0, Some(2), "{usage:?}");
    }
    assert_eq!(gateway.end().0, Some(0));
    for command in [&["status"][..], &["purge", "--all"], &["refresh"], &["page"], &["health"]] {
        let (code, _, errors) = output(&[command, &["--config", &config]].concat());
        assert_eq!(code, Some(1), "{command:?}");
        assert!(
            errors.contains("cannot be asked at unix:") && errors.contains("hint: "),
            "{errors}"
        );
    }
}

#[test]
fn on_tcp_a_token_says_what_may_be_done() {
    let place = Place::new("");
    let tokens = on_tcp(&place);
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &place.config()], log.into());
    let address = gateway.address_of("admin");
    while !exchange(&address, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    write_private(&place.path("reader"), READ);
    let reader = place.path("reader").to_str().unwrap().to_owned();
    let ask = |command: &[&str], token: &[&str]| {
        output(&[command, &["--address", &address], token].concat())
    };
    assert_eq!(ask(&["health"], &[]).0, Some(0));
    let (code, _, errors) = ask(&["status"], &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("401") && errors.contains("--token-file"), "{errors}");
    assert_eq!(ask(&["status"], &["--token-file", &reader]).0, Some(0));
    let (code, _, errors) = ask(&["purge", "--all"], &["--token-file", &reader]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("403") && errors.contains("may only read"), "{errors}");
    assert_eq!(ask(&["purge", "--all"], &["--token-file", &tokens]).0, Some(0));
    let (code, out, errors) = ask(&["page"], &["--token-file", &reader]);
    assert_eq!(code, Some(0), "{errors}");
    let link = out.lines().find_map(|line| line.trim().strip_prefix("http://")).unwrap();
    let (host, path) = link.split_once('/').unwrap();
    assert_eq!(host, address);
    let entered = exchange(&address, &get(&format!("/{path}")));
    assert!(entered.starts_with("HTTP/1.1 303 "), "{entered}");
    assert!(exchange(&address, &get(&format!("/{path}"))).starts_with("HTTP/1.1 403 "), "used up");
    assert_eq!(gateway.end().0, Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains(READ) && !log.contains(OPERATE) && !log.contains(path));
}

#[test]
fn a_token_file_that_others_may_read_or_that_is_a_link_stops_the_start() {
    let place = Place::new("");
    on_tcp(&place);
    let (config, tokens) = (place.config(), place.path("tokens"));
    let refused = |part: &str| {
        for command in ["check", "serve"] {
            let (code, out, errors) = output(&[command, "--config", &config]);
            assert_eq!(code, Some(2), "{command}: {out}{errors}");
            assert!(errors.contains(part), "{command}: {errors}");
            assert!(!errors.contains("made-up"), "{errors}");
        }
    };
    // The folder of a test is closed, which does not count here: a token file is private by itself.
    for mode in [0o640, 0o604] {
        fs::set_permissions(&tokens, fs::Permissions::from_mode(mode)).unwrap();
        refused("admin.token_file");
    }
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&tokens, place.path("elsewhere")).unwrap();
    symlink(place.path("elsewhere"), &tokens).unwrap();
    refused("is no plain file");
    fs::remove_file(&tokens).unwrap();
    // What `check` does not read, `serve` refuses, and `check --online` tells.
    write_private(&tokens, "operate made-up-and-short\n");
    let (code, _, errors) = output(&["serve", "--config", &config]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("tokens:1: ") && !errors.contains("made-up"), "{errors}");
    let (code, out, _) = output(&["check", "--online", "--config", &config]);
    assert_eq!(code, Some(1));
    assert!(out.contains("admin tokens") && !out.contains("made-up-and"), "{out}");
}

#[test]
fn without_tokens_tcp_serves_health_alone_and_check_says_so() {
    let place = Place::new("[metrics]\naddress = \"127.0.0.1:0\"\n");
    on_tcp(&place);
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("token_file = \"tokens\"", "")).unwrap();
    let (code, out, errors) = output(&["check", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{errors}");
    for part in [
        "there is no `token_file`",
        "serves health and metrics only",
        "health and metrics, for this machine",
    ] {
        assert!(out.contains(part), "{part} in\n{out}");
    }
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    let admin = gateway.address_of("admin");
    let metrics = gateway.address_of("metrics");
    for address in [&admin, &metrics] {
        for path in ["/livez", "/metrics"] {
            let answer = exchange(address, &get(path));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    let answer = exchange(&admin, &get("/status"));
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("Unix socket"), "{answer}");
    assert!(exchange(&metrics, &get("/status")).starts_with("HTTP/1.1 404 "));
    assert_eq!(gateway.end().0, Some(0));
}

/// Nothing says where: it is beside the trail, found by the commands, and gone with the gateway.
#[test]
fn without_an_address_the_socket_is_where_the_commands_look() {
    let place = Place::new("");
    let text = fs::read_to_string(place.config()).unwrap();
    let address =
        format!("[admin]\n            address = \"unix:{}\"", place.path("admin.sock").display());
    assert!(text.contains(&address));
    fs::write(place.config(), text.replace(&address, "")).unwrap();
    let session = place.path("session");
    fs::create_dir(&session).unwrap();
    for (variable, expected) in
        [("", "audit/admin.sock"), ("session", "session/pigello-gateway/admin.sock")]
    {
        let runtime =
            if variable.is_empty() { String::new() } else { session.display().to_string() };
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
        command.args(["serve", "--config", &place.config()]).env("XDG_RUNTIME_DIR", &runtime);
        let mut gateway = Running::of(&mut command);
        let address = gateway.address_of("admin");
        // A machine with the service has a folder that comes first.
        if !address.starts_with("unix:/run/pigello-gateway/") {
            assert_eq!(address, format!("unix:{}", place.path(expected).display()));
            let mode = fs::metadata(place.path(expected)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
        status.args(["health", "--live", "--config", &place.config()]);
        assert!(status.env("XDG_RUNTIME_DIR", &runtime).status().unwrap().success());
        assert_eq!(gateway.end().0, Some(0));
        assert!(!place.path(expected).exists());
    }
}

#[test]
fn the_page_is_relayed_from_a_unix_socket_until_its_command_ends() {
    let place = Place::new("");
    let gateway = serve(&place);
    let mut page = Running::start(&["page", "--config", &place.config()]);
    let link = page.line_with("http://127.0.0.1:");
    let link = link.trim().strip_prefix("http://").unwrap();
    let (host, path) = link.split_once('/').unwrap();
    page.line_with("Ctrl-C");
    let ask = |path: &str, fields: &str| {
        exchange(
            host,
            &format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"),
        )
    };
    for closed in ["", "status"] {
        assert!(ask(closed, "").starts_with("HTTP/1.1 403 "), "nobody is somebody here");
    }
    let entered = ask(path, "");
    assert!(entered.starts_with("HTTP/1.1 303 "), "{entered}");
    let cookie = entered.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let shown = ask("", &format!("Cookie: {cookie}\r\n"));
    assert!(shown.starts_with("HTTP/1.1 200 ") && shown.contains("Serving calls"), "{shown}");
    let foreign = exchange(
        host,
        &format!(
            "GET / HTTP/1.1\r\nHost: evil.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(foreign.starts_with("HTTP/1.1 403 "), "{foreign}");
    page.signal(Signal::INT);
    assert!(page.wait().success());
    assert_eq!(gateway.end().0, Some(0));
}
