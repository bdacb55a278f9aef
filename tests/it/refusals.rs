//! What is refused, with which words; the upstream sees nothing and the trail has all of it.

use std::{convert::Infallible, fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use pigello_mock::{EXAMPLE_SUBTENANT, Fault, Interruption};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Caller, Setup, pigello, raw};

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_may_do_what_their_rule_lists_and_nothing_else() {
    let pigello = pigello().await;
    let uid = rustix_uid();
    let rules = format!(
        r#"
        [[callers]]
        name = "me"
        unix_uids = [{uid}]
        allow = ["subtenant.get"]
        [[callers]]
        name = "main"
        allow = ["tenant.*"]
        "#
    );
    let gateway =
        Setup::new(&pigello).listener("caller = \"main\"\n").with_unix().with(&rules).start().await;
    let me = gateway.unix_caller();
    assert_eq!(me.get(&subtenant()).await.status, StatusCode::OK);
    let refused = me.send(Method::PATCH, &subtenant(), "{}").await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (StatusCode::FORBIDDEN, "operation_not_allowed")
    );
    let refused = gateway.caller().get(&subtenant()).await;
    assert_eq!(refused.problem(), "operation_not_allowed");
    let unknown = gateway.caller().get("/accounts/users/customer/tenant/").await;
    assert_eq!(unknown.problem(), "operation_unknown");
    let unknown = gateway.caller().get("/admin/").await;
    assert_eq!(
        (unknown.status, unknown.problem().as_str()),
        (StatusCode::FORBIDDEN, "operation_unknown")
    );
    assert_eq!(pigello.handle().request_count(), 1);

    let records = gateway.into_records().await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
            (text("caller"), text("operation"), text("outcome"), text("error"))
        })
        .collect();
    let row = |caller: &str, operation: &str, outcome: &str, error: &str| {
        (caller.to_owned(), operation.to_owned(), outcome.to_owned(), error.to_owned())
    };
    assert_eq!(
        told,
        [
            row("me", "subtenant.get", "forwarded", "-"),
            row("me", "subtenant.update", "refused", "operation_not_allowed"),
            row("main", "subtenant.get", "refused", "operation_not_allowed"),
            row("main", "-", "refused", "operation_unknown"),
            row("main", "-", "refused", "operation_unknown"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_no_rule_names_is_nobody() {
    let pigello = pigello().await;
    let rules = format!(
        "[[callers]]\nname = \"other\"\nunix_uids = [{}]\nallow = [\"*\"]\n",
        rustix_uid() + 1
    );
    let gateway = Setup::new(&pigello).with_unix().with(&rules).start().await;
    for caller in [gateway.unix_caller(), gateway.caller().clone()] {
        let refused = caller.get(&subtenant()).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (StatusCode::FORBIDDEN, "caller_unidentified")
        );
    }
    assert_eq!(pigello.handle().request_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_values_are_none() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).without_value("service_id").start().await;
    let answer = gateway.caller().get(&subtenant()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.problem(), "credentials_unavailable");
    assert!(answer.json()["detail"].as_str().unwrap().contains("service_id"), "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
    let ready = gateway.admin().get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["reasons"][0]["part"], "credentials");
    assert_eq!(gateway.admin().get("/livez").await.status, StatusCode::OK);
    // The value appears: one refresh, and the gateway serves without a restart.
    std::fs::write(gateway.path("credentials/service_id"), "made-up").unwrap();
    let refreshed = gateway.admin().send(Method::POST, "/credentials/refresh", "").await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    assert_eq!(gateway.admin().get("/readyz").await.status, StatusCode::OK);
    assert_eq!(pigello.handle().request_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_limit_is_refused_with_the_limit() {
    let pigello = pigello().await;
    let limits = "[limits]\nrequest_body = \"1KiB\"\nheader_bytes = \"2KiB\"\nheader_count = 10\n";
    let bound = "caller = \"main\"\n";
    let gateway = Setup::new(&pigello).listener(bound).with(limits).start().await;
    let caller = gateway.caller();
    let body = "x".repeat(1025);
    let answer = caller.send(Method::PATCH, &subtenant(), body.clone()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
    );
    let large = "x".repeat(3000);
    let answer = caller.get_with(&subtenant(), &[("x-large", &large)]).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(answer.problem(), "headers_too_large");
    let detail = answer.json()["detail"].clone();
    let told = "a header may have at most 2 KiB (`limits.header_bytes`) in 10 fields (`limits.header_count`)";
    assert_eq!(detail, told);
    let names: Vec<_> = (0..11).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(caller.get_with(&subtenant(), &many).await.problem(), "headers_too_large");
    let long = format!("{}?x={}", subtenant(), "x".repeat(9000));
    let answer = caller.get(&long).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::URI_TOO_LONG, "target_too_long")
    );
    raw(caller.address(), b"GET / / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let records = gateway.into_records().await;
    assert_eq!(records.last().unwrap()["error"], "malformed_request");
    for record in records {
        assert_eq!((&record["outcome"], &record["caller"]), (&"refused".into(), &"main".into()));
        assert!(record["error"].is_string() && record["policy"].is_string(), "{record}");
    }
}

/// Announced or cut off, gathered or streamed: the limit is told with its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_its_limit_is_told_the_limit_however_it_is_framed() {
    let pigello = pigello().await;
    let told =
        |limit: &str| format!("a request body may have at most {limit} (`limits.request_body`)");
    for (limit, shown, bytes) in [("1KiB", "1 KiB", 1025), ("100KiB", "100 KiB", 100 * 1024 + 1)] {
        let limits = format!("[limits]\nrequest_body = \"{limit}\"\n");
        let bound = "caller = \"main\"\n";
        let gateway = Setup::new(&pigello).listener(bound).with(&limits).start().await;
        let body = "x".repeat(bytes);
        let answer = gateway.caller().send(Method::PATCH, &subtenant(), body.clone()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.problem(), "body_too_large");
        assert_eq!(answer.json()["detail"], told(shown));
        for http2 in [false, true] {
            let caller = if http2 { gateway.caller().http2() } else { gateway.caller().clone() };
            let answer = chunked(&caller, &body, http2).await;
            assert!(answer.contains("413 ") || http2, "{answer}");
            assert!(answer.contains(&told(shown)), "{limit} {answer}");
        }
        let records = gateway.into_records().await;
        assert_eq!(records.len(), 3);
        for record in records {
            assert_eq!(
                (&record["error"], &record["outcome"]),
                (&"body_too_large".into(), &"refused".into())
            );
            assert_eq!(record["caller"], "main");
        }
    }
}

/// A body that does not say how long it is; the answer as text.
async fn chunked(caller: &Caller, body: &str, http2: bool) -> String {
    if http2 {
        let pieces = body
            .as_bytes()
            .chunks(8 * 1024)
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
        let body = StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
        let request = Request::patch(format!("http://localhost{}", subtenant()));
        let answer = caller.stream(request.body(body).unwrap()).await.unwrap();
        return String::from_utf8_lossy(&answer.body).into_owned();
    }
    let mut chunked = format!(
        "PATCH {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        subtenant()
    );
    write!(chunked, "{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).unwrap();
    raw(caller.address(), chunked.as_bytes()).await
}

/// A caller learns what the gateway knows of it, and nothing of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_who_was_refused_and_what_it_asked_for() {
    let pigello = pigello().await;
    let uid = rustix_uid();
    let rules = format!(
        "[[callers]]\nname = \"main\"\nallow = [\"tenant.*\"]\n\
         [[callers]]\nname = \"somebody-else\"\nunix_uids = [{}]\nallow = [\"work*\"]\n",
        uid + 1
    )
    .replace("work*", "workengagement.*");
    let gateway =
        Setup::new(&pigello).listener("caller = \"main\"\n").with_unix().with(&rules).start().await;
    let list = "/accounts/users/customer/subtenant/list";
    let near = "no operation has this path; did you mean `/accounts/users/customer/subtenant/list/` \
                (`subtenant.list`)? The last `/` counts";
    let stranger = format!(
        "the connection shows the uid {uid}, and no `[[callers]]` entry has `unix_uids = [{uid}]`"
    );
    let proof = format!("uid={uid} ");
    for (caller, target, detail, name, proof, operation) in [
        (
            gateway.caller(),
            &*subtenant(),
            "`allow` of the caller `main` lists `tenant.*`; `subtenant.get` is not among them",
            Some("main"),
            "listener",
            Some("subtenant.get"),
        ),
        (gateway.caller(), list, near, Some("main"), "listener", None),
        (&gateway.unix_caller(), &subtenant(), &stranger, None, &*proof, Some("subtenant.get")),
        (&gateway.unix_caller(), list, near, None, &proof, None),
    ] {
        let answer = caller.get(target).await;
        let problem = answer.json();
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(problem["detail"], detail);
        assert_eq!(problem["caller"].as_str(), name);
        assert_eq!(problem["operation"].as_str(), operation);
        assert!(problem["proof"].as_str().unwrap().starts_with(proof), "{problem}");
        let text = problem.to_string();
        assert!(!text.contains("somebody-else") && !text.contains("workengagement"), "{text}");
    }
    // A page learns nothing about the caller that a browser is taken for.
    let early = gateway.caller().get_with(&subtenant(), &[("origin", "https://evil.test")]).await;
    let problem = early.json();
    for member in ["caller", "proof", "operation"] {
        assert!(problem.get(member).is_none(), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_are_never_proxied_are_refused() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    for method in ["TRACE", "TRACK"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = gateway.caller().send(method, &subtenant(), "").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "method_refused")
        );
        assert!(answer.header("allow").contains("GET"));
    }
    assert_eq!(pigello.handle().request_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_without_an_answer_is_told() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    pigello.handle().fault(Fault::new().interrupt(Interruption::CloseUnanswered).times(3));
    let answer = gateway.caller().send(Method::PATCH, &subtenant(), "{}").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::BAD_GATEWAY, "upstream_closed")
    );
    let records = gateway.into_records().await;
    let record = &records[0];
    assert_eq!(
        (&record["outcome"], &record["error"]),
        (&"failed".into(), &"upstream_closed".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_too_slow_is_not_waited_for() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[timeouts]\nrequest = \"200ms\"\n").start().await;
    pigello.handle().fault(Fault::new().interrupt(Interruption::StallHead).times(1));
    let answer = gateway.caller().send(Method::PATCH, &subtenant(), "{}").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout")
    );
    assert!(answer.header("proxy-status").contains("error=http_response_timeout"));
}

fn rustix_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_on_the_way_take_no_place_of_a_call_that_is_whole() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[limits]\nin_flight = 2\n").start().await;
    let head =
        format!("PATCH {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n{{", subtenant());
    let mut slow = Vec::new();
    let is_full = async {
        loop {
            let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // Who found a place waits for the rest of the body; who did not is told.
            let mut status = [0; 12];
            let answer = stream.read_exact(&mut status);
            if tokio::time::timeout(Duration::from_millis(200), answer).await.is_ok() {
                assert_eq!(&status, b"HTTP/1.1 503");
                return;
            }
            slow.push(stream);
        }
    };
    tokio::time::timeout(Duration::from_mins(1), is_full).await.expect("two places");
    assert!(slow.len() >= 2, "{}", slow.len());
    for _ in 0..3 {
        assert_eq!(gateway.caller().get(&subtenant()).await.status, StatusCode::OK);
    }
}
