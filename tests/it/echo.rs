//! An upstream that sends the secret back: no caller sees it, and neither does the trail.

use pigello_mock::MADE_UP_VALUES;

use crate::support::{Recorder, Setup};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

fn secret() -> &'static str {
    MADE_UP_VALUES[6].1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_never_comes_down() {
    let body = |text: &str| format!("{HEAD}content-length: {}\r\n\r\n{text}", text.len());
    let (left, right) = secret().split_at(11);
    for response in [
        body(&format!("{{\"x-pigello-client-secret\": \"{}\"}}", secret())),
        format!("{HEAD}x-debug: {}\r\ncontent-length: 2\r\n\r\nok", secret()),
        format!("{HEAD}location: https://x.test/?s={}\r\ncontent-length: 2\r\n\r\nok", secret()),
        format!("HTTP/1.1 200 {}\r\nx-pigello-client-secret: {0}\r\n\r\n", secret()),
        format!(
            "{HEAD}transfer-encoding: chunked\r\n\r\nb\r\n{left}\r\n1c\r\n{right}\r\n0\r\n\r\n"
        ),
    ] {
        let recorder = Recorder::answering(response.clone().into_bytes()).await;
        let gateway = Setup::plain(&recorder.origin())
            .with("[policy]\nunmatched = \"forward\"\n")
            .start()
            .await;
        let raw = "GET /a/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = crate::support::raw(gateway.caller().address(), raw.as_bytes()).await;
        assert!(!answer.contains(left) && !answer.contains("x-pigello"), "{response}: {answer}");
        let (stopped, _) = gateway.stop().await;
        let record = &stopped.records()[0];
        assert_eq!(record["error"], "upstream_echoed_secret", "{response}: {record}");
        assert!(!stopped.trail_text().contains(left), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_under_pigellos_names_are_removed_and_counted() {
    let response = format!("{HEAD}X-Pigello-Client-Ct: a\r\ncontent-length: 2\r\n\r\nok");
    let recorder = Recorder::answering(response.into_bytes()).await;
    let gateway =
        Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n").start().await;
    let answer = gateway.caller().get("/a/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-pigello-client-ct")), (200, ""));
    assert_eq!(gateway.into_records().await[0]["masked_fields"], 1);
}
