use std::{
    fs,
    time::{Duration, SystemTime},
};

use clap::Parser;
use http::StatusCode;

use super::*;
use crate::{
    domain::{ListenerName, ProfileName, RequestId},
    trail::{CacheResult, Outcome, Record, Segment, Settings, Trail},
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    audit: AuditArgs,
}

const OBJECT: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";

fn record(minute: u64, status: u16, operation: Option<&str>, target: &str) -> Record {
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + minute * 60),
        request_id: RequestId::fresh(),
        trace_id: 1,
        listener: ListenerName::new("sidecar"),
        caller: operation.map(|_| "billing".into()),
        caller_proof: None,
        profile: ProfileName::new("production"),
        operation: operation.map(Into::into),
        method: http::Method::GET,
        target: target.parse().ok(),
        status: StatusCode::from_u16(status).ok(),
        outcome: if status < 400 { Outcome::Forwarded } else { Outcome::Refused },
        cache: (status < 400).then_some(CacheResult::Miss),
        source_request_id: None,
        upstream_status: None,
        upstream_tls: None,
        attempts: 1,
        retries: Vec::new(),
        credential_version: None,
        duration: Duration::from_micros(1500),
        upstream_time: None,
        request_bytes: 0,
        response_bytes: 10,
        error: (status >= 400).then_some("operation_unknown"),
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

fn run(home: &Path, args: &[&str]) -> (Result<Verdict, AuditError>, String) {
    let directory = home.to_str().unwrap();
    let words = [&["audit"], args, &["--directory", directory]].concat();
    let cli = Cli::try_parse_from(words).unwrap();
    let mut out = Vec::new();
    let verdict = cli.audit.run(cli.audit.source().unwrap(), &mut out);
    (verdict, anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string())
}

fn paths(home: &Path, args: &[&str]) -> Vec<String> {
    let (verdict, out) = run(home, &[&["query", "--format", "json"], args].concat());
    assert_eq!(verdict.unwrap(), Verdict::Right);
    out.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["path"].as_str().unwrap().to_owned())
        .collect()
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
    assert_eq!(&only(&["--since", "2023-11-14T22:15:00Z"]), std::slice::from_ref(odd));
    assert_eq!(only(&["--until", "2023-11-14T22:14:20Z"]).len(), 1);
    assert_eq!(only(&["--since", "2023-11-15"]).len(), 0);
    assert_eq!(only(&["--since", "1h"]).len(), 0);
    assert_eq!(only(&["--limit", "2"]).len(), 2);
}

#[test]
fn a_table_and_csv_are_safe_to_look_at() {
    let home = trail();
    let (_, table) = run(home.path(), &["query"]);
    assert_eq!(table.lines().count(), 4);
    assert!(table.contains("subtenant.get"), "{table}");
    let (_, csv) = run(home.path(), &["query", "--format", "csv", "--status", "403"]);
    assert!(csv.lines().nth(1).unwrap().contains(r#","/=cmd,""x""","#), "{csv}");
}

#[test]
fn bad_conditions_are_explained() {
    for (flag, value) in [("--since", "soon"), ("--status", "999"), ("--outcome", "odd")] {
        let error = Cli::try_parse_from(["audit", "query", flag, value]).err().unwrap();
        assert!(error.to_string().contains(flag), "{error}");
    }
    assert!(Cli::try_parse_from(["audit", "verify", "--directory", "x", "--config", "y"]).is_err());
}

#[test]
fn the_last_calls_are_shown_in_order() {
    let home = trail();
    let (_, out) = run(home.path(), &["tail", "-n", "2", "--format", "csv"]);
    let statuses: Vec<_> = out.lines().map(|line| line.contains(",403,")).collect();
    assert_eq!(statuses, [false, true]);
}

#[test]
fn verify_says_what_is_wrong_and_where() {
    let home = trail();
    let (verdict, out) = run(home.path(), &["verify"]);
    assert_eq!(verdict.unwrap(), Verdict::Right);
    assert!(out.contains("3 calls") && out.contains("ok"), "{out}");

    let path = Segment::list(home.path()).unwrap().remove(0).path;
    let text = fs::read_to_string(&path).unwrap().replacen("\"status\":403", "\"status\":200", 1);
    fs::write(&path, text).unwrap();
    let (verdict, out) = run(home.path(), &["verify"]);
    assert_eq!(verdict.unwrap(), Verdict::Wrong);
    assert!(out.contains(":4 (record 4): was changed"), "{out}");
}

#[test]
fn a_trail_that_is_not_there_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let (result, _) = run(&home.path().join("nowhere"), &["verify"]);
    assert!(result.unwrap_err().to_string().contains("there is no audit trail at"));
}
