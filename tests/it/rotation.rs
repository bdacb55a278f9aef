//! Rotations over the whole path: no call fails that could be saved.

use http::{Method, StatusCode};
use pigello_gateway::mock::{Accepted, EXAMPLE_SUBTENANT, credentials_with_secret};
use serde_json::Value;

use crate::support::{Gateway, Setup, pigello};

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

fn accept(pigello: &pigello_gateway::mock::Running, secret: &str) {
    let set = credentials_with_secret(secret).unwrap();
    pigello.handle().accept(Accepted::Sets(vec![set]));
}

fn store(gateway: &Gateway, secret: &str) {
    // Written aside and moved into place, as whoever renders secrets does it.
    let (aside, file) = (gateway.path("secret"), gateway.path("credentials/client_secret"));
    std::fs::write(&aside, secret).unwrap();
    std::fs::rename(aside, file).unwrap();
}

async fn refresh(gateway: &Gateway) {
    let done = gateway.admin().send(Method::POST, "/credentials/refresh", "").await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
}

async fn state(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["credentials"][0].clone()
}

/// Writes are repeated as well: a 401 is Pigello's word that it did nothing.
async fn calls_succeed(gateway: &Gateway, secret: &str) {
    for (method, body) in [(Method::GET, ""), (Method::PATCH, r#"{"first_name": "Testa"}"#)] {
        let answer = gateway.caller().send(method, &subtenant(), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{secret}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_first_then_pigello() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    calls_succeed(&gateway, "the first").await;
    store(&gateway, "made-up-secret-2");
    refresh(&gateway).await;
    // Pigello does not know the new one yet: the previous one is still at hand.
    calls_succeed(&gateway, "the previous one").await;
    accept(&pigello, "made-up-secret-2");
    calls_succeed(&gateway, "the new one").await;
    let records = gateway.into_records().await;
    assert!(records.iter().all(|record| record["outcome"] != "failed"), "{records:?}");
    assert!(records.iter().any(|record| record["retries"][0] == "credentials_refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pigello_first_then_the_source() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    calls_succeed(&gateway, "the first").await;
    accept(&pigello, "made-up-secret-2");
    store(&gateway, "made-up-secret-2");
    // Nobody told the gateway: the refused call makes it look.
    let answer = gateway.caller().send(Method::PATCH, &subtenant(), "{}").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    calls_succeed(&gateway, "the new one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_pigello_refuses_for_good_is_told() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    accept(&pigello, "another-made-up-secret");
    let answer = gateway.caller().send(Method::PATCH, &subtenant(), "{}").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "Pigello's own answer is passed on");
    assert_eq!(answer.header("proxy-status"), "");
    assert_eq!(state(&gateway).await["state"], "rejected");
    accept(&pigello, pigello_gateway::mock::MADE_UP_VALUES[6].1);
    calls_succeed(&gateway, "the old one again").await;
}
