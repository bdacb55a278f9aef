//! How the gateway judges the upstream: by operation first. The maintenance of one takes no other away.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use pigello_mock::{EXAMPLE_SUBTENANT, Fault};

use crate::support::{Setup, pigello};

const TROUBLED: &str = "/accounts/users/customer/tenant/list/";

fn other() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

const NO_CACHE: &str = "[cache]\nenabled = false\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_keeps_failing_is_left_alone_and_reads_go_on() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(NO_CACHE).start().await;
    let down = Fault::new().method(Method::POST).status(StatusCode::SERVICE_UNAVAILABLE);
    pigello.handle().fault(down.until_cleared());
    let caller = gateway.caller();
    let mut refused = 0;
    for _ in 0..30 {
        for _ in 0..2 {
            let write = caller.send(Method::POST, TROUBLED, "[]").await;
            assert_eq!(write.status, StatusCode::SERVICE_UNAVAILABLE);
            refused += u32::from(write.header("proxy-status").contains("upstream_suspended"));
        }
        assert_eq!(caller.get(&other()).await.status, StatusCode::OK);
    }
    assert!(refused > 0, "it is left alone");
    let status = gateway.admin().get("/status").await.json();
    let upstream = &status["upstreams"][0];
    assert_eq!(upstream["breaker"], "closed");
    assert_eq!(upstream["suspended_operations"][0], "tenant.bulk_write");
    let metrics = String::from_utf8(gateway.admin().get("/metrics").await.body.to_vec()).unwrap();
    let suspended = "pigello_gateway_upstream_suspended_operations{profile=\"test\"} 1";
    assert!(metrics.contains(suspended), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_that_of_its_operation() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(NO_CACHE).start().await;
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let pause = Fault::new().method(Method::POST).status(status);
        pigello.handle().fault(pause.header(header::RETRY_AFTER, HeaderValue::from_static("300")));
        gateway.caller().send(Method::POST, TROUBLED, "[]").await;
        let paused = gateway.caller().send(Method::POST, TROUBLED, "[]").await;
        assert_eq!(paused.problem(), "upstream_rate_limited");
        for _ in 0..20 {
            assert_eq!(gateway.caller().get(&other()).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_hangs_is_left_alone() {
    let pigello = pigello().await;
    let timeouts = "[timeouts]\nfirst_byte = \"200ms\"\n[breaker]\nfailures = 5\n";
    let gateway = Setup::new(&pigello).with(NO_CACHE).with(timeouts).start().await;
    let hang = Fault::new().delay(Duration::from_mins(1)).until_cleared();
    pigello.handle().fault(hang);
    let mut problems = Vec::new();
    for _ in 0..6 {
        problems.push(gateway.caller().get(TROUBLED).await.problem());
    }
    let hung = ["upstream_first_byte_timeout"; 5].map(str::to_owned);
    assert_eq!(problems[..5], hung);
    assert_eq!(problems[5], "upstream_suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_429_in_a_quiet_moment_slows_nobody_down() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(NO_CACHE).start().await;
    pigello.handle().fault(Fault::new().status(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(gateway.caller().get(TROUBLED).await.status, StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..50 {
        assert_eq!(gateway.caller().get(&other()).await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_under_load_teaches_a_rate_unless_that_is_switched_off() {
    for (keys, is_learnt) in [("", true), ("[quota]\nenabled = false\n", false)] {
        let pigello = pigello().await;
        let gateway = Setup::new(&pigello).with(NO_CACHE).with(keys).start().await;
        for _ in 0..60 {
            gateway.caller().get(&other()).await;
        }
        pigello.handle().fault(Fault::new().status(StatusCode::TOO_MANY_REQUESTS));
        gateway.caller().get(TROUBLED).await;
        let metrics = gateway.admin().get("/metrics").await.body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let rate = "pigello_gateway_upstream_learnt_rate{profile=\"test\"}";
        assert_eq!(metrics.contains(rate), is_learnt, "{keys}{metrics}");
    }
}
