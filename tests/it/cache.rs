//! Repeated reads from memory, over the whole path.

use http::{Method, StatusCode, header::CACHE_CONTROL};
use pigello_mock::{Accepted, Credentials, EXAMPLE_SUBTENANT, Fault};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Setup, pigello};

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_read_comes_from_memory_until_the_object_is_written() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_unix().start().await;
    let (caller, other) = (gateway.caller().clone(), gateway.unix_caller());
    let list = "/accounts/users/customer/subtenant/list/";
    let writes = [
        (Method::PATCH, subtenant(), json!({"first_name": "Testa"}).to_string()),
        (
            Method::POST,
            list.to_owned(),
            json!([{"id": EXAMPLE_SUBTENANT, "first_name": "Testan"}]).to_string(),
        ),
        (Method::DELETE, subtenant(), String::new()),
    ];
    let mut asked = 0;
    for (method, target, body) in writes {
        let miss = caller.get(&subtenant()).await;
        assert!(miss.header("cache-status").contains("fwd=miss; stored"), "{miss:?}");
        assert_eq!(miss.header("age"), "");
        asked += 1;
        // The other listener has the same profile: it is the same memory.
        for reader in [&caller, &other, &caller.http2()] {
            let hit = reader.get(&subtenant()).await;
            assert_eq!((hit.status, &hit.body), (StatusCode::OK, &miss.body));
            assert!(
                hit.header("cache-status").starts_with("pigello-gateway; hit; ttl="),
                "{hit:?}"
            );
            assert!(!hit.header("age").is_empty());
            assert_ne!(hit.header("x-request-id"), miss.header("x-request-id"));
        }
        assert_eq!(pigello.handle().request_count(), asked);
        let written = other.send(method, &target, body).await;
        assert!(
            written.status.is_success() || written.status == StatusCode::BAD_REQUEST,
            "{written:?}"
        );
        asked += 1;
        assert_eq!(pigello.handle().request_count(), asked);
    }
    assert_eq!(caller.get(&subtenant()).await.status, StatusCode::NOT_FOUND);

    let records = gateway.into_records().await;
    let first = records[0]["request_id"].clone();
    assert_eq!(
        (&records[0]["cache"], &records[0]["outcome"]),
        (&"miss".into(), &"forwarded".into())
    );
    for hit in &records[1..4] {
        assert_eq!((&hit["cache"], &hit["outcome"]), (&"hit".into(), &"cached".into()));
        assert_eq!(hit["source_request_id"], first);
        assert_eq!(hit["attempts"], 0);
        assert!(hit["upstream_status"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_stored_is_asked_for_each_time() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    for forbidden in ["no-store", "private"] {
        for _ in 0..2 {
            let fault = Fault::new().status(StatusCode::OK).body("{}");
            pigello
                .handle()
                .fault(fault.header(CACHE_CONTROL, forbidden.parse().unwrap()).times(1));
            let answer = gateway.caller().get(&subtenant()).await;
            assert!(!answer.header("cache-status").contains("hit"), "{forbidden}: {answer:?}");
        }
    }
    assert_eq!(pigello.handle().request_count(), 4);
    // Other operations are in no rule, and people with protected identity in none whatever it says.
    let everything = "[[cache.rules]]\noperations = [\"*\"]\nttl = \"60s\"\n";
    let gateway = Setup::new(&pigello).with(everything).start().await;
    let protected = "/accounts/users/customer/protectedidentity/list/";
    for _ in 0..2 {
        let answer = gateway.caller().get(protected).await;
        assert!(!answer.header("cache-status").contains("hit"), "{answer:?}");
    }
    assert_eq!(pigello.handle().request_count(), 6);
    let tenants = "/accounts/users/customer/tenant/list/";
    gateway.caller().get(tenants).await;
    assert!(gateway.caller().get(tenants).await.header("cache-status").contains("hit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_of_one_cold_object_make_one_call() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let target = subtenant();
    let calls = (0..50).map(|_| gateway.caller().get(&target));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    assert_eq!(pigello.handle().request_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_and_a_purge_forget() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let (caller, admin) = (gateway.caller(), gateway.admin());
    caller.get(&subtenant()).await;
    let purged = admin.send(Method::DELETE, "/cache", "").await;
    assert_eq!(purged.json()["purged"], 1);
    caller.get(&subtenant()).await;
    assert_eq!(pigello.handle().request_count(), 2);
    let by_object = format!("/cache?operation=subtenant.get&pk={EXAMPLE_SUBTENANT}");
    assert_eq!(admin.send(Method::DELETE, &by_object, "").await.json()["purged"], 1);
    caller.get(&subtenant()).await;
    assert_eq!(pigello.handle().request_count(), 3);
    // Another credential set may see other data: what the last one fetched is not shown to it.
    let secret = "another-made-up-secret";
    let credentials = Credentials::made_up_with_secret(secret).unwrap();
    pigello.handle().accept(Accepted::OneOf(vec![credentials]));
    std::fs::write(gateway.path("credentials/client_secret"), secret).unwrap();
    admin.send(Method::POST, "/credentials/refresh", "").await;
    assert!(caller.get(&subtenant()).await.header("cache-status").contains("fwd=miss"));
    assert_eq!(pigello.handle().request_count(), 4);
    // And it leaves memory: personal data is not kept for nobody.
    while admin.get("/status").await.json()["cache"]["responses"] != 1 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_closes_its_half_gets_what_is_there_at_once() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    gateway.caller().get(&subtenant()).await;
    for (target, status) in [(subtenant().as_str(), "200"), ("//", "400")] {
        let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
}

/// What a worker writes in one turn leaves together (`proxy/batched_io`): the answers to requests that
/// came together come together.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_one_turn_leave_together() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let target = subtenant();
    assert_eq!(gateway.caller().get(&target).await.status, StatusCode::OK);
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.repeat(4).as_bytes()).await.unwrap();
    let mut answers = vec![0; 1 << 16];
    let length = stream.read(&mut answers).await.unwrap();
    let answers = String::from_utf8_lossy(&answers[..length]);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
}
