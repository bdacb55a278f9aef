//! The objects of a list in its record, with `audit.list_ids`.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::support::{Recorder, Setup};

const LIST: &str = "/accounts/users/customer/subtenant/list/";
const FIRST: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
const SECOND: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ac";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A list whose body is longer than what is kept in memory.
fn long() -> String {
    let filler = "x".repeat(1000);
    let mut items = vec![format!(r#"{{"id":"{FIRST}","note":"{filler}"}}"#); 200];
    items.push(format!(r#"{{"id":"{SECOND}"}}"#));
    format!(r#"{{"count":201,"results":[{}]}}"#, items.join(","))
}

fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

const PLAIN: &str = "PIGELLO_GATEWAY_AUDIT__LIST_IDS=plain";

/// The record of a call with these settings, and the body of its answer.
async fn record(
    settings: &[&str],
    method: &str,
    path: &str,
    response: Vec<u8>,
) -> (Value, Vec<u8>) {
    let recorder = Recorder::answering(response).await;
    let setup = Setup::plain(&recorder.origin());
    let setup = settings.iter().fold(setup, |setup, setting| setup.variable(setting));
    let gateway = setup.start().await;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let address = gateway.caller().address();
    let answer = crate::support::raw_bytes(address, request.as_bytes()).await;
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    (gateway.into_records().await.remove(0), answer[head..].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_list_has_its_objects() {
    let short = format!(r#"[{{"id":"{FIRST}"}},{{"id":"{SECOND}"}}]"#);
    let lines = format!("{{\"id\":\"{FIRST}\"}}\n{{\"id\":\"{SECOND}\"}}\n");
    for durability in ["batched", "synced"] {
        let durability = format!("PIGELLO_GATEWAY_AUDIT__DURABILITY={durability}");
        for (fields, body, ids) in [
            ("", short.as_bytes().to_vec(), 2),
            ("", lines.as_bytes().to_vec(), 2),
            ("content-encoding: gzip\r\n", gzip(&short), 2),
            ("", long().into_bytes(), 201),
            ("content-encoding: gzip\r\n", gzip(&long()), 201),
        ] {
            let (record, passed) =
                record(&[PLAIN, &durability], "GET", LIST, response(fields, &body)).await;
            assert_eq!(passed, body, "the answer is unchanged");
            let found = record["list_ids"].as_array().unwrap();
            assert_eq!(found.len(), ids, "{durability} {fields}");
            assert_eq!((&found[0], &found[ids - 1]), (&json!(FIRST), &json!(SECOND)));
            assert_eq!(record["list_ids_complete"], true);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said() {
    for (fields, body) in [
        ("", b"{\"detail\":\"x\"}".to_vec()),
        ("", b"not JSON".to_vec()),
        ("", format!(r#"[{{"id":"{FIRST}"}},{{"pk":1}}]"#).into_bytes()),
    ] {
        let (record, _) = record(&[PLAIN], "GET", LIST, response(fields, &body)).await;
        assert_eq!(record["list_ids_complete"], false, "{record}");
    }
    let body = long();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let broken = format!("{head}{:x}\r\n{body}\r\nno chunk", body.len());
    let (record, _) = record(&[PLAIN], "GET", LIST, broken.into_bytes()).await;
    assert_eq!(record["list_ids_complete"], false);
    assert_eq!(record["list_ids"][0], FIRST);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_lists_that_were_answered_have_objects() {
    let body = format!(r#"[{{"id":"{FIRST}"}}]"#);
    let object = format!("/accounts/users/customer/subtenant/{FIRST}/");
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n[]".to_vec();
    for (settings, method, path, response) in [
        (&[][..], "GET", LIST, response("", body.as_bytes())),
        (&[PLAIN], "GET", object.as_str(), response("", body.as_bytes())),
        (&[PLAIN], "HEAD", LIST, response("", b"")),
        (&[PLAIN], "GET", LIST, refusal),
    ] {
        let (record, _) = record(settings, method, path, response).await;
        assert!(record.get("list_ids").is_none(), "{method} {path}: {record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_objects_are_not_named() {
    let body = format!(r#"[{{"id":"{FIRST}"}}]"#);
    let hashed = "PIGELLO_GATEWAY_AUDIT__LIST_IDS=hashed";
    let (record, _) = record(&[hashed], "GET", LIST, response("", body.as_bytes())).await;
    let name = record["list_ids"][0].as_str().unwrap();
    assert!(name.starts_with('~') && name.len() == 33, "{name}");
}
