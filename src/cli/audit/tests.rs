use std::{fs, path::Path, time::Duration};

use clap::Parser;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    audit::{self, CacheResult, FleetLog, Outcome, Record, Settings, Trail, TrailSegment},
    domain::{ListenerName, PolicyId, ProfileName, RequestId},
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    audit: AuditArgs,
}

/// So many minutes ago.
fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

const OBJECT: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";

fn record(minute: i64, status: u16, operation: Option<&str>, target: &str) -> Record {
    Record {
        time: std::time::UNIX_EPOCH
            + ago(10 - minute).duration_since(Timestamp::UNIX_EPOCH).unsigned_abs(),
        request_id: RequestId::fresh(),
        trace_id: 1,
        own: None,
        peer: None,
        refused_certificate: None,
        policy: PolicyId::default(),
        listener: ListenerName::new("sidecar"),
        caller: operation.map(|_| "billing".into()),
        caller_proof: None,
        profile: Some(ProfileName::new("production")),
        operation: operation.map(Into::into),
        method: http::Method::GET,
        target: target.parse().ok(),
        status: StatusCode::from_u16(status).ok(),
        outcome: if status < 400 { Outcome::Forwarded } else { Outcome::Refused },
        cache: (status < 400).then_some(CacheResult::Miss),
        source_request_id: None,
        source_chain: None,
        upstream_status: None,
        upstream_tls: None,
        attempts: 1,
        retries: Vec::new(),
        credential_version: None,
        duration: Duration::from_micros(1500),
        queue_time: Duration::ZERO,
        upstream_time: None,
        request_bytes: 0,
        response_bytes: 10,
        error: (status >= 400).then_some("operation_unknown"),
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

fn trail() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    let object = format!("/accounts/users/customer/subtenant/{OBJECT}/");
    trail.submit(record(0, 200, Some("subtenant.get"), &object));
    trail.submit(record(
        1,
        200,
        Some("subtenant.list"),
        "/accounts/users/customer/subtenant/list/",
    ));
    trail.submit(record(2, 403, None, "/=cmd,\"x\""));
    trail.close().unwrap();
    home
}

/// What a command said, and its exit.
pub(super) struct Said {
    pub(super) exit: Result<AuditExit, AuditError>,
    pub(super) out: String,
    pub(super) notes: String,
}

pub(super) fn run_on(directories: &[&Path], args: &[&str], width: Option<usize>) -> Said {
    let directories: Vec<_> = directories.iter().map(|path| path.to_str().unwrap()).collect();
    let words = [&["audit"], args, &["--directory"], &directories].concat();
    let cli = Cli::try_parse_from(words).unwrap();
    let trails = Trails::at(cli.audit.source().unwrap());
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let exit = cli.audit.run(&trails, Streams { out: &mut out, notes: &mut notes, width });
    let text = |bytes| anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string();
    Said { exit, out: text(out), notes: text(notes) }
}

fn run(home: &Path, args: &[&str]) -> (Result<AuditExit, AuditError>, String) {
    let said = run_on(&[home], args, None);
    (said.exit, said.out)
}

fn paths(home: &Path, args: &[&str]) -> Vec<String> {
    let (verdict, out) = run(home, &[&["query", "--format", "json"], args].concat());
    verdict.unwrap();
    out.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["path"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_trail_that_is_named_twice_counts_once() {
    let (home, folder) = (trail(), tempfile::tempdir().unwrap());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    let query = |directories: &[&Path]| run_on(directories, &["query", "--format", "json"], None);
    let once = query(&[home.path()]).out;
    assert_eq!(once.lines().count(), 3);
    assert_eq!(query(&[home.path(), &home.path().join("."), &link]).out, once);
    assert_eq!(query(&[home.path(), trail().path()]).out.lines().count(), 6);
}

#[test]
fn every_condition_narrows_a_query() {
    let home = trail();
    let [get, list, odd] = &paths(home.path(), &[])[..] else { panic!("three calls") };
    let only = |args: &[&str]| paths(home.path(), args);
    assert_eq!(&only(&["--operation", "subtenant.get"]), std::slice::from_ref(get));
    assert_eq!(only(&["--operation", "subtenant.*"]).len(), 2);
    assert_eq!(&only(&["--operation", "*.list"]), std::slice::from_ref(list));
    assert_eq!(&only(&["--status", "4xx"]), std::slice::from_ref(odd));
    assert_eq!(only(&["--status", "200"]).len(), 2);
    assert_eq!(&only(&["--outcome", "refused"]), std::slice::from_ref(odd));
    assert_eq!(only(&["--caller", "billing"]).len(), 2);
    assert_eq!(&only(&["--object", OBJECT]), std::slice::from_ref(get));
    let moment = (ago(9) + SignedDuration::from_secs(30)).to_string();
    assert_eq!(&only(&["--since", &moment]), std::slice::from_ref(odd));
    assert_eq!(&only(&["--until", &moment]), &[get.clone(), list.clone()]);
    assert_eq!(&only(&["--since", "9m", "--until", "1m"]), std::slice::from_ref(odd));
    assert_eq!(only(&["--until", "2023-11-15"]).len(), 0);
    assert_eq!(only(&["--since", "1h"]).len(), 3);
    assert_eq!(&only(&["--request-id", "no such call"]), &[] as &[String]);
    assert_eq!(only(&["--limit", "2"]).len(), 2);
}

#[test]
fn a_table_and_csv_are_safe_to_look_at() {
    let home = trail();
    let (_, table) = run(home.path(), &["query"]);
    assert_eq!(table.lines().count(), 4);
    assert!(table.contains("subtenant.get"), "{table}");
    assert!(table.contains("(unidentified)"), "{table}");
    let (_, csv) = run(home.path(), &["query", "--format", "csv", "--status", "403"]);
    assert!(csv.lines().nth(1).unwrap().contains(r#","/=cmd,""x""","#), "{csv}");
}

#[test]
fn bad_conditions_are_explained() {
    for (flag, value) in [
        ("--since", "soon"),
        ("--during", "90d"),
        ("--timezone", "Stockholm"),
        ("--status", "999"),
        ("--outcome", "odd"),
        ("--operation", "subtenant"),
        ("--object", "abc"),
        ("--object", "~abc"),
        ("--object", "urn:uuid:0190d1c2-9a4e-7cc3-8f00-1234567890ab"),
    ] {
        let error = Cli::try_parse_from(["audit", "query", flag, value]).err().unwrap();
        assert!(error.to_string().contains(flag), "{error}");
    }
    assert!(Cli::try_parse_from(["audit", "verify", "--directory", "x", "--config", "y"]).is_err());
}

#[test]
fn the_last_calls_are_shown_in_order() {
    let home = trail();
    let (_, out) = run(home.path(), &["tail", "-n", "2", "--format", "csv"]);
    let statuses: Vec<_> = out.lines().skip(1).map(|line| line.contains(",403,")).collect();
    assert_eq!(statuses, [false, true]);
}

#[test]
fn verify_says_what_is_wrong_and_where() {
    let home = trail();
    let (verdict, out) = run(home.path(), &["verify"]);
    assert_eq!(verdict.unwrap(), AuditExit::Success);
    assert!(out.contains("3 calls") && out.contains("ok"), "{out}");

    let path = TrailSegment::list(home.path()).unwrap().remove(0).path;
    let text = fs::read_to_string(&path).unwrap().replacen("\"status\":403", "\"status\":200", 1);
    fs::write(&path, text).unwrap();
    let (verdict, out) = run(home.path(), &["verify"]);
    assert_eq!(verdict.unwrap(), AuditExit::Wrong);
    assert!(out.contains(":5 (record 5): was changed"), "{out}");
}

#[test]
fn a_trail_is_held_against_what_was_kept_elsewhere() {
    let home = trail();
    let kept = home.path().join("kept.log");
    fs::copy(home.path().join("checkpoint.json"), &kept).unwrap();
    fs::remove_file(home.path().join("checkpoint.json")).unwrap();
    let note = home.path().join("kept.note");
    fs::rename(home.path().join("tlog/checkpoint"), &note).unwrap();
    let key = home.path().join("kept.pem");
    fs::copy(home.path().join(audit::PUBLIC_KEY), &key).unwrap();
    let path = TrailSegment::list(home.path()).unwrap().remove(0).path;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().take(4).collect::<Vec<_>>().join("\n") + "\n").unwrap();

    assert_eq!(run(home.path(), &["verify"]).0.unwrap(), AuditExit::NotProved);
    let args = ["verify", "--checkpoints", kept.to_str().unwrap(), "--public-key"];
    let (verdict, out) = run(home.path(), &[&args[..], &[key.to_str().unwrap()]].concat());
    assert_eq!(verdict.unwrap(), AuditExit::Wrong);
    assert!(out.contains("the end was cut off"), "{out}");
    let (verdict, out) = run(home.path(), &["verify", "--note", note.to_str().unwrap()]);
    assert_eq!(verdict.unwrap(), AuditExit::Wrong);
    assert!(out.contains("the end was cut off"), "{out}");
}

#[test]
fn a_fleet_log_is_checked_alone_and_with_a_trail() {
    let (home, hub) = (trail(), tempfile::tempdir().unwrap());
    let log = FleetLog::open(&Settings::new(hub.path())).unwrap();
    log.close().unwrap();
    let folder = FleetLog::folder(hub.path());
    let folder = folder.to_str().unwrap();
    let alone = |arguments: &[&str]| {
        let all = [&["audit", "verify", "--fleet-log", folder], arguments].concat();
        let args = Cli::parse_from(all).audit;
        assert_eq!(args.source().unwrap(), [Path::new(folder)]);
        let mut out = Vec::new();
        let trails = Trails::at(args.source().unwrap());
        let streams = Streams { out: &mut out, notes: &mut Vec::new(), width: None };
        let exit = args.run(&trails, streams).unwrap();
        (exit, String::from_utf8(out).unwrap())
    };
    let (exit, out) = alone(&[]);
    assert_eq!(exit, AuditExit::Success, "{out}");
    assert!(out.starts_with("the fleet log:\n") && out.contains("it tells of 0 chains"), "{out}");
    let (_, out) = alone(&["--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["verdict"], &report["chains"]), (&"ok".into(), &serde_json::json!([])));
    let (exit, out) = run(home.path(), &["verify", "--fleet-log", folder]);
    assert_eq!(exit.unwrap(), AuditExit::NotProved);
    assert!(out.contains("the fleet log tells of none of the trail's chains"), "{out}");
    let (exit, out) = run(home.path(), &["verify", "--json", "--fleet-log", folder]);
    assert_eq!(exit.unwrap(), AuditExit::NotProved);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["fleet_log"]["verdict"], "ok");
    assert_eq!(report["reasons"][0]["reason"], "untold");
    let nowhere = run(home.path(), &["verify", "--fleet-log", "/nowhere"]).0;
    assert!(matches!(nowhere, Err(AuditError::NoDirectory { .. })));
}

#[test]
fn the_lines_of_a_store_are_checked_chain_by_chain() {
    let homes = [trail(), trail(), trail()];
    let lines: Vec<Vec<String>> = homes
        .iter()
        .map(|home| {
            let path = TrailSegment::list(home.path()).unwrap().remove(0).path;
            fs::read_to_string(path).unwrap().lines().map(|line| format!("{line}\n")).collect()
        })
        .collect();
    let chains: Vec<String> = homes
        .iter()
        .map(|home| {
            let text = fs::read_to_string(home.path().join("chain.json")).unwrap();
            let chain: serde_json::Value = serde_json::from_str(&text).unwrap();
            chain["chain"].as_str().unwrap().to_owned()
        })
        .collect();
    let keys = homes[0].path().join("keys.pem");
    let pem =
        homes.iter().map(|home| fs::read_to_string(home.path().join(audit::PUBLIC_KEY)).unwrap());
    fs::write(&keys, pem.collect::<String>()).unwrap();
    let note =
        |home: usize| homes[home].path().join("tlog/checkpoint").to_str().unwrap().to_owned();
    let key = keys.to_str().unwrap();
    let verify = |text: &str, args: &[&str]| {
        let words = [&["audit", "verify", "--stdin"], args].concat();
        let cli = Cli::try_parse_from(words).unwrap();
        assert!(cli.audit.reads_lines());
        let mut out = Vec::new();
        let exit = cli.audit.run_on_lines(text.as_bytes(), &mut out);
        (exit, String::from_utf8(out).unwrap())
    };
    let named = |n: usize| {
        let lines: Vec<_> = lines[n].iter().map(|line| format!("{}\t{line}", chains[n])).collect();
        lines.concat()
    };
    let whole = |n: usize| lines[n].concat();
    let twice = |n: usize| lines[n].iter().map(|line| line.repeat(2)).collect::<String>();
    let with_key = ["--public-key", key];
    for (what, text) in [
        ("as they are", [whole(2), whole(0), whole(1)].concat()),
        ("with their chains", [named(1), named(2), named(0)].concat()),
        ("delivered twice", [twice(1), whole(0)].concat()),
        ("with blank lines", [whole(1), "\n".to_owned(), whole(0)].concat()),
    ] {
        let (exit, out) = verify(&text, &with_key);
        assert_eq!(exit.unwrap(), AuditExit::Success, "{what}: {out}");
    }
    for (what, text) in [
        ("one is missing", [whole(0), lines[1][..3].concat(), lines[1][4..].concat()].concat()),
        (
            "the first one is missing",
            [whole(0), named(1).split_once('\n').unwrap().1.to_owned()].concat(),
        ),
        (
            "two are swapped",
            [lines[0][1].clone(), lines[0][0].clone(), lines[0][2..].concat()].concat(),
        ),
        ("one is changed", whole(0).replace("\"status\":403", "\"status\":200")),
        ("a line of another chain", [whole(0), named(1).replace(&chains[1], &chains[0])].concat()),
    ] {
        let (exit, out) = verify(&text, &with_key);
        assert_eq!(exit.unwrap(), AuditExit::Wrong, "{what}: {out}");
    }
    assert_eq!(verify(&whole(0), &[]).0.unwrap(), AuditExit::NotProved, "without a key");
    assert_eq!(verify("", &with_key).0.unwrap(), AuditExit::NotProved, "without a line");
    assert!(verify(&[named(0), named(1), named(0)].concat(), &with_key).0.is_err());

    // Notes that were kept: one of each chain, one of a chain that the store lost, one that is longer.
    let (exit, out) =
        verify(&[whole(0), whole(1)].concat(), &[&with_key[..], &["--note", &note(1)]].concat());
    assert_eq!(exit.unwrap(), AuditExit::Success, "{out}");
    let (exit, out) = verify(&whole(0), &[&with_key[..], &["--note", &note(1)]].concat());
    assert_eq!(exit.unwrap(), AuditExit::Wrong, "{out}");
    let note_of_1 = note(1);
    let cut = [&with_key[..], &["--note", &note_of_1, "--json"]].concat();
    let (exit, out) = verify(&lines[1][..4].concat(), &cut);
    assert_eq!(exit.unwrap(), AuditExit::Wrong, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["chains"][0]["chain"], chains[1].as_str());
}

#[test]
fn a_hashed_object_is_found_by_its_uuid() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { object_ids: audit::ObjectIds::Hashed, ..Settings::new(home.path()) };
    let trail = Trail::open(&settings).unwrap();
    trail.submit(record(0, 200, Some("subtenant.get"), &format!("/a/{OBJECT}/")));
    trail.submit(record(0, 200, Some("subtenant.get"), "/a/0190d1c2-0000-7cc3-8f00-1234567890ab/"));
    trail.close().unwrap();
    let found = paths(home.path(), &["--object", &OBJECT.to_uppercase()]);
    let [path] = &found[..] else { panic!("{found:?}") };
    assert!(path.starts_with("/a/~") && !path.contains(OBJECT), "{path}");
}

#[test]
fn a_report_adds_up() {
    let home = trail();
    let (_, table) = run(home.path(), &["report"]);
    for line in ["3 calls from", "2 forwarded, 0 cached, 1 refused, 0 failed", "subtenant.list"] {
        assert!(table.contains(line), "{table}");
    }
    let (_, json) = run(home.path(), &["report", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["total"]["calls"], 3);
    assert_eq!(json["by_caller"]["billing"]["calls"], 2);
    assert_eq!(json["by_caller"]["(unidentified)"]["outcomes"]["refused"], 1);
    assert_eq!(json["by_operation"]["subtenant.get"]["cacheable"], 1);
    assert_eq!(json["total"]["response_bytes"], 30);
    assert_eq!(json["errors"]["operation_unknown"], 1);
    assert!((1.4..1.6).contains(&json["total"]["p99_ms"].as_f64().unwrap()), "{json}");
}

#[test]
fn the_page_is_one_file_that_runs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    let hostile = Record {
        caller: Some("<script>alert(1)</script>".into()),
        ..record(0, 200, Some("subtenant.get"), "/")
    };
    trail.submit(hostile);
    trail.close().unwrap();
    let path = home.path().join("report.html");
    run(home.path(), &["report", "--html", path.to_str().unwrap()]).0.unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("<svg") && page.contains("&lt;script&gt;"));
    for active in ["<script", "http://", "https://", "url(", "@import", "onload"] {
        assert!(!page.contains(active), "{active}");
    }
    let (_, out) = run(home.path(), &["report", "--until", "2020-01-01"]);
    assert!(out.starts_with("no calls\n"), "{out}");
}

#[test]
fn a_suggested_policy_allows_what_was_called_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    let peer = |uid| Some(crate::domain::Proof::UnixPeer { uid, gid: 1, pid: Some(9) });
    let call = |operation| record(0, 200, Some(operation), "/");
    trail.submit(Record { caller_proof: peer(1001), ..call("subtenant.get") });
    trail.submit(Record { caller_proof: peer(1001), ..call("subtenant.get") });
    trail.submit(Record { caller_proof: peer(1001), ..call("tenant.list") });
    trail.submit(Record {
        error: Some("operation_not_allowed"),
        ..record(0, 403, Some("tenant.delete"), "/")
    });
    trail.submit(Record { caller: None, caller_proof: peer(2002), ..call("tenant.get") });
    trail.submit(Record { caller: None, ..call("tenant.get") });
    // The overflow id, also as an older trail has it, is nobody's.
    let unmapped = crate::domain::Proof::UnmappedPeer { uid: 65534, gid: 65534, pid: Some(9) };
    for caller_proof in [peer(65534), Some(unmapped)] {
        trail.submit(Record { caller: None, caller_proof, ..call("tenant.delete") });
    }
    trail.submit(Record { caller_proof: peer(65534), ..call("tenant.list") });
    trail.submit(record(0, 403, None, "/unknown/"));
    trail.close().unwrap();
    let (_, out) = run(home.path(), &["suggest-policy"]);
    let json: serde_json::Value = toml_edit::de::from_str(&out).unwrap();
    assert_eq!(
        json["callers"],
        serde_json::json!([
            { "name": "billing", "unix_uids": [1001], "allow": ["subtenant.get", "tenant.list"] },
            { "name": "uid-2002", "unix_uids": [2002], "allow": ["tenant.get"] },
            { "name": "anyone", "allow": ["tenant.get"] },
        ])
    );
    assert!(!out.contains("65534") && out.contains("# 2 calls came from users that"), "{out}");
    assert!(out.contains("# \"tenant.delete\",") && out.contains("1 calls matched no operation"));
}

#[test]
fn a_trail_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let (result, _) = run(&home.path().join("nowhere"), &["verify"]);
    assert!(result.unwrap_err().to_string().contains("there is no audit trail at"));
}
