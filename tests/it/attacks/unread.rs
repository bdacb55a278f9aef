//! Callers over HTTP/2 that do not read what they asked for.

use http::StatusCode;

use super::{Setup, gateway};
use crate::support::{Frames, Recorder, frame, headers, trail_lines};

/// `SETTINGS` with a first window of nothing.
fn no_window() -> Vec<u8> {
    frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let usual: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", path.as_bytes()),
    ];
    headers(stream, true, &usual)
}

/// A caller that reads nothing gives its places back, or has none if it is refused, and its records say
/// what it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_nobody_reads_end_and_give_their_places_back() {
    let body = "x".repeat(20_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let recorder = Recorder::answering(answer.into_bytes()).await;
    let forward = "[policy]\nunmatched = \"forward\"\n";
    for (more, error, bytes) in [(forward, "caller_gone", 0), ("", "operation_unknown", 0)] {
        let gateway = Setup::plain(&recorder.origin())
            .with(more)
            .with("[limits]\nin_flight = 10\n[timeouts]\nwrite = \"3s\"\n")
            .start()
            .await;
        let mut unread = Frames::connect(gateway.caller().address()).await;
        let calls: Vec<u8> = (0..10).flat_map(|n| get(1 + 2 * n, "/a/")).collect();
        assert!(unread.send(&[no_window(), calls].concat()).await);
        for _head in 0..10 {
            unread.receive(1).await;
        }
        let status = gateway.caller().get("/a/").await.status;
        let is_refused = error == "operation_unknown";
        let expected =
            if is_refused { StatusCode::FORBIDDEN } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(status, expected, "only allowed calls take places");
        for _reset in 0..10 {
            unread.receive(3).await;
        }
        let status = gateway.caller().get("/a/").await.status;
        assert_ne!(status, StatusCode::SERVICE_UNAVAILABLE, "no place is held");
        let records = gateway.into_records().await;
        let ended = records.iter().filter(|record| {
            (record["error"].as_str(), record["response_bytes"].as_u64())
                == (Some(error), Some(bytes))
        });
        assert_eq!(ended.count(), 10, "{records:?}");
    }
}

/// Whether a write was carried out does not depend on a caller that reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_on_the_trail_though_its_caller_reads_nothing() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngone".to_vec();
    let recorder = Recorder::answering(answer).await;
    let gateway =
        Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n").start().await;
    let mut unread = Frames::connect(gateway.caller().address()).await;
    let delete: [(&[u8], &[u8]); 4] = [
        (b":method", b"DELETE"),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", b"/a/"),
    ];
    assert!(unread.send(&[no_window(), headers(1, true, &delete)].concat()).await);
    unread.receive(1).await;
    // The caller still holds its connection.
    let audit = gateway.path("audit");
    let call = loop {
        tokio::task::yield_now().await;
        let lines = trail_lines(&audit);
        if let Some(call) = lines.into_iter().find(|line| line["kind"] == "call") {
            break call;
        }
    };
    let told = (&call["method"], &call["status"], &call["outcome"], &call["attempts"]);
    assert_eq!(told, (&"DELETE".into(), &200.into(), &"forwarded".into(), &1.into()));
}

/// The first bytes of an answer that its caller has room for, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_caller_that_leaves_says_what_it_was_sent() {
    let (_recorder, gateway) = gateway().await;
    let mut caller = Frames::connect(gateway.caller().address()).await;
    let window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]);
    assert!(caller.send(&[window, get(1, "/a/")].concat()).await);
    assert_eq!(caller.receive(0).await, 1, "one byte");
    drop(caller);
    let records = gateway.into_records().await;
    let told = (&records[0]["status"], &records[0]["error"], &records[0]["response_bytes"]);
    assert_eq!(told, (&200.into(), &"caller_gone".into(), &1.into()));
}
