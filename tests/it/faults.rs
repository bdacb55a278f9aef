//! What callers see when the way to Pigello breaks, fault by fault.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode, header};
use pigello_mock::{Authority, EXAMPLE_SUBTENANT, Fault, Interruption, MockPigello, Options};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::support::{BreakingProxy, Gateway, Setup, Weather, pigello};

const TENANT: &str = "/accounts/users/customer/tenant/list/";
const INVITE: &str = "/accounts/users/auth/invite/customer/subtenant/";

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

async fn behind(proxy: &BreakingProxy, pigello: &MockPigello) -> Gateway {
    Setup::new(pigello)
        .profile(&format!("connect_to = \"{}\"\n", proxy.address()))
        .with(
            "[timeouts]\nconnect = \"300ms\"\nfirst_byte = \"400ms\"\nupstream_read = \"300ms\"\n",
        )
        .start()
        .await
}

fn fault(interruption: Interruption) -> Fault {
    Fault::new().interrupt(interruption)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_an_answer_costs_a_read_nothing_and_a_write_is_sent_once() {
    for interruption in [Interruption::CloseUnanswered, Interruption::CutHead] {
        // HTTP/1.1: a whole head of HTTP/2 is shorter than what the mock lets out of a broken one.
        let pigello = MockPigello::start(Options::new().plain()).await.unwrap();
        let gateway = Setup::new(&pigello).profile("insecure_http = true\n").start().await;
        pigello.handle().fault(fault(interruption).times(2));
        let read = gateway.caller().get(TENANT).await;
        assert_eq!(read.status, StatusCode::OK, "{interruption:?}");
        pigello.handle().forget_requests();
        pigello.handle().fault(fault(interruption));
        let write = gateway.caller().send(Method::POST, INVITE, "{}").await;
        assert_eq!(write.status, StatusCode::BAD_GATEWAY, "{interruption:?}: {write:?}");
        assert_eq!(write.problem(), "upstream_closed");
        assert_eq!(pigello.handle().requests().len(), 1, "Pigello may have acted on it");
        let records = gateway.into_records().await;
        let (read, write) = (&records[0], &records[1]);
        assert_eq!(read["attempts"], 3);
        assert_eq!(read["retries"], json!(["upstream_closed", "upstream_closed"]));
        assert_eq!(read["outcome"], "forwarded");
        assert_eq!(write["attempts"], 1);
        assert_eq!(
            (&write["outcome"], &write["error"]),
            (&json!("failed"), &json!("upstream_closed"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_is_sent_again_whatever_the_method() {
    let pigello = pigello().await;
    let proxy = BreakingProxy::start(pigello.address()).await;
    let gateway = behind(&proxy, &pigello).await;
    proxy.forecast([Weather::Reset, Weather::Silence]);
    let write = gateway.caller().send(Method::POST, INVITE, "{}").await;
    assert_eq!(write.status, StatusCode::CREATED, "{write:?}");
    assert_eq!(pigello.handle().requests().len(), 1);
    let records = gateway.into_records().await;
    assert_eq!(records[0]["attempts"], 3);
    assert_eq!(records[0]["retries"][1], "upstream_connect_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_breaks_off_and_is_on_the_trail() {
    let cases = [
        (Interruption::CutBody, "upstream_incomplete"),
        (Interruption::StallBody, "upstream_stalled"),
    ];
    for (interruption, error) in cases {
        let pigello = pigello().await;
        let proxy = BreakingProxy::start(pigello.address()).await;
        let gateway = behind(&proxy, &pigello).await;
        pigello.handle().fault(fault(interruption));
        // Small enough to be looked at as a whole, so the caller is told and gets no half of it.
        let answer = gateway.caller().get(TENANT).await;
        assert_eq!(answer.problem(), error, "{interruption:?}");
        let records = gateway.into_records().await;
        assert_eq!((&records[0]["error"], &records[0]["attempts"]), (&json!(error), &json!(1)));
        assert_eq!(records[0]["upstream_status"], 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_limit_says_which_it_was() {
    let pigello = pigello().await;
    let proxy = BreakingProxy::start(pigello.address()).await;
    let gateway = behind(&proxy, &pigello).await;

    pigello.handle().fault(fault(Interruption::StallHead));
    let answer = gateway.caller().get(TENANT).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.problem(), "upstream_first_byte_timeout");
    assert!(answer.header("proxy-status").contains("error=connection_read_timeout"), "{answer:?}");

    proxy.storm();
    proxy.forecast([Weather::Silence; 4]);
    let answer = gateway.caller().get(TENANT).await;
    assert_eq!(answer.problem(), "upstream_connect_timeout");
    assert!(answer.header("proxy-status").contains("error=connection_timeout"), "{answer:?}");
    let records = gateway.into_records().await;
    assert_eq!(records[0]["attempts"], 1, "Pigello may be at work on it");
    assert_eq!(records[1]["attempts"], 4);

    let gateway = Setup::new(&pigello)
        .with("[timeouts]\nrequest = \"300ms\"\nconnect = \"300ms\"\n")
        .start()
        .await;
    pigello.handle().fault(fault(Interruption::StallHead));
    let answer = gateway.caller().get(TENANT).await;
    assert_eq!(answer.problem(), "upstream_timeout");
    assert!(answer.header("proxy-status").contains("error=http_response_timeout"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_drip_ends_with_the_whole_calls_limit() {
    let pigello = pigello().await;
    let proxy = BreakingProxy::start(pigello.address()).await;
    let gateway = Setup::new(&pigello)
        .profile(&format!("connect_to = \"{}\"\n", proxy.address()))
        .with("[timeouts]\nrequest = \"600ms\"\nconnect = \"500ms\"\n")
        .start()
        .await;
    proxy.forecast([Weather::Drip(Duration::from_millis(5)); 3]);
    let answer = gateway.caller().get(TENANT).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_valid_is_looked_at_once() {
    let names = ["127.0.0.1"];
    let authority = Arc::new(Authority::new("test").unwrap());
    let expired = authority.expired_server(&names).unwrap();
    let pigello = MockPigello::start(Options::new().certificate(Arc::clone(&authority), expired))
        .await
        .unwrap();
    let gateway = Setup::new(&pigello).start().await;
    let answer = gateway.caller().get(TENANT).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.problem(), "upstream_certificate");
    assert!(answer.header("proxy-status").contains("error=tls_certificate_error"));
    assert_eq!(pigello.handle().connections(), 1);
    assert_eq!(gateway.into_records().await[0]["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_is_told_apart_from_a_name_that_is_not() {
    let pigello = pigello().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (upstream, problem) in [
        (format!("https://{gone}"), "upstream_refused"),
        // RFC 6761 §6.4: never resolves.
        ("https://pigello.invalid".to_owned(), "upstream_dns"),
    ] {
        let gateway = Setup::new(&pigello).upstream(upstream).start().await;
        let answer = gateway.caller().send(Method::POST, INVITE, "{}").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.problem(), problem);
        assert_eq!(gateway.into_records().await[0]["attempts"], 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_sending_gets_a_408() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[timeouts]\nbody_read = \"200ms\"\n").start().await;
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let head =
        format!("POST {INVITE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:pigello-gateway:problem:body_timeout"), "{answer}");
    let records = gateway.into_records().await;
    assert_eq!(records[0]["error"], "body_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_connection_costs_nobody_an_error() {
    let pigello = pigello().await;
    let proxy = BreakingProxy::start(pigello.address()).await;
    let gateway = behind(&proxy, &pigello).await;
    for round in 0..20 {
        let answer = gateway.caller().send(Method::POST, INVITE, "{}").await;
        assert_eq!(answer.status, StatusCode::CREATED, "round {round}: {answer:?}");
        let before = proxy.connections();
        proxy.storm();
        // What the gateway does with the news takes a turn of its own; the call below comes after.
        let answer = gateway.caller().get(&subtenant()).await;
        assert_eq!(answer.status, StatusCode::OK, "round {round}");
        assert!(proxy.connections() > before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_keeps_failing_is_left_alone_and_found_again() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .with("[retry]\nattempts = 1\n[breaker]\nfailures = 3\npause = \"200ms\"\n")
        .start()
        .await;
    pigello.handle().fault(Fault::new().status(StatusCode::SERVICE_UNAVAILABLE).times(3));
    for _ in 0..3 {
        assert_eq!(gateway.caller().get(TENANT).await.header("proxy-status"), "");
    }
    let refused = gateway.caller().get(TENANT).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.problem(), "upstream_suspended");
    assert!(refused.header("proxy-status").contains("error=destination_unavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(pigello.handle().request_count(), 3, "Pigello was left alone");
    // The pause is real time here: the gateway runs on threads of its own.
    let found = tokio::time::timeout(Duration::from_secs(10), async {
        while gateway.caller().get(TENANT).await.status != StatusCode::OK {}
    });
    found.await.expect("it is found again");
    let records = gateway.into_records().await;
    assert_eq!(records[3]["attempts"], 0);
    assert_eq!(records[3]["error"], "upstream_suspended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_pigello_asks_for_is_kept_for_everyone() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let too_many = Fault::new()
        .status(StatusCode::TOO_MANY_REQUESTS)
        .header(header::RETRY_AFTER, "120".parse().unwrap());
    pigello.handle().fault(too_many);
    let told = gateway.caller().get(TENANT).await;
    assert_eq!((told.status, told.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "120"));
    let kept = gateway.caller().get(TENANT).await;
    assert_eq!(kept.problem(), "upstream_rate_limited");
    let after: u64 = kept.header("retry-after").parse().unwrap();
    assert!((110..=120).contains(&after), "{after}");
    assert_eq!(pigello.handle().request_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_while_the_upstream_is_restarted_one_by_one() {
    let authority = Arc::new(Authority::new("test").unwrap());
    let start = async || {
        let certificate = authority.server(&["127.0.0.1"]).unwrap();
        let options = Options::new().certificate(Arc::clone(&authority), certificate);
        MockPigello::start(options).await.unwrap()
    };
    let mut pigello = start().await;
    let proxy = BreakingProxy::start(pigello.address()).await;
    let gateway = behind(&proxy, &pigello).await;
    let enough = CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (caller, enough) = (gateway.caller().clone(), enough.clone());
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !enough.is_cancelled() {
                    seen.push(caller.get(TENANT).await.status);
                }
                seen
            })
        })
        .collect();
    for _ in 0..8 {
        let next = start().await;
        pigello.handle().wait_for_requests(10).await;
        // As a load balancer does it: new connections go to the new one, then the old one goes away
        // in the middle of whatever it does.
        proxy.lead_to(next.address());
        std::mem::replace(&mut pigello, next).stop().await.unwrap();
        proxy.storm();
    }
    enough.cancel();
    let mut seen = Vec::new();
    for caller in callers {
        seen.extend(caller.await.unwrap());
    }
    assert!(seen.len() > 40);
    let records = gateway.into_records().await;
    let failed: Vec<_> = records.iter().filter(|record| !record["error"].is_null()).collect();
    assert!(seen.iter().all(|status| *status == StatusCode::OK), "{seen:?}: {failed:#?}");
    let again = |record: &&Value| record["attempts"].as_u64() > Some(1);
    let again = records.iter().filter(again).count();
    assert!(again > 0, "nothing was in the middle of anything");
}
