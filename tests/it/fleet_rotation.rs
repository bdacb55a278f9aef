//! Rotations through a fleet: gateways that read one vault, a real Valkey between them, and a mock of Pigello that counts
//! which secrets they try.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::{Json, Router, extract::State, routing::get};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use pigello_gateway::credentials::ValueName;
use pigello_mock::{Accepted, Credentials, EXAMPLE_SUBTENANT, MADE_UP_VALUES, MockPigello};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::{
    fleet_bus::{KEY, member, until},
    support::{Gateway, Setup, Store, pigello},
};

const OLD: &str = MADE_UP_VALUES[6].1;
const NEW: &str = "made-up-secret-after-the-rotation";
const WRONG: &str = "made-up-secret-that-is-wrong";

/// What the vault says of a token without an end.
const LOOKUP: &str = r#"{"data": {"ttl": 0, "renewable": false, "period": 0, "creation_ttl": 0}}"#;

/// A key-value engine with one secret, which counts how often it is read.
#[derive(Clone)]
struct Vault(Arc<(Mutex<(u64, String)>, AtomicU64)>);

impl Vault {
    async fn start() -> (Self, String) {
        let vault = Self(Arc::new((Mutex::new((1, OLD.to_owned())), AtomicU64::new(0))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/secret/data/pigello", get(async |State(vault): State<Self>| vault.read()))
            .route("/v1/auth/token/lookup-self", get(async || LOOKUP))
            .with_state(vault.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (vault, address)
    }

    fn read(&self) -> Json<Value> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        let (version, secret) = self.0.0.lock().clone();
        let mut values: Map<String, Value> = MADE_UP_VALUES
            .iter()
            .map(|(name, value)| (name.key().to_owned(), json!(value)))
            .collect();
        values.insert("client_secret".to_owned(), json!(secret));
        Json(json!({ "data": { "data": values, "metadata": { "version": version } } }))
    }

    fn write(&self, secret: &str) {
        let mut stored = self.0.0.lock();
        *stored = (stored.0 + 1, secret.to_owned());
    }

    fn reads(&self) -> u64 {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// A fleet whose gateways are called all the time.
struct World {
    _store: Store,
    pigello: MockPigello,
    vault: Vault,
    gateways: Vec<Gateway>,
    ended: AtomicBool,
    /// Secrets, and the numbers of the gateways that have sent them.
    sent: Mutex<BTreeSet<(String, usize)>>,
}

impl World {
    /// With more keys of the set, or `hub` for a fleet of those.
    async fn start(count: usize, keys: &str) -> Option<Self> {
        let store = Store::valkey(&[])?;
        let (vault, address) = Vault::start().await;
        let (pigello, key) = (pigello().await, store.secret("key", KEY));
        let token = store.secret("vault-token", "made-up-token-of-the-vault");
        let tables = format!(
            "[vault]\naddress = \"{address}\"\nauth = {{ method = \"token\", token_file = \"{}\" }}\n{}",
            token.display(),
            // What is in memory proves nothing.
            member(&store, &key).split("[[cache.rules]]").next().unwrap(),
        );
        let mut gateways = Vec::new();
        for number in 0..count {
            let mut setup = Setup::new(&pigello).with(&tables).with("[cache]\nenabled = false\n");
            let of_vault = ["SOURCE=vault", "PATH=pigello", "REFRESH=1h"];
            for key in of_vault.into_iter().chain(keys.lines()) {
                let (table, key) =
                    if key == "hub" { ("FLEET", "ROLE=hub") } else { ("CREDENTIALS__TEST", key) };
                setup = setup.variable(&format!("PIGELLO_GATEWAY_{table}__{key}"));
            }
            let setup = setup.variable(&format!("PIGELLO_GATEWAY_AUDIT__INSTANCE=g{number}"));
            let gateway = setup.start().await;
            until(&gateway, |fleet| fleet["hearing"] == true && fleet["members"] != 0).await;
            let set = set(&gateway).await;
            assert_eq!(set["version"], "1", "{set}");
            gateways.push(gateway);
        }
        let (ended, sent) = (AtomicBool::default(), Mutex::default());
        Some(Self { _store: store, pigello, vault, gateways, ended, sent })
    }

    /// Has every gateway be called until the end, and returns how many calls there were. None fails.
    async fn under_load<T>(&self, story: impl Future<Output = T>) -> T {
        let calls = self.gateways.iter().enumerate().map(async |(number, gateway)| {
            while !self.ended.load(Ordering::SeqCst) {
                let path =
                    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/?by={number}");
                for (method, body) in [(Method::GET, ""), (Method::PATCH, r#"{"first_name":"T"}"#)]
                {
                    let answer = gateway.caller().send(method, &path, body).await;
                    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                    self.note();
                }
            }
        });
        let story = async {
            let told = story.await;
            self.ended.store(true, Ordering::SeqCst);
            told
        };
        let (_, told) = tokio::join!(futures_util::future::join_all(calls), story);
        self.ended.store(false, Ordering::SeqCst);
        told
    }

    fn accept(&self, secrets: &[&str]) {
        let sets = secrets.iter().map(|secret| Credentials::made_up_with_secret(secret).unwrap());
        self.pigello.handle().accept(Accepted::OneOf(sets.collect()));
    }

    /// Notes what was sent. The mock does not keep all.
    fn note(&self) {
        let mut sent = self.sent.lock();
        for request in self.pigello.handle().requests() {
            let number = request.target.rsplit_once("by=").unwrap().1.parse().unwrap();
            for secret in request.values(ValueName::ClientSecret.header().as_str()) {
                sent.insert((secret.to_owned(), number));
            }
        }
    }

    /// The gateways that have sent that secret.
    fn tried(&self, secret: &str) -> BTreeSet<usize> {
        let sent = self.sent.lock();
        sent.iter().filter(|(sent, _)| sent == secret).map(|(_, number)| *number).collect()
    }

    /// Waits until each gateway's set is so.
    async fn until_all(&self, is_so: impl Fn(&Value) -> bool) {
        for gateway in &self.gateways {
            while !is_so(&set(gateway).await) {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The state of a gateway's set.
async fn set(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["credentials"][0].take()
}

const PROVEN: &str = "ADOPT=proven";

#[tokio::test(flavor = "multi_thread")]
async fn a_right_secret_is_tried_by_one_and_then_used_by_all() {
    let Some(world) = World::start(4, PROVEN).await else { return };
    let reads = world.vault.reads();
    world.accept(&[OLD, NEW]);
    world
        .under_load(async {
            world.vault.write(NEW);
            // One finds it. The others are told.
            world.gateways[0].reread().await.unwrap();
            world.until_all(|set| set["version"] == "2").await;
        })
        .await;
    let reads = world.vault.reads() - reads;
    assert!((4..=8).contains(&reads), "{reads} reads");
    let mut causes = Vec::new();
    for gateway in world.gateways {
        let lines = gateway.stop().await.0.lines();
        let marker = lines.iter().rfind(|line| line["kind"] == "credentials").unwrap();
        assert_eq!((&marker["from"], &marker["to"]), (&json!("1"), &json!("2")));
        causes.push(marker["cause"].as_str().unwrap().to_owned());
    }
    causes.sort();
    assert_eq!(causes, ["accepted", "proven", "proven", "proven"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_tried_by_one_and_fails_no_call() {
    let Some(world) = World::start(4, PROVEN).await else { return };
    world.accept(&[OLD, NEW]);
    let canary = world
        .under_load(async {
            world.vault.write(WRONG);
            world.gateways[3].reread().await.unwrap();
            world
                .until_all(|set| set["refused_version"] == "2" || set["rejected_version"] == "2")
                .await;
            let listed = world.gateways[0].admin().get("/fleet").await.json();
            assert_eq!(listed["members"].as_array().unwrap().len(), 4);
            let mut refused = BTreeSet::new();
            for (number, gateway) in world.gateways.iter().enumerate() {
                let set = set(gateway).await;
                assert_eq!(set["version"], "1", "{set}");
                if set["refused_version"] == "2" {
                    refused.insert(number);
                } else {
                    assert_eq!(set["waiting_version"], "2", "{set}");
                }
            }
            refused
        })
        .await;
    assert_eq!(canary.len(), 1);
    assert_eq!(world.tried(WRONG), canary);
    let metrics = world.gateways[0].admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let is_canary = u8::from(canary.contains(&0));
    for expected in [
        format!("credentials_refused_version{{set=\"test\"}} {is_canary}"),
        format!("credentials_waiting_version{{set=\"test\"}} {}", 1 - is_canary),
    ] {
        assert!(metrics.contains(&expected), "{expected}\n{metrics}");
    }
    // The right one ends it.
    world
        .under_load(async {
            world.vault.write(NEW);
            world.gateways[3].reread().await.unwrap();
            world.until_all(|set| set["version"] == "3").await;
        })
        .await;
    assert_eq!(world.tried(WRONG), canary);
    assert_eq!(world.tried(NEW).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hubs_try_a_new_secret() {
    let Some(world) = World::start(3, &format!("{PROVEN}\nhub")).await else { return };
    world.accept(&[OLD]);
    world
        .under_load(async {
            world.vault.write(WRONG);
            world.gateways[0].reread().await.unwrap();
            world.until_all(|set| set["refused_version"] == "2").await;
        })
        .await;
    assert_eq!(world.tried(WRONG).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_means_as_soon_as_another_one_has_found_it() {
    let Some(world) = World::start(3, "").await else { return };
    world.accept(&[OLD, NEW]);
    let reads = world.vault.reads();
    world
        .under_load(async {
            world.vault.write(NEW);
            world.gateways[1].reread().await.unwrap();
            world.until_all(|set| set["version"] == "2").await;
        })
        .await;
    assert!(world.vault.reads() - reads <= 6, "{}", world.vault.reads() - reads);
}
