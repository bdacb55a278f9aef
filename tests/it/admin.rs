//! The admin listener.

use http::{Method, StatusCode};
use pigello_mock::{EXAMPLE_SUBTENANT, MADE_UP_VALUES};

use crate::support::{Setup, pigello, raw};

#[tokio::test(flavor = "multi_thread")]
async fn health_status_and_metrics_tell_the_state_and_no_secret() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let target =
        format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/?ssn=199001012385");
    for _ in 0..3 {
        assert_eq!(gateway.caller().get(&target).await.status, StatusCode::OK);
    }
    gateway.caller().get("/nowhere/").await;

    let admin = gateway.admin();
    assert_eq!(admin.get("/livez").await.body, "ok\n");
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (StatusCode::OK, &true.into()));
    let status = admin.get("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listeners"][0]["name"], "main");
    assert_eq!(status["profiles"][0]["upstream"], pigello.origin());
    assert_eq!(status["credentials"][0]["name"], "test");
    assert_eq!(status["audit"]["writable"], true);

    let metrics = admin.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        r#"pigello_gateway_calls_total{operation="none",caller="unidentified",outcome="refused",status="4xx"} 1"#,
        r#"pigello_gateway_errors_total{kind="operation_unknown"} 1"#,
        r#"pigello_gateway_call_duration_seconds_count{operation="subtenant.get"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let everything = format!("{status}{metrics}");
    for (name, value) in MADE_UP_VALUES {
        assert!(!name.is_secret() || !everything.contains(value));
    }
    assert!(!everything.contains("199001012385"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_in_a_browser_cannot_use_it() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_tcp_admin().start().await;
    let admin = gateway.admin();
    for headers in [
        &[("host", "evil.test")][..],
        &[("origin", "https://evil.test")],
        &[("sec-fetch-site", "cross-site")],
    ] {
        let answer = admin.call(Method::DELETE, "/cache", headers, bytes::Bytes::new()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(admin.send(Method::DELETE, "/cache", "").await.status, StatusCode::OK);
    for query in ["unknown=1", "operation=no.such", "operation=199001012385", "pk=199001012385"] {
        let refused = admin.send(Method::DELETE, &format!("/cache?{query}"), "").await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(admin.get("/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_connections_have_the_limits_of_a_callers() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .with_tcp_admin()
        .with(
            "[timeouts]\nheader_read = \"100ms\"\nidle = \"100ms\"\n[limits]\nheader_count = 10\n",
        )
        .start()
        .await;
    let admin = gateway.admin().address();
    // Each returns when the gateway closes the connection.
    assert!(raw(admin, b"GET /livez HT").await.starts_with("HTTP/1.1 408 "), "half a head");
    assert_eq!(raw(admin, b"").await, "", "nothing");
    let idle = raw(admin, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(idle.starts_with("HTTP/1.1 200 ") && idle.ends_with("ok\n"), "{idle}");
    let large = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(20));
    let refused = raw(admin, large.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let refused = raw(admin, b"GET /livez HTTP/1.1\nhost: localhost\n\n").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}
