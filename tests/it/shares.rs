//! Shares of what callers have in common: nobody takes another's places.

use std::net::TcpStream;

use http::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;

use crate::{
    lifecycle::{TENANT, kept, send},
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

#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_at_one_listener_keep_no_caller_out_of_it_or_of_another() {
    let pigello = pigello().await;
    let gateway =
        Setup::new(&pigello).with_unix().with("[limits]\nconnections = 20\n").start().await;
    let address = gateway.caller().address();
    let mut oldest = tokio::net::TcpStream::connect(address).await.unwrap();
    let _strangers: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(gateway.unix_caller().get(TENANT).await.status, StatusCode::OK);
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    // It gave way to a newer one.
    assert!(matches!(oldest.read(&mut [0]).await, Ok(0) | Err(_)));
    let metrics = gateway.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line =
        metrics.lines().find(|line| line.contains("connections_limited_total{limit=\"unproven\"}"));
    let count: u32 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 36, "{count}");
}

/// Refused calls prove nothing: their connections give way like silent ones, and a proven one stays.
#[tokio::test(flavor = "multi_thread")]
async fn connections_with_refused_calls_only_give_way() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[limits]\nconnections = 8\n").start().await;
    let mut allowed = kept(gateway.caller()).await;
    assert_eq!(send(&mut allowed, Method::GET, TENANT, "").await, StatusCode::OK);
    let mut refused = Vec::new();
    for _ in 0..20 {
        let mut connection = kept(gateway.caller()).await;
        let status = send(&mut connection, Method::GET, "/nowhere/", "").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        refused.push(connection);
    }
    assert_eq!(send(&mut allowed, Method::GET, TENANT, "").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_its_limit_gets_no_more_connections_and_another_does() {
    let pigello = pigello().await;
    let gateway =
        Setup::new(&pigello).with_unix().with("[limits]\nconnections_per_peer = 2\n").start().await;
    let mut proven = Vec::new();
    for _ in 0..2 {
        let mut connection = kept(gateway.caller()).await;
        assert_eq!(send(&mut connection, Method::GET, TENANT, "").await, StatusCode::OK);
        proven.push(connection);
    }
    let mut third = tokio::net::TcpStream::connect(gateway.caller().address()).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)), "closed at once");
    assert_eq!(gateway.unix_caller().get(TENANT).await.status, StatusCode::OK);
    let metrics = gateway.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = "pigello_gateway_connections_limited_total{limit=\"peer\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}
