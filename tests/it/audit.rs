//! The audit trail under the path: what is on it when an answer arrives, and what happens when it
//! cannot be written.

use std::{collections::HashSet, fs, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use pigello_gateway::error::Kind;
use pigello_mock::EXAMPLE_SUBTENANT;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::support::{Gateway, Recorder, Setup, Waiting, pigello, trail_lines, until_blank_line};

const LIST: &str = "/accounts/users/customer/tenant/list/";
const WAITING_READ: &str =
    "GET /accounts/users/customer/tenant/list/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
const WAITING_WRITE: &str = "POST /accounts/users/customer/tenant/ HTTP/1.1\r\nHost: localhost\r\n\
    Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const SYNCED: &str = "PIGELLO_GATEWAY_AUDIT__DURABILITY=synced";

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

/// The kinds of the lines about a call, in their order.
fn kinds(lines: &[Value], id: &str) -> Vec<String> {
    let about = lines.iter().filter(|line| line["request_id"] == id);
    about.map(|line| line["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_trail_has_each_call_before_its_answer_arrives() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).variable(SYNCED).start().await;
    let audit = gateway.path("audit");
    let mut seen = HashSet::new();
    for round in 0..10 {
        for (target, sent) in [
            (LIST.to_owned(), true),
            // The first time from Pigello, then from memory, where no secret is used.
            (subtenant(), round == 0),
            ("/no/such/operation/".to_owned(), false),
            ("//".to_owned(), false),
        ] {
            let answer = gateway.caller().get(&target).await;
            let lines = trail_lines(&audit);
            let id = answer.header("x-request-id");
            let expected: &[&str] = if sent { &["intent", "call"] } else { &["call"] };
            assert_eq!(kinds(&lines, id), expected, "{target} in round {round}");
            let record = lines.iter().rfind(|line| line["request_id"] == id).unwrap();
            assert_eq!(record["status"], answer.status.as_u16());
            assert_eq!(record["response_bytes"], answer.body.len());
            assert_eq!(record["error"].is_null(), answer.status.is_success(), "{record}");
            assert!(seen.insert(id.to_owned()));
        }
    }
    let head = gateway.caller().call(Method::HEAD, LIST, &[], "".into()).await;
    assert_eq!(kinds(&trail_lines(&audit), head.header("x-request-id")), ["intent", "call"]);
    let records = gateway.into_records().await;
    assert_eq!(records.len(), seen.len() + 1, "one record a call");
    assert!(records.last().unwrap()["error"].is_null(), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_trail_has_the_record_before_the_end_of_a_streamed_answer() {
    let long = "x".repeat(LONG);
    for (body, length) in [
        ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".to_owned(), 6),
        (format!("content-length: {LONG}\r\n\r\n{long}"), LONG),
        (format!("transfer-encoding: chunked\r\n\r\n{LONG:x}\r\n{long}\r\n0\r\n\r\n"), LONG),
    ] {
        let recorder = Recorder::answering(format!("{TEXT}{body}").into_bytes()).await;
        let gateway = Setup::plain(&recorder.origin())
            .with("[policy]\nunmatched = \"forward\"\n")
            .variable(SYNCED)
            .start()
            .await;
        for caller in [gateway.caller().clone(), gateway.caller().http2()] {
            let answer = caller.get("/a/").await;
            assert_eq!(answer.body.len(), length);
            let lines = trail_lines(&gateway.path("audit"));
            let id = answer.header("x-request-id");
            assert_eq!(kinds(&lines, id), ["intent", "call"]);
            let record = lines.iter().rfind(|line| line["request_id"] == id).unwrap();
            assert_eq!(
                (&record["response_bytes"], &record["error"]),
                (&length.into(), &Value::Null)
            );
        }
    }
}

/// Too long to be looked at in memory.
const LONG: usize = 3_000_000;
const TEXT: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";

/// The trail fails between the intent and the record: the secret is sent, the answer is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_record_cannot_be_kept_is_no_whole_answer() {
    let long = "x".repeat(LONG);
    for (body, is_streamed) in [
        ("content-length: 2\r\n\r\nok".to_owned(), false),
        (format!("content-length: {LONG}\r\n\r\n{long}"), true),
    ] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", upstream.local_addr().unwrap());
        let gateway = Setup::plain(&origin)
            .with("[policy]\nunmatched = \"forward\"\n")
            .variable(SYNCED)
            .start()
            .await;
        let caller = gateway.caller().clone();
        let request = http::Request::get("/a/").header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let call = tokio::spawn(async move { caller.request(request).await });
        let (mut stream, _) = upstream.accept().await.unwrap();
        until_blank_line(&mut stream).await;
        take_away(&gateway);
        stream.write_all(format!("{TEXT}{body}").as_bytes()).await.unwrap();
        match call.await.unwrap() {
            Ok(answer) => {
                assert_eq!((answer.problem().as_str(), is_streamed), ("audit_unavailable", false));
            }
            Err(_broken_off) => assert!(is_streamed),
        }
        fs::remove_file(gateway.path("audit")).unwrap();
        ready_is(&gateway, StatusCode::OK).await;
        let records = gateway.into_records().await;
        assert_eq!(records.len(), 1, "exactly one record: {records:?}");
        assert_eq!(records[0]["upstream_status"], 200);
    }
}

/// Puts a file where the trail's folder is.
fn take_away(gateway: &Gateway) {
    fs::rename(gateway.path("audit"), gateway.path("taken")).unwrap();
    fs::write(gateway.path("audit"), "in the way").unwrap();
}

async fn ready_is(gateway: &Gateway, status: StatusCode) -> Value {
    let becomes = async {
        loop {
            let answer = gateway.admin().get("/readyz").await;
            if answer.status == status {
                return answer.json();
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), becomes).await.expect("readiness changes")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_refuse_nothing_is_served_that_the_trail_cannot_keep_and_it_recovers_by_itself() {
    for variables in [&[][..], &[SYNCED]] {
        let pigello = pigello().await;
        let mut setup = Setup::new(&pigello);
        for variable in variables {
            setup = setup.variable(variable);
        }
        let gateway = setup.start().await;
        assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::OK);
        ready_is(&gateway, StatusCode::OK).await;
        take_away(&gateway);
        let first = gateway.caller().get(LIST).await;
        if variables.contains(&SYNCED) {
            assert_eq!(first.problem(), "audit_unavailable");
            assert_eq!(pigello.handle().request_count(), 1, "no secret without an intent");
        }
        let readiness = ready_is(&gateway, StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(readiness["reasons"][0]["part"], "audit", "{readiness}");
        let remedy = Kind::AuditUnavailable.manual().remedy;
        assert_eq!(readiness["reasons"][0]["remedy"], remedy, "{readiness}");
        let sent = pigello.handle().request_count();
        let refused = gateway.caller().get(LIST).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.problem(), "audit_unavailable");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(pigello.handle().request_count(), sent);

        fs::remove_file(gateway.path("audit")).unwrap();
        ready_is(&gateway, StatusCode::OK).await;
        assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::OK);
        let id = refused.header("x-request-id").to_owned();
        let records = gateway.into_records().await;
        assert_eq!(records.len(), 4, "refused calls are on it, too, once it can be written");
        let record = records.iter().find(|record| record["request_id"] == *id).unwrap();
        assert_eq!(
            (&record["error"], &record["outcome"]),
            (&"audit_unavailable".into(), &"failed".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_continue_calls_are_served_without_the_trail() {
    for variables in [&[][..], &[SYNCED]] {
        let pigello = pigello().await;
        let mut setup = Setup::new(&pigello).variable("PIGELLO_GATEWAY_AUDIT__ON_FAILURE=continue");
        for variable in variables {
            setup = setup.variable(variable);
        }
        let gateway = setup.start().await;
        take_away(&gateway);
        for _ in 0..5 {
            assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::OK);
        }
        fs::remove_file(gateway.path("audit")).unwrap();
        assert_eq!(gateway.into_records().await.len(), 5, "what waited is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_in_the_middle_is_on_the_trail() {
    for variables in [&[][..], &[SYNCED]] {
        let half = format!("{TEXT}content-length: {}\r\n\r\n{}", 2 * LONG, "x".repeat(LONG));
        let recorder = Recorder::answering(half.into_bytes()).await;
        let mut setup =
            Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n");
        for variable in variables {
            setup = setup.variable(variable);
        }
        let gateway = setup.start().await;
        let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
        let request = format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until_blank_line(&mut stream).await;
        drop(stream);
        let records = gateway.into_records().await;
        assert_eq!(records.len(), 1);
        assert_eq!(
            (&records[0]["error"], &records[0]["outcome"], &records[0]["status"]),
            (&"caller_gone".into(), &"failed".into(), &200.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_while_it_waits_ends_its_call() {
    let waiting = Waiting::listen().await;
    let gateway = waiting.setup().with_unix().start().await;
    let (tcp, unix) = (gateway.caller().address(), gateway.path("gateway.sock"));
    for request in [WAITING_READ, WAITING_WRITE] {
        waiting.see_it_leave(TcpStream::connect(tcp).await.unwrap(), request).await;
        waiting.see_it_leave(UnixStream::connect(&unix).await.unwrap(), request).await;
    }
    let records = gateway.into_records().await;
    assert_eq!(records.len(), 4);
    for record in records {
        assert_eq!(
            (&record["error"], &record["outcome"]),
            (&"caller_gone".into(), &"failed".into())
        );
    }
}

/// A caller that has the next request on its way is still there.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_says_more_while_it_waits_has_not_left() {
    let waiting = Waiting::listen().await;
    let gateway = waiting.setup().start().await;
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let mut upstream = waiting.ask(&mut caller, WAITING_READ).await;
    caller.write_all(WAITING_READ.as_bytes()).await.unwrap();
    // Another call ends meanwhile: the gateway has seen what lies there.
    assert_eq!(gateway.caller().get("//").await.status, StatusCode::BAD_REQUEST);
    for _ in 0..2 {
        upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        until_blank_line(&mut caller).await;
    }
    drop((caller, upstream));
    let records = gateway.into_records().await;
    let answered: Vec<_> = records.iter().filter(|record| record["status"] == 204).collect();
    assert_eq!(answered.len(), 2);
    assert!(answered.iter().all(|record| record["error"].is_null()), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_tls_is_on_the_trail() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    for _ in 0..2 {
        gateway.caller().get(LIST).await;
    }
    gateway.caller().get("/no/such/operation/").await;
    let records = gateway.into_records().await;
    assert_eq!(records[0]["tls_version"], "TLSv1.3");
    assert_eq!(records[0]["tls_certificate"].as_str().unwrap().len(), 64, "a SHA-256");
    assert_eq!(records[1]["tls_certificate"], records[0]["tls_certificate"]);
    assert!(records[2]["tls_version"].is_null() && records[2]["tls_certificate"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_cut_signed_and_hashed_as_the_configuration_says() {
    let pigello = pigello().await;
    let keys = tempfile::tempdir().unwrap();
    let (signing, object) = (keys.path().join("signing.pem"), keys.path().join("object"));
    let gateway = Setup::new(&pigello)
        .variable("PIGELLO_GATEWAY_AUDIT__SEGMENT_BYTES=1KiB")
        .variable("PIGELLO_GATEWAY_AUDIT__COMPRESS_AFTER=1000h")
        .variable("PIGELLO_GATEWAY_AUDIT__CHECKPOINT_RECORDS=1")
        .variable("PIGELLO_GATEWAY_AUDIT__OBJECT_IDS=hashed")
        .variable(&format!("PIGELLO_GATEWAY_AUDIT__SIGNING_KEY={}", signing.display()))
        .variable(&format!("PIGELLO_GATEWAY_AUDIT__OBJECT_KEY={}", object.display()))
        .variable(SYNCED)
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(gateway.caller().get(&subtenant()).await.status, StatusCode::OK);
    }
    let audit = gateway.path("audit");
    let lines = trail_lines(&audit);
    let object_ids: Vec<_> = lines.iter().filter(|line| line["kind"] == "call").collect();
    assert_eq!(object_ids.len(), 3);
    for record in object_ids {
        let id = record["object_id"].as_str().unwrap();
        assert!(id.starts_with('~') && record["path"].as_str().unwrap().contains(id), "{record}");
        assert!(!record.to_string().contains(EXAMPLE_SUBTENANT));
    }
    assert!(lines.iter().any(|line| line["kind"] == "checkpoint"));
    let files = fs::read_dir(&audit).unwrap().map(|file| file.unwrap().path());
    assert!(files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")).count() > 1);
    assert!(signing.exists() && object.exists());
    assert!(!audit.join("signing-key.pem").exists() && !audit.join("object-key").exists());
}
