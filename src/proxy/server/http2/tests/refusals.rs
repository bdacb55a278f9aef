//! Requests that never become calls.

use super::support::{Caller, block, frame_of, get};
use crate::error::Kind;

const DATA: u8 = 0;
const RESET: u8 = 3;

#[tokio::test(start_paused = true)]
async fn a_malformed_request_is_reported_once_and_its_neighbours_live() {
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/5")];
    for (name, fields) in [
        ("a field of a connection", [&usual[..], &[("transfer-encoding", "chunked")]].concat()),
        ("no path", usual[..3].to_vec()),
        ("upper case", [&usual[..], &[("X", "a")]].concat()),
    ] {
        let mut caller = Caller::connect(100).await;
        let bad = frame_of(1, 5, 3, &block(&fields));
        caller.send(&[get(1, "/5"), bad, get(5, "/5")].concat()).await;
        let mut heard = Vec::new();
        for _ in 0..5 {
            let frame = caller.frame().await;
            let (kind, _, stream, _) = frame.unwrap_or_else(|| panic!("{name}: {heard:?}"));
            heard.push((kind, stream));
        }
        heard.sort_unstable();
        assert_eq!(heard, [(DATA, 1), (DATA, 5), (1, 1), (1, 5), (RESET, 3)], "{name}");
        assert_eq!(*caller.refused.lock(), [Kind::Malformed], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_over_the_limit_is_reported() {
    let mut caller = Caller::connect(100).await;
    let value = "x".repeat(100);
    let fields = [("x", value.as_str()); 200];
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/5")];
    let block = block(&[&usual[..], &fields].concat());
    let (first, rest) = block.split_at(16_000);
    caller.send(&[frame_of(1, 1, 1, first), frame_of(9, 4, 1, rest), get(3, "/5")].concat()).await;
    caller.wait_for(DATA, 3).await;
    assert_eq!(*caller.refused.lock(), [Kind::HeadersTooLarge]);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frames_are_reported() {
    for (name, bytes) in [
        ("a block that is no HPACK", frame_of(1, 5, 1, &[0x80, 0xff])),
        ("a PING that is too short", frame_of(6, 0, 0, &[0; 3])),
        ("data of no stream", frame_of(0, 0, 0, b"x")),
    ] {
        let mut caller = Caller::connect(100).await;
        caller.send(&bytes).await;
        caller.wait_for(7, 0).await;
        while caller.frame().await.is_some() {}
        assert_eq!(*caller.refused.lock(), [Kind::Malformed], "{name}");
        caller.serving.await.unwrap().unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn what_calls_do_is_no_refusal() {
    let mut caller = Caller::connect(100).await;
    // A body that is longer than its length: the call has a record.
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/never"),
        ("content-length", "2"),
    ];
    let post = [frame_of(1, 4, 1, &block(&fields)), frame_of(0, 1, 1, b"hello")].concat();
    caller.send(&[post, get(3, "/5")].concat()).await;
    caller.wait_for(DATA, 3).await;
    caller.send(&[get(5, "/never"), frame_of(RESET, 0, 5, &[0, 0, 0, 1])].concat()).await;
    caller.send(&get(7, "/5")).await;
    caller.wait_for(DATA, 7).await;
    assert_eq!(*caller.refused.lock(), []);
}
