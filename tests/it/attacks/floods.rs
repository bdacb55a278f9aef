//! Floods of frames that carry no request: the connection ends, and others are served.

use super::gateway;
use crate::support::{Frames, Heard, frame, headers};

/// Sends one piece again and again until the connection ends.
async fn flood(name: &str, piece: impl Fn(u32) -> Vec<u8>) {
    let (_recorder, gateway) = gateway().await;
    let mut connection = Frames::connect(gateway.caller().address()).await;
    let mut sent = 0;
    while sent < LIMIT {
        let batch: Vec<u8> = (0..100).flat_map(|number| piece(sent + number)).collect();
        if !connection.send(&batch).await {
            break;
        }
        sent += 100;
    }
    let heard = connection.hear(0).await;
    assert!(matches!(heard, Heard::GoAway | Heard::Closed), "{name}: {heard:?} after {sent}");
    assert_eq!(gateway.caller().get("/a/").await.status, 200, "{name}: others are served");
}

/// The budget is some thousand frames, and what is in buffers is sent as well.
const LIMIT: u32 = 400_000;

#[tokio::test(flavor = "multi_thread")]
async fn pings() {
    flood("PING", |_| frame(6, 0, 0, &[0; 8])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings() {
    flood("SETTINGS", |_| frame(4, 0, 0, &[0, 4, 0, 0, 255, 255])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities() {
    flood("PRIORITY", |number| frame(2, 0, number * 2 + 1, &[0, 0, 0, 0, 1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_frames() {
    flood("unknown", |_| frame(99, 0, 0, &[0; 8])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    flood("RST_STREAM", |number| {
        let stream = number * 2 + 1;
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"localhost"),
            (b":path", b"/a/"),
        ];
        [headers(stream, true, fields), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn continuations() {
    flood("CONTINUATION", |number| match number {
        0 => frame(1, 0, 1, &[0, 1, b'x', 1, b'y']),
        _ => frame(9, 0, 1, &[0, 1, b'x', 1, b'y']),
    })
    .await;
}
