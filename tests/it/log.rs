//! The log of the process: nobody has to read it, and a flood of failures is no flood of lines.

use std::{fs, time::Duration};

use http::StatusCode;
use pigello_mock::MockPigello;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    lifecycle::TENANT,
    service::written,
    support::{Caller, Process, pigello},
};

/// The calls of a test whose log nobody reads.
const CALLS: usize = 800;

/// A call that no operation matches.
const UNKNOWN: &str = "/nothing/";

fn with(pigello: &MockPigello, more: &str) -> TempDir {
    let folder = written(pigello, "127.0.0.1:0");
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n{more}")).unwrap();
    folder
}

fn start(folder: &TempDir) -> (Process, Caller, Caller) {
    let process = Process::serve(&folder.path().join("gateway.toml"));
    let (caller, admin) = (process.address("main"), process.address("admin"));
    (process, Caller::tcp(caller), Caller::tcp(admin))
}

async fn flood(caller: &Caller, calls: usize) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let caller = caller.clone();
            tokio::spawn(async move {
                for _ in 0..calls / 8 {
                    assert_eq!(caller.get(UNKNOWN).await.status, StatusCode::FORBIDDEN);
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(Duration::from_mins(1), task).await.expect("calls are answered").unwrap();
    }
}

async fn dropped(admin: &Caller) -> u64 {
    let metrics = admin.get("/metrics").await.body;
    let text = String::from_utf8(metrics.to_vec()).unwrap();
    let name = "pigello_gateway_log_dropped_lines_total ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// More than the pipe and the queue take together, at a line a call.
const MORE_THAN_FITS: usize = 4_800;
const LINE_A_CALL: &str = "[telemetry]\nlog_level = \"debug\"\n[limits]\nin_flight = 100\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_no_call_and_no_end() {
    let pigello = pigello().await;
    for durability in ["batched", "synced"] {
        let folder = with(&pigello, LINE_A_CALL);
        let config = folder.path().join("gateway.toml");
        let text = fs::read_to_string(&config).unwrap();
        let audit = format!("[audit]\ndurability = \"{durability}\"");
        fs::write(&config, text.replace("[audit]", &audit)).unwrap();
        let (process, caller, admin) = start(&folder);
        flood(&caller, MORE_THAN_FITS).await;
        assert!(dropped(&admin).await > 0);
        let answer = timeout(Duration::from_secs(10), caller.get(TENANT)).await;
        assert_eq!(answer.expect("calls go on").status, StatusCode::OK);
        assert_eq!(admin.get("/readyz").await.status, StatusCode::OK);
        let ended = tokio::task::spawn_blocking(|| process.end_unread());
        let ended = timeout(Duration::from_secs(20), ended).await.expect("SIGTERM ends it");
        assert!(ended.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_is_told_what_it_missed() {
    let pigello = pigello().await;
    let folder = with(&pigello, LINE_A_CALL);
    let (mut process, caller, admin) = start(&folder);
    flood(&caller, MORE_THAN_FITS).await;
    assert!(dropped(&admin).await > 0);
    let line = process.log_line("lines of the log were dropped");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(line["lines"].as_u64().unwrap() > 0, "{line}");
    let (status, log) = process.terminate();
    assert!(status.success() && log.contains("\"last_seq\":"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_stops_nothing() {
    let pigello = pigello().await;
    let folder = with(&pigello, LINE_A_CALL);
    let (mut process, caller, admin) = start(&folder);
    process.close_log();
    flood(&caller, 80).await;
    let until_counted = async { while dropped(&admin).await == 0 {} };
    timeout(Duration::from_secs(20), until_counted).await.expect("lost lines are counted");
    assert_eq!(caller.get(TENANT).await.status, StatusCode::OK);
    assert!(process.end_unread().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_is_a_few_lines_that_count_them() {
    let pigello = pigello().await;
    let folder = with(&pigello, "");
    let (process, caller, _) = start(&folder);
    flood(&caller, CALLS).await;
    let (status, log) = process.terminate();
    assert!(status.success(), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refusals: Vec<_> =
        lines.iter().filter(|line| line["kind"] == "operation_unknown").collect();
    assert!(refusals.len() < 40, "{refusals:#?}");
    let first = refusals[0];
    assert_eq!((&first["level"], &first["message"]), (&"INFO".into(), &"call refused".into()));
    assert!(first["request_id"].is_string() && first["proof"].is_string(), "{first}");
    // Each is in a line of its own or in a number; the last line of one that is over has the sum.
    let counted =
        |line: &&Value| line.get("seconds").is_none().then(|| line["count"].as_u64().unwrap_or(1));
    let sum: u64 = refusals.iter().filter_map(counted).sum();
    assert_eq!(sum, CALLS as u64, "{refusals:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_debug_each_call_has_a_line_and_libraries_have_none() {
    let pigello = pigello().await;
    let folder = with(&pigello, "[telemetry]\nlog_level = \"debug\"\n");
    let (process, caller, _) = start(&folder);
    for _ in 0..3 {
        assert_eq!(caller.http2().get(TENANT).await.status, StatusCode::OK);
    }
    let (_, log) = process.terminate();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let calls: Vec<_> = lines.iter().filter(|line| line["message"] == "call").collect();
    assert_eq!(calls.len(), 3, "{log}");
    assert_eq!(calls[0]["operation"], "tenant.list");
    assert_eq!(calls[0]["status"], 200);
    assert!(!log.contains("/accounts/"), "a path may name a person: {log}");
    for line in &lines {
        assert!(line["target"].as_str().unwrap().starts_with("pigello_gateway"), "{line}");
    }
}
