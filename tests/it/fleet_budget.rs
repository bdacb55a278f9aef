//! A budget of calls that gateways share: two gateways, a real Valkey, and an upstream that counts.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    fleet_bus::{KEY, Pigello, member, object, until},
    support::{Gateway, Setup, Store},
};

/// The keys of a profile with fifty calls a second.
const BUDGET: &str = "budget = { rate = 50, burst = 50 }\n";

/// What answers nothing from memory.
const NO_CACHE: &str = "[cache]\nenabled = false\n";

async fn budget(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["upstreams"][0]["budget"].take()
}

/// Waits until calls come from there.
async fn until_source(gateway: &Gateway, source: &str) {
    while budget(gateway).await["source"] != source {
        call(gateway).await;
        tokio::task::yield_now().await;
    }
}

/// Makes a call, and returns whether it was sent. One that is not has the answer of a caller who calls too often.
async fn call(gateway: &Gateway) -> bool {
    let answer = gateway.caller().get(&object()).await;
    if answer.status == StatusCode::OK {
        return true;
    }
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:pigello-gateway:problem:rate_limited", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("budget"), "{problem}");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    false
}

/// Calls as often as it can until so many were sent.
async fn call_until_sent(gateway: &Gateway, count: u32) -> u32 {
    let (mut sent, mut refused) = (0, 0);
    while sent < count {
        if call(gateway).await { sent += 1 } else { refused += 1 }
    }
    refused
}

struct Fleet {
    store: Store,
    gateways: Vec<Gateway>,
}

impl Fleet {
    async fn start(count: usize, budget: &str) -> Option<Self> {
        let store = Store::valkey(&[])?;
        let (_, address) = Pigello::start().await;
        let key = store.secret("key", KEY);
        let login = store.let_in().await;
        let tables = member(&store, &key);
        let tables = tables.split("[[cache.rules]]").next().unwrap();
        let tables = format!("{tables}{login}");
        let mut gateways = Vec::new();
        for _ in 0..count {
            let setup = Setup::plain(&format!("http://{address}")).profile(budget);
            gateways.push(setup.with(&tables).with(NO_CACHE).start().await);
        }
        for gateway in &gateways {
            until(gateway, |fleet| fleet["members"] == count).await;
        }
        Some(Self { store, gateways })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn together_they_send_no_more_than_the_budget() {
    let Some(Fleet { gateways, store }) = Fleet::start(2, BUDGET).await else { return };
    let began = Instant::now();
    let (one, two) =
        tokio::join!(call_until_sent(&gateways[0], 150), call_until_sent(&gateways[1], 150));
    assert!(one > 0 && two > 0, "both are refused some: {one}, {two}");
    // The burst and two credits were there at first.
    let least = Duration::from_secs_f64((300.0 - 50.0 - 2.0 * 2.5) / 50.0);
    assert!(began.elapsed() >= least.mul_f64(0.95), "{:?}", began.elapsed());
    let found = budget(&gateways[0]).await;
    assert_eq!((&found["rate"], &found["source"]), (&json!(50), &json!("lease")));
    assert_eq!(found["refused"], one);
    let metrics = gateways[0].admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains(&format!("budget_refused_total{{profile=\"test\"}} {one}\n")));
    assert!(metrics.contains("budget_leased{profile=\"test\"}"), "{metrics}");
    // Whoever runs the store does not learn the names of profiles.
    let keys: Vec<String> = store.ask(redis::cmd("KEYS").arg("*budget*")).await;
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("pgw:{test}:budget:")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.replace("{test}", "").contains("test")), "{keys:?}");
    // Without calls nobody asks.
    for gateway in &gateways {
        while budget(gateway).await["source"] != "idle" {
            tokio::task::yield_now().await;
        }
    }
    let held: Vec<String> = store
        .ask(redis::cmd("HKEYS").arg(keys.iter().find(|key| key.ends_with(":held")).unwrap()))
        .await;
    assert!(held.is_empty(), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_each_has_its_share_or_what_is_configured() {
    for without_store in ["share", "unlimited", "deny"] {
        let budget_keys =
            format!("budget = {{ rate = 50, burst = 50, without_store = \"{without_store}\" }}\n");
        let Some(mut fleet) = Fleet::start(2, &budget_keys).await else { return };
        let gateway = &fleet.gateways[0];
        until_source(gateway, "lease").await;
        fleet.store.kill();
        until_source(gateway, "without_store").await;
        match without_store {
            "share" => {
                let began = Instant::now();
                call_until_sent(gateway, 100).await;
                // A half of the rate, and of the burst.
                let least = Duration::from_secs_f64((100.0 - 26.0) / 25.0);
                assert!(began.elapsed() >= least.mul_f64(0.95), "{:?}", began.elapsed());
            }
            "unlimited" => assert_eq!(call_until_sent(gateway, 200).await, 0),
            _ => {
                for _ in 0..20 {
                    assert!(!call(gateway).await);
                }
            }
        }
        fleet.store.start_again();
        fleet.store.let_in().await;
        until_source(&fleet.gateways[0], "lease").await;
        call_until_sent(&fleet.gateways[0], 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_alone_has_the_whole_budget() {
    let (_, address) = Pigello::start().await;
    let setup = Setup::plain(&format!("http://{address}")).profile(BUDGET).with(NO_CACHE);
    let gateway = setup.start().await;
    let began = Instant::now();
    let refused = call_until_sent(&gateway, 150).await;
    assert!(refused > 0 && began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    let found = budget(&gateway).await;
    assert_eq!((&found["source"], &found["refused"]), (&json!("own"), &json!(refused)));
}
