//! `reload`: what a running gateway answers when it is to take its configuration anew.

use std::{fs, io::Write as _, path::Path, sync::Barrier, thread};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use serde_json::Value;

use crate::program::{Place, Running, exchange, get, output};

const CALLERS: &str = "[[callers]]\nname = \"billing\"\nallow = [\"tenant.*\"]\n";

/// A gateway that serves, and the address of its admin listener.
fn serve(place: &Place) -> (Running, String) {
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &place.config()], log.into());
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    (gateway, admin)
}

fn markers(place: &Place, kind: &str) -> Vec<Value> {
    let audit = place.path("audit").to_str().unwrap().to_owned();
    let (code, out, errors) =
        output(&["audit", "query", "--kind", kind, "--format", "json", "--directory", &audit]);
    assert_eq!(code, Some(0), "{errors}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(place: &Place, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), change(&text)).unwrap();
}

/// Changes `allow` and reloads, until the command was faster than the watch of the files.
fn change_allow(place: &Place, command: &[&str]) -> (Option<i32>, String, String) {
    let mut rules = ["*.get", "*.list"].iter().cycle();
    loop {
        let allow = rules.next().unwrap();
        write(place, |text| {
            let (before, rest) = text.split_once("allow = [").unwrap();
            let (_, after) = rest.split_once(']').unwrap();
            format!("{before}allow = [\"{allow}\"]{after}")
        });
        let (code, out, errors) = output(command);
        if code != Some(0) || out.contains("1 key") {
            return (code, out, errors);
        }
    }
}

fn status(admin: &str) -> Value {
    let answer = exchange(admin, &get("/status"));
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_reload_says_what_changed_and_the_trail_has_who() {
    let place = Place::new(CALLERS);
    let config = place.config();
    let (gateway, admin) = serve(&place);
    let (code, out, errors) = output(&["reload", "--config", &config]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("reloaded; nothing has changed\nwarning: "), "{out}");

    let (code, out, errors) = change_allow(&place, &["reload", "--config", &config]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("reloaded; 1 key changed:\n  callers[billing].allow: [\""), "{out}");
    assert!(out.contains("\"] → [\"*."), "{out}");
    let asked: Vec<_> =
        markers(&place, "configuration").into_iter().filter(|m| m["cause"] == "admin").collect();
    let who = format!("uid={} gid=", rustix::process::geteuid().as_raw());
    for marker in &asked {
        assert!(marker["who"].as_str().unwrap().starts_with(&who), "{marker}");
    }
    assert_eq!(asked.last().unwrap()["changes"][0]["key"], "callers[billing].allow");
    let actions = markers(&place, "admin");
    let action = actions.last().unwrap();
    assert_eq!(
        (&action["action"], &action["result"]),
        (&"reload".into(), &"reloaded changed_keys=1".into())
    );

    // The command's own change is not taken for another one.
    let (_, out, _) = output(&["reload", "--json", "--config", &config]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["dry_run"], &json["changes"]), (&false.into(), &Value::Array(Vec::new())));
    assert_eq!(status(&admin)["configuration"]["refused"], Value::Null);
    assert_eq!(gateway.end().0, Some(0));
    let (code, _, errors) = output(&["reload", "--config", &config]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot be asked at unix:") && errors.contains("hint: "), "{errors}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new(CALLERS);
    let (gateway, _) = serve(&place);
    let (code, out, errors) =
        change_allow(&place, &["reload", "--dry-run", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.starts_with("a reload would change 1 key:\n  callers[billing].allow: "), "{out}");
    let by_admin = |marker: &&Value| marker["cause"] == "admin";
    assert_eq!(markers(&place, "configuration").iter().filter(by_admin).count(), 0);
    let actions = markers(&place, "admin");
    assert_eq!(actions.last().unwrap()["result"], "dry run: accepted changed_keys=1");
    write(&place, |text| text.replace("allow = [", "alow = ["));
    let address = format!("unix:{}", place.path("admin.sock").display());
    let (code, _, errors) = output(&["reload", "--dry-run", "--address", &address]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("callers[0].alow"), "{errors}");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn a_refused_reload_names_every_mistake_and_is_shown_until_it_is_mended() {
    let place = Place::new(CALLERS);
    let (gateway, admin) = serve(&place);
    let good = fs::read_to_string(place.config()).unwrap();
    // The file is as the gateway's: a command that reads it would say the same by itself.
    let reload = ["reload", "--address", &admin];
    write(&place, |text| {
        let secret = "path = \"credentials\"\nclient_secret = \"canary-made-up-0042\"";
        text.replace("allow = [", "alow = [").replace("path = \"credentials\"", secret)
            + "[timeouts]\nconnect = \"soon\"\n"
    });
    let (code, out, errors) = output(&reload);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let config = place.config();
    for part in [
        &format!("error: {config}:")[..],
        "callers[0].alow: there is no such key",
        "hint: did you mean `allow`?",
        "timeouts.connect",
        "client_secret",
        "mistakes; the gateway keeps the configuration it had",
    ] {
        assert!(errors.contains(part), "{part} in\n{errors}");
    }
    let refused = status(&admin)["configuration"]["refused"].clone();
    assert!(refused["reason"].as_str().unwrap().contains("timeouts.connect"), "{refused}");
    let page = exchange(&admin, &get("/"));
    assert!(page.contains("The configuration on disk was refused at "), "{page}");
    let answer = exchange(&admin, &post("/reload"));
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("content-type: application/problem+json"));
    let said = [&errors, &refused.to_string(), &page, &answer].map(String::clone).concat();
    assert!(!said.contains("canary"), "{said}");

    fs::write(
        place.config(),
        good.replace("directory = \"audit\"", "directory = \"audit\"\ndurability = \"synced\""),
    )
    .unwrap();
    let (code, _, errors) = output(&reload);
    assert_eq!(code, Some(2));
    assert!(errors.contains("audit.durability can only change with a restart"), "{errors}");
    let reason = status(&admin)["configuration"]["refused"]["reason"].to_string();
    assert!(reason.contains("audit.durability"), "{reason}");

    fs::write(place.config(), good).unwrap();
    assert_eq!(output(&reload).0, Some(0));
    assert_eq!(status(&admin)["configuration"]["refused"], Value::Null);
    assert!(!exchange(&admin, &get("/")).contains("The configuration on disk was refused"));
    assert_eq!(gateway.end().0, Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    let trail = markers(&place, "configuration");
    assert!(trail.iter().any(|marker| marker["result"] == "refused" && marker["who"].is_string()));
    assert!(!log.contains("canary") && !format!("{trail:?}").contains("canary"));
}

#[test]
fn reloads_at_once_each_have_their_own_answer() {
    let place = Place::new(CALLERS);
    let (gateway, admin) = serve(&place);
    write(&place, |text| text.replace("allow = [", "alow = ["));
    let all = Barrier::new(16);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = |number| {
            let target = if number % 2 == 0 { "/reload?dry_run=true" } else { "/reload" };
            all.wait();
            exchange(&admin, &post(target))
        };
        let asked: Vec<_> = (0..16).map(|number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let with = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    assert!(with("HTTP/1.1 422 ") > 0, "{answers:?}");
    assert_eq!(with("HTTP/1.1 422 ") + with("HTTP/1.1 503 "), 16, "{answers:?}");
    // Who leaves takes nothing along.
    let path = admin.strip_prefix("unix:").unwrap();
    let mut leaving = std::os::unix::net::UnixStream::connect(path).unwrap();
    leaving.write_all(post("/reload").as_bytes()).unwrap();
    drop(leaving);
    assert!(exchange(&admin, &post("/reload")).starts_with("HTTP/1.1 422 "));
    assert_eq!(gateway.end().0, Some(0));
}

fn post(target: &str) -> String {
    let framing = "Connection: close\r\nContent-Length: 0";
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n")
}

/// As a dead mount does: whoever opens a pipe without a writer waits.
fn make_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_file_that_does_not_answer_is_refused_and_the_next_reload_works() {
    let place = Place::new(CALLERS);
    let (gateway, admin) = serve(&place);
    let reload = ["reload", "--address", &admin];
    let config = place.config();
    for name in ["gateway.toml", "ca.pem", "credentials/client_secret"] {
        let path = place.path(name);
        let good = fs::read(&path).unwrap();
        make_pipe(&path);
        for command in [&reload[..], &["reload", "--dry-run", "--address", &admin]] {
            let (code, _, errors) = output(command);
            assert_eq!(code, Some(2), "{name}: {errors}");
            assert!(errors.contains("this is a pipe, a socket or a device"), "{name}: {errors}");
        }
        let (code, out, errors) = output(&["check", "--config", &config]);
        assert_eq!(code, Some(2), "{name}: {out}{errors}");
        assert!(errors.contains(name), "{errors}");
        gateway.signal(Signal::HUP);
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
        let (code, _, errors) = output(&reload);
        assert_eq!(code, Some(0), "{name}: {errors}");
    }
    make_pipe(&place.path("gateway.toml"));
    gateway.signal(Signal::HUP);
    assert_eq!(output(&reload).0, Some(2));
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn the_log_has_each_mistake_of_each_refused_reload() {
    let place = Place::new(CALLERS);
    let (gateway, admin) = serve(&place);
    let good = fs::read_to_string(place.config()).unwrap();
    let mistakes = [
        good.replace("tenant.*", "tennant.*"),
        good.replace("allow =", "alow ="),
        format!("{good}[timeouts]\nconnect = \"soon\"\n"),
        format!("{good}[runtime]\nworkers = 3\n"),
        format!("{good}[runtime]\nworkers = 3\n[cache]\nenabled = 3\n"),
    ];
    for text in mistakes {
        fs::write(place.config(), text).unwrap();
        assert_eq!(output(&["reload", "--address", &admin]).0, Some(2));
    }
    assert_eq!(gateway.end().0, Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = lines.filter(|line| {
        line["message"] == "configuration refused; the old one stays in use"
            && line["cause"] == "admin"
    });
    let refused: Vec<_> = refused.collect();
    for part in
        ["tennant", "callers[0].alow", "timeouts.connect", "runtime.workers", "cache.enabled"]
    {
        let of = |line: &&Value| line["problem"].as_str().is_some_and(|it| it.contains(part));
        assert!(refused.iter().any(|line| of(&line)), "{part} in\n{log}");
    }
    let hint = refused.iter().find_map(|line| line["hint"].as_str());
    assert!(hint.is_some_and(|hint| hint.contains("tenant.*")), "{log}");
}

#[test]
fn the_command_waits_while_others_reload_and_a_wrong_query_is_a_problem() {
    let place = Place::new(CALLERS);
    let (gateway, admin) = serve(&place);
    let codes: Vec<_> = thread::scope(|scope| {
        let ask = || output(&["reload", "--address", &admin]);
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|(code, ..)| *code == Some(0)), "{codes:?}");
    for query in ["dry_run=perhaps", "dryrun=true"] {
        let answer = exchange(&admin, &post(&format!("/reload?{query}")));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    }
    assert_eq!(gateway.end().0, Some(0));
}
