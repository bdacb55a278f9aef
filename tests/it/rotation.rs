//! Rotations over the whole path: no call fails that could be saved.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

use http::{HeaderMap, Method, StatusCode};
use pigello_gateway::credentials::ValueName;
use pigello_mock::{Accepted, Credentials, EXAMPLE_SUBTENANT, MockPigello};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::{Gateway, Setup, pigello};

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

fn accept(pigello: &MockPigello, secret: &str) {
    let credentials = Credentials::made_up_with_secret(secret).unwrap();
    pigello.handle().accept(Accepted::OneOf(vec![credentials]));
}

fn store(gateway: &Gateway, secret: &str) {
    // Written aside and moved into place, as whoever renders secrets does it.
    let (aside, file) = (gateway.path("secret"), gateway.path("credentials/client_secret"));
    fs::write(&aside, secret).unwrap();
    fs::rename(aside, file).unwrap();
}

async fn refresh(gateway: &Gateway) {
    gateway.reread().await.unwrap();
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
    accept(&pigello, pigello_mock::MADE_UP_VALUES[6].1);
    calls_succeed(&gateway, "the old one again").await;
}

/// The text of one of the seven values in one rotation.
fn text(name: ValueName, rotation: u32) -> String {
    format!("made-up-{name}-{rotation}")
}

fn whole_set(rotation: u32) -> Credentials {
    let mut headers = HeaderMap::new();
    for name in ValueName::ALL {
        headers.insert(name.header(), text(name, rotation).parse().unwrap());
    }
    Credentials::read(&headers).unwrap()
}

/// As Kubernetes rotates a mounted secret: another folder, and one link that is swapped.
fn mount(gateway: &Gateway, rotation: u32) {
    let root = gateway.path("credentials");
    let generation = root.join(format!("..{rotation}"));
    fs::create_dir(&generation).unwrap();
    for name in ValueName::ALL {
        fs::write(generation.join(name.key()), text(name, rotation)).unwrap();
    }
    symlink(&generation, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    if let Some(before) = rotation.checked_sub(2) {
        fs::remove_dir_all(root.join(format!("..{before}"))).unwrap();
    }
}

/// Every request that has arrived carries seven values of one rotation. How many there were.
fn nothing_is_mixed(pigello: &MockPigello) -> usize {
    let requests = pigello.handle().requests();
    pigello.handle().forget_requests();
    for request in &requests {
        let rotations: BTreeSet<_> = ValueName::ALL
            .into_iter()
            .map(|name| match request.values(name.header().as_str()).as_slice() {
                [value] => value.rsplit_once('-').unwrap().1.to_owned(),
                other => panic!("{name} {} times", other.len()),
            })
            .collect();
        assert_eq!(rotations.len(), 1, "{rotations:?}");
    }
    requests.len()
}

/// All seven, again and again, under callers that never pause: a hundred times, or ten thousand with
/// `LONG=1`.
#[tokio::test(flavor = "multi_thread")]
async fn rotations_of_all_seven_under_load_mix_nothing_and_fail_no_call() {
    let rotations = if std::env::var_os("LONG").is_some() { 10_000 } else { 100 };
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let accept = |sets: Vec<_>| pigello.handle().accept(Accepted::OneOf(sets));
    accept(vec![whole_set(0)]);
    mount(&gateway, 0);
    refresh(&gateway).await;
    pigello.handle().forget_requests();
    let enough = CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (caller, enough) = (gateway.caller().clone(), enough.clone());
            let (counter, calls) = watch::channel(0_u32);
            tokio::spawn(async move {
                while !enough.is_cancelled() {
                    let answer = if number % 2 == 0 {
                        caller.get("/accounts/users/customer/tenant/list/").await
                    } else {
                        let body = r#"{"first_name": "Testa"}"#;
                        caller.send(Method::PATCH, &subtenant(), body).await
                    };
                    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                    counter.send_modify(|calls| *calls += 1);
                }
            });
            calls
        })
        .collect();
    let mut sent = 0;
    for rotation in 1..=rotations {
        // Both work; the source has the new one; the old one is revoked, whoever still uses it.
        accept(vec![whole_set(rotation - 1), whole_set(rotation)]);
        mount(&gateway, rotation);
        refresh(&gateway).await;
        accept(vec![whole_set(rotation)]);
        sent += nothing_is_mixed(&pigello);
        // Nobody is overtaken by two rotations: the second call from here on began after this one.
        for calls in &callers {
            let (mut calls, seen) = (calls.clone(), *calls.borrow());
            calls.wait_for(|now| *now >= seen + 2).await.expect("no call fails");
        }
    }
    enough.cancel();
    for calls in &callers {
        // Until the caller is gone.
        let mut calls = calls.clone();
        while calls.changed().await.is_ok() {}
    }
    let calls: u32 = callers.iter().map(|calls| *calls.borrow()).sum();
    sent += nothing_is_mixed(&pigello);
    assert_eq!(state(&gateway).await["rotations"], u64::from(rotations) + 1);
    let records = gateway.into_records().await;
    assert!(records.iter().all(|record| record["outcome"] == "forwarded"));
    let again = records.iter().filter(|record| record["attempts"].as_u64() > Some(1)).count();
    tell(&format!("{rotations} rotations, {calls} calls, {again} sent again, {sent} looked at"));
    assert!(calls > rotations, "{calls} calls");
}

/// What a run saw; only a test that fails, or is told to, shows it.
#[expect(clippy::print_stdout, reason = "figures are for whoever asks for them")]
fn tell(what: &str) {
    println!("{what}");
}
