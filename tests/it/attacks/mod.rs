//! Requests that smuggle, confuse, forge or flood, byte by byte over raw sockets.
//!
//! One row an attack. The upstream records raw bytes and refuses nothing, so that what it did not
//! see was stopped here, and what it did see is exactly the sanitised request. Requests that match no
//! operation are forwarded, so that no refusal is the policy's.

mod http1;
mod http2;
mod floods;
mod unread;

use crate::support::{Gateway, Recorder, Setup};

/// The upstream and a gateway in front of it.
async fn gateway() -> (Recorder, Gateway) {
    let recorder = Recorder::start().await;
    let gateway =
        Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n").start().await;
    (recorder, gateway)
}

/// Everything of the seven values that the upstream must have got, and nothing forged.
fn assert_sanitised(name: &str, seen: &str) {
    let seen = seen.to_ascii_lowercase();
    assert_eq!(seen.matches(" http/1.1\r\n").count(), 1, "{name}: one request, {seen:?}");
    assert_eq!(seen.matches("x-pigello-client-secret:").count(), 1, "{name}: {seen:?}");
    assert_eq!(seen.matches("\r\nhost: 127.0.0.1:").count(), 1, "{name}: {seen:?}");
    for gone in ["evil", "forged", "x_pigello", "\r\nconnection:", "\r\nte:", "\r\ntrailer"] {
        assert!(!seen.contains(gone), "{name}: {gone} in {seen:?}");
    }
    assert!(seen.matches("content-length").count() <= 1, "{name}: {seen:?}");
}
