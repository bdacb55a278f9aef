//! Every fault, over both versions of HTTP, through the handle, the header and the control path.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{Echo, Fault, Handle, Interruption, MockPigello, Options};

use super::client::{Call, call, get, next_data};

const LIST: &str = "/accounts/users/customer/subtenant/list/";

async fn start() -> MockPigello {
    MockPigello::start(Options::new()).await.unwrap()
}

/// The same call over HTTP/2 and over HTTP/1.1.
fn both() -> [Call; 2] {
    [get(LIST), get(LIST).http1()]
}

#[tokio::test]
async fn a_status_lasts_for_its_number_of_requests() {
    let mock = start().await;
    let fault = Fault::new()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(header::RETRY_AFTER, HeaderValue::from_static("7"));
    mock.handle().fault(fault.times(2));
    for call in both() {
        let answer = call.send(&mock).await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(answer.json()["detail"], "The mock was told to answer 503.");
    }
    assert_eq!(get(LIST).send(&mock).await.unwrap().status, StatusCode::OK);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn headers_are_added_to_the_correct_response() {
    let mock = start().await;
    let cache_control = HeaderValue::from_static("max-age=60");
    let fault = Fault::new().header(header::CACHE_CONTROL, cache_control).until_cleared();
    mock.handle().fault(fault);
    for _ in 0..3 {
        let answer = get(LIST).send(&mock).await.unwrap();
        assert_eq!(answer.header("cache-control"), Some("max-age=60"));
        assert_eq!(answer.json().as_array().unwrap().len(), 4);
    }
    mock.handle().clear_faults();
    assert_eq!(get(LIST).send(&mock).await.unwrap().header("cache-control"), None);

    let html = HeaderValue::from_static("text/html");
    let twice = HeaderName::from_static("x-twice");
    let fault = Fault::new()
        .body("<p>own</p>")
        .header(header::CONTENT_TYPE, html)
        .header(twice.clone(), HeaderValue::from_static("1"))
        .header(twice.clone(), HeaderValue::from_static("2"));
    mock.handle().fault(fault);
    let answer = get(LIST).send(&mock).await.unwrap();
    assert_eq!(
        (answer.header("content-type"), &answer.body[..]),
        (Some("text/html"), &b"<p>own</p>"[..])
    );
    assert_eq!(answer.headers.get_all(twice).iter().count(), 2);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn an_echo_shows_the_request_without_credentials() {
    let mock = start().await;
    let echo = async |text: &str| {
        let call = call(Method::POST, LIST).header("x-mock-fault", text).header("x-mine", "1");
        call.json(&json!(["ö"])).send(&mock).await.unwrap()
    };
    let hidden = echo("echo").await;
    let told = hidden.json();
    assert_eq!((&told["method"], &told["target"]), (&json!("POST"), &json!(LIST)));
    assert_eq!((&told["body"], &told["version"]), (&json!("[\"ö\"]"), &json!("HTTP/2")));
    let headers = told["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-mine", "1"])));
    assert!(headers.contains(&json!(["x-pigello-client-secret", "(not shown)"])));
    assert!(!String::from_utf8_lossy(&hidden.body).contains("made-up-secret"));
    let shown = echo("echo=everything; status=500").await;
    assert_eq!(shown.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(String::from_utf8_lossy(&shown.body).contains("made-up-secret"));

    mock.handle().fault(Fault::new().echo(Echo::Redacted));
    assert_eq!(get(LIST).send(&mock).await.unwrap().json()["method"], "GET");
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn connections_close_before_and_in_the_head() {
    for interruption in [Interruption::CloseUnanswered, Interruption::CutHead] {
        let mock = start().await;
        for call in both() {
            mock.handle().fault(Fault::new().interrupt(interruption));
            assert!(call.open(&mock).await.is_err(), "{interruption:?}");
        }
        assert_eq!(mock.handle().request_count(), 2);
        mock.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_body_breaks_off_in_the_middle() {
    let mock = start().await;
    let whole = get(LIST).send(&mock).await.unwrap().body;
    for call in both() {
        mock.handle().fault(Fault::new().interrupt(Interruption::CutBody));
        let answer = call.open(&mock).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-length"], whole.len().to_string());
        let mut body = answer.into_body();
        let mut arrived = Vec::new();
        let broken = loop {
            match next_data(&mut body).await {
                Some(Ok(data)) => arrived.extend_from_slice(&data),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken);
        assert_eq!(arrived, whole[..whole.len().div_ceil(2)]);
    }
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn a_response_without_a_body_is_cut_in_its_head() {
    let mock = start().await;
    let fault = Fault::new().status(StatusCode::NO_CONTENT).interrupt(Interruption::CutBody);
    mock.handle().fault(fault);
    assert!(get(LIST).open(&mock).await.is_err());
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn stalled_responses_send_nothing_more() {
    let mock = start().await;
    for call in both() {
        mock.handle().fault(Fault::new().interrupt(Interruption::StallHead));
        let arrived = mock.handle().request_count() + 1;
        tokio::select! {
            biased;
            _ = call.send(&mock) => panic!("an answer came"),
            () = mock.handle().wait_for_requests(arrived) => {}
        }
    }
    let whole = get(LIST).send(&mock).await.unwrap().body;
    for call in both() {
        mock.handle().fault(Fault::new().interrupt(Interruption::StallBody));
        let mut body = call.open(&mock).await.unwrap().into_body();
        let mut arrived = Vec::new();
        while arrived.len() < whole.len().div_ceil(2) {
            arrived.extend_from_slice(&next_data(&mut body).await.unwrap().unwrap());
        }
        let more = tokio::time::timeout(Duration::from_millis(50), next_data(&mut body)).await;
        assert!(more.is_err(), "more came");
    }
    // Stalled calls do not keep the mock from ending.
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn latency_and_delay_add_up() {
    let latency = Duration::from_millis(20);
    let mock = MockPigello::start(Options::new().latency(latency)).await.unwrap();
    let started = tokio::time::Instant::now();
    get(LIST).header("x-mock-fault", "delay=30ms").send(&mock).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn faults_precede_credentials_and_match_method_and_path() {
    let mock = start().await;
    let secret = HeaderName::from_static("x-pigello-client-secret");
    let fault = Fault::new().status(StatusCode::BAD_GATEWAY).method(Method::GET).path(LIST);
    mock.handle().fault(fault.until_cleared());
    let answer = get(LIST).without(&secret).send(&mock).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(!mock.handle().requests()[0].authorized);
    let other = call(Method::POST, LIST).json(&json!([])).send(&mock).await.unwrap();
    assert_eq!(other.status, StatusCode::OK);
    let elsewhere = get("/accounts/users/customer/tenant/list/").send(&mock).await.unwrap();
    assert_eq!(elsewhere.status, StatusCode::OK);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_control_paths_control_the_mock() {
    let mock = start().await;
    let control = |method: Method, path: &str| call(method, &format!("/__mock__/{path}"));
    let help = control(Method::GET, "").send(&mock).await.unwrap();
    assert!(String::from_utf8_lossy(&help.body).contains("stall=body"));

    let added = control(Method::POST, "faults").body("status=418; times=2; path=/accounts/");
    let added = added.send(&mock).await.unwrap();
    assert_eq!(added.status, StatusCode::CREATED);
    let waiting = control(Method::GET, "faults").send(&mock).await.unwrap();
    assert_eq!(waiting.json(), json!(["times=2; path=/accounts/; status=418"]));
    assert_eq!(get(LIST).send(&mock).await.unwrap().status, StatusCode::IM_A_TEAPOT);
    assert_eq!(
        control(Method::DELETE, "faults").send(&mock).await.unwrap().status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(get(LIST).send(&mock).await.unwrap().status, StatusCode::OK);

    let arrived = control(Method::GET, "requests").send(&mock).await.unwrap();
    assert_eq!(arrived.json()["count"], 2);
    assert_eq!(arrived.json()["requests"][1]["target"], LIST);
    assert!(!String::from_utf8_lossy(&arrived.body).contains("made-up-secret"));
    control(Method::DELETE, "requests").send(&mock).await.unwrap();
    assert_eq!(mock.handle().request_count(), 0);

    let reset = control(Method::POST, "reset").send(&mock).await.unwrap();
    assert_eq!(reset.status, StatusCode::NO_CONTENT);
    for (method, path, status) in [
        (Method::POST, "faults", StatusCode::BAD_REQUEST),
        (Method::PUT, "faults", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "reset", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "nothing", StatusCode::NOT_FOUND),
    ] {
        let answer = control(method, path).body("nonsense").send(&mock).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
    }
    let wrong = get(LIST).header("x-mock-fault", "nonsense").send(&mock).await.unwrap();
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn an_early_response_leaves_the_body_unread() {
    let mock = start().await;
    for http1 in [false, true] {
        let fault = Fault::new().status(StatusCode::PAYLOAD_TOO_LARGE).early();
        mock.handle().fault(fault);
        let call = call(Method::POST, LIST).json(&json!([]));
        let call = if http1 { call.http1() } else { call };
        let answer = call.send(&mock).await.unwrap();
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert!(mock.handle().requests().iter().all(|it| !it.complete && it.body.is_empty()));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn stop_reports_a_panic() {
    let mock = start().await;
    mock.handle().state().record_panic(&"made up for the test");
    let error = mock.stop().await.unwrap_err();
    assert_eq!(error.to_string(), "the mock panicked: made up for the test");
}

#[tokio::test]
async fn an_incomplete_body_is_recorded_as_incomplete() {
    let mock = MockPigello::start(Options::new().plain()).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(mock.address()).await.unwrap();
    let part = format!("POST {LIST} HTTP/1.1\r\nHost: mock\r\nContent-Length: 10\r\n\r\n[1");
    stream.write_all(part.as_bytes()).await.unwrap();
    drop(stream);
    mock.handle().wait_for_requests(1).await;
    assert!(!mock.handle().requests()[0].complete);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_the_mock_frees_its_port() {
    let mock = start().await;
    let address = mock.address();
    let handle: Handle = mock.handle().clone();
    get(LIST).send(&mock).await.unwrap();
    mock.stop().await.unwrap();
    assert_eq!(handle.request_count(), 1);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let again = MockPigello::start(Options::new().listen(address)).await.unwrap();
    let taken = MockPigello::start(Options::new().listen(address)).await.unwrap_err();
    assert!(taken.to_string().contains(&address.to_string()));
    again.stop().await.unwrap();
}
