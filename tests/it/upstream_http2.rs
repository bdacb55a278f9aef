//! What an upstream may do over HTTP/2 that is no failure: refuse a stream, go away, allow few streams.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::net::TcpListener;

use crate::support::{Frames, Gateway, Setup, frame, headers};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
const WRITE: &str = "/accounts/users/customer/tenant/list/";

/// `200`, and nothing behind it.
fn ok(stream: u32) -> Vec<u8> {
    headers(stream, true, &[(b":status", b"200")])
}

/// A gateway before an upstream by hand. It has one worker, so all calls share connections.
async fn gateway() -> (Gateway, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup::plain(&format!("http://{}", listener.local_addr().unwrap()));
    let setup = setup.profile("http = \"2\"\n");
    (setup.start().await, listener)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_is_sent_once_more() {
    let (gateway, listener) = gateway().await;
    let upstream = async {
        let mut connection = Frames::accept(listener.accept().await.unwrap().0).await;
        let refused = connection.receive(HEADERS).await;
        connection.send(&frame(RST_STREAM, 0, refused, &REFUSED_STREAM)).await;
        let stream = connection.receive(HEADERS).await;
        connection.send(&ok(stream)).await;
        connection
    };
    let caller = gateway.caller();
    let (answer, _open) = tokio::join!(caller.send(Method::POST, WRITE, "{}"), upstream);
    assert_eq!(answer.status, StatusCode::OK);
    let record = gateway.into_records().await.remove(0);
    assert_eq!(record["attempts"], 2);
    assert_eq!(record["retries"][0], "upstream_unprocessed");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_behind_a_goaway_go_over_another_connection_and_none_twice() {
    let (gateway, listener) = gateway().await;
    let upstream = async {
        let mut processed = BTreeMap::new();
        let mut first = Frames::accept(listener.accept().await.unwrap().0).await;
        let mut streams = Vec::new();
        for _ in 0..30 {
            streams.push(first.receive(HEADERS).await);
        }
        let last = streams[4].to_be_bytes();
        first.send(&frame(GOAWAY, 0, 0, &[last, [0; 4]].concat())).await;
        for stream in &streams[..5] {
            first.send(&ok(*stream)).await;
        }
        processed.insert("first", 5);
        let mut second = Frames::accept(listener.accept().await.unwrap().0).await;
        for _ in 0..25 {
            let stream = second.receive(HEADERS).await;
            second.send(&ok(stream)).await;
            *processed.entry("second").or_default() += 1;
        }
        (first, second, processed)
    };
    let calls = (0..30).map(|_| async { gateway.caller().send(Method::POST, WRITE, "{}").await });
    let (answers, (_first, _second, processed)) = tokio::join!(join_all(calls), upstream);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(processed, BTreeMap::from([("first", 5), ("second", 25)]));
    let attempts = gateway.into_records().await;
    let twice = attempts.iter().filter(|record| record["attempts"] == 2);
    assert_eq!(twice.count(), 25);
}
