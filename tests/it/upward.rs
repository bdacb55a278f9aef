//! What of a caller's request goes up, what a caller's own credentials do there, and what comes down.

use http::{Method, StatusCode};
use pigello_mock::{EXAMPLE_SUBTENANT, Fault};

use crate::support::{Gateway, Recorder, Setup, pigello};

const PORTAL: &str = "[[callers]]\nname = \"portal\"\nallow = [\"*\"]\n";

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

fn answer(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\n{{}}").into_bytes()
}

async fn is_ready(gateway: &Gateway) -> bool {
    gateway.admin().get("/readyz").await.status == StatusCode::OK
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_credentials_go_up_only_where_its_entry_says_so() {
    let own = [("Authorization", "Bearer own"), ("Cookie", "sessionid=own")];
    for (forward, sent) in [
        ("", [false, false]),
        ("forward = [\"cookie\"]\n", [false, true]),
        ("forward = [\"authorization\", \"cookie\"]\n", [true, true]),
    ] {
        let recorder = Recorder::answering(answer("Cache-Control: public, max-age=60\r\n")).await;
        let gateway = Setup::plain(&recorder.origin())
            .listener("caller = \"portal\"\n")
            .with(&format!("{PORTAL}{forward}"))
            .start()
            .await;
        let first = gateway.caller().get_with(&subtenant(), &own).await;
        let text = recorder.take().to_ascii_lowercase();
        assert_eq!(text.contains("bearer own"), sent[0], "{forward}: {text}");
        assert_eq!(text.contains("sessionid=own"), sent[1], "{forward}: {text}");
        // What one session got is for nobody else.
        let bypasses = sent.contains(&true);
        let status = first.header("cache-status").to_owned();
        assert_eq!(status.contains("fwd=bypass"), bypasses, "{forward}: {status}");
        gateway.caller().get(&subtenant()).await;
        assert_eq!(recorder.take().is_empty(), !bypasses, "{forward}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_to_a_callers_own_credential_says_nothing_of_the_seven() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"portal\"\n")
        .with(&format!("{PORTAL}forward = [\"authorization\"]\n"))
        .start()
        .await;
    let refused = || Fault::new().status(StatusCode::UNAUTHORIZED).times(1);
    for _ in 0..20 {
        pigello.handle().fault(refused());
        let own = [("Authorization", "Bearer expired")];
        let answer = gateway.caller().get_with(&subtenant(), &own).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "the caller's own answer");
    }
    let status = gateway.admin().get("/status").await.json();
    assert_ne!(status["credentials"][0]["state"], "rejected", "{status}");
    assert!(is_ready(&gateway).await);
    assert_eq!(gateway.caller().get(&subtenant()).await.status, StatusCode::OK);
    let records = gateway.into_records().await;
    assert!(records.iter().all(|record| record["attempts"] == 1), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_caller_reaches_no_other() {
    let fields = "Cache-Control: max-age=60\r\nSet-Cookie: sessionid=A; Path=/\r\n";
    let recorder = Recorder::answering(answer(fields)).await;
    let gateway = Setup::plain(&recorder.origin()).start().await;
    for _ in 0..2 {
        let answer = gateway.caller().get(&subtenant()).await;
        assert_eq!(answer.header("cache-status"), "pigello-gateway; fwd=miss; detail=set-cookie");
        assert!(!recorder.take().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_drops_the_object_in_every_spelling() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let upper = subtenant().replace(EXAMPLE_SUBTENANT, &EXAMPLE_SUBTENANT.to_uppercase());
    gateway.caller().get(&subtenant()).await;
    let hit = gateway.caller().get(&subtenant()).await;
    assert!(hit.header("cache-status").contains("hit"), "{hit:?}");
    pigello.handle().fault(Fault::new().status(StatusCode::OK).times(1));
    gateway.caller().send(Method::PATCH, &upper, "{}").await;
    let again = gateway.caller().get(&subtenant()).await;
    assert!(again.header("cache-status").contains("fwd=miss"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_opens_nothing_in_a_browser() {
    let fields = "Content-Type: text/html\r\nAccess-Control-Allow-Origin: *\r\n\
                  Access-Control-Allow-Credentials: true\r\nContent-Security-Policy: script-src *\r\n\
                  Cache-Control: max-age=60\r\n";
    let recorder = Recorder::answering(answer(fields)).await;
    let gateway = Setup::plain(&recorder.origin()).start().await;
    // From the upstream and from memory.
    for _ in 0..2 {
        let answer = gateway.caller().get(&subtenant()).await;
        assert_eq!(answer.status, StatusCode::OK);
        let names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        assert!(!names.iter().any(|name| name.starts_with("access-control-")), "{names:?}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policies: Vec<_> = answer.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies.len(), 2, "{policies:?}");
        assert!(policies[1].to_str().unwrap().starts_with("sandbox; default-src 'none'"));
    }
    // A person may open the status page, and nothing else.
    let navigation = [
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    let opened = gateway.caller().get_with(&subtenant(), &navigation).await;
    assert_eq!((opened.status, opened.problem()), (StatusCode::FORBIDDEN, "cross_site".into()));
    assert_eq!(gateway.admin().get_with("/", &navigation).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_query_names_hide_nothing() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let names: Vec<_> = (0..64).map(|n| format!("a{n}=1&")).collect();
    let names = names.concat();
    let list = "/accounts/users/customer/tenant/list/";
    gateway.caller().get(&format!("{list}?{names}_jsonl=true")).await;
    gateway.caller().get(&format!("/{}/?_jsonl=true", "a".repeat(4000))).await;
    let records = gateway.into_records().await;
    let [first, second] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        (&first["query_keys_omitted"], &first["path_bytes_omitted"]),
        (&1.into(), &0.into())
    );
    assert_eq!(first["query_keys"].as_array().unwrap().len(), 64);
    let cut = 4002 - 2048;
    assert_eq!(
        (&second["query_keys_omitted"], &second["path_bytes_omitted"]),
        (&0.into(), &cut.into())
    );
}
