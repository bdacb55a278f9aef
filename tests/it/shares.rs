//! Shares of what callers have in common: nobody takes another's places.

use http::StatusCode;

use crate::{
    lifecycle::TENANT,
    support::{Frames, Heard, Setup, frame, headers, pigello},
};

/// A caller rule for whoever runs the tests, on a Unix socket.
fn own_rule() -> String {
    let uid = rustix::process::geteuid().as_raw();
    format!("[[callers]]\nname = \"own\"\nunix_uids = [{uid}]\nallow = [\"*\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_callers_that_read_nothing_take_no_place_of_an_allowed_one() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .with_unix()
        .with(&own_rule())
        .with("[limits]\nin_flight = 4\n")
        .start()
        .await;
    let request = |stream| {
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"localhost"),
            (b":path", TENANT.as_bytes()),
        ];
        headers(stream, true, fields)
    };
    // No window for bodies, and no table of header fields, so that each status is spelled out.
    let no_window = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut connection = Frames::connect(gateway.caller().address()).await;
        assert!(connection.send(&no_window).await);
        for stream in (1..160).step_by(2) {
            assert!(connection.send(&request(stream)).await);
            assert_eq!(connection.hear(stream).await, Heard::Status(403));
        }
        waiting.push(connection);
    }
    let allowed = gateway.unix_caller();
    for _ in 0..8 {
        assert_eq!(allowed.get(TENANT).await.status, StatusCode::OK);
    }
}
