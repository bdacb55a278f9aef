//! What members of a fleet share: several gateways, and a real Valkey between them.

use std::{collections::HashMap, path::Path, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use futures_util::future::join_all;
use http::Method;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    fleet_bus::{ID, KEY, OTHER_KEY, object},
    support::{Gateway, Setup, Store, trail_lines},
};

/// In every answer of the upstream. Nobody but the gateways may see it.
const CANARY: &str = "Canary Made-Up";
const LIST: &str = "/accounts/users/customer/subtenant/list/";

/// An upstream whose objects have versions that writes increment, and which can hold its answers back.
#[derive(Clone, Default)]
struct Pigello(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    version: u64,
    reads: HashMap<String, u64>,
    /// Reads are answered with what was true when they came, as it lets them go.
    held: Option<Arc<Semaphore>>,
    fields: Vec<(&'static str, &'static str)>,
    padding: usize,
}

impl Pigello {
    async fn start() -> (Self, String) {
        let pigello = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(pigello.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (pigello, format!("http://{address}"))
    }

    fn reads(&self, path: &str) -> u64 {
        self.0.lock().reads.get(path).copied().unwrap_or_default()
    }

    /// Holds all reads from now on, until permits are added.
    fn hold(&self) -> Arc<Semaphore> {
        let held = Arc::new(Semaphore::new(0));
        self.0.lock().held = Some(Arc::clone(&held));
        held
    }

    fn let_go(&self) {
        if let Some(held) = self.0.lock().held.take() {
            held.add_permits(1000);
        }
    }

    /// Waits until a path was read so often.
    async fn until_read(&self, path: &str, times: u64) {
        while self.reads(path) < times {
            tokio::task::yield_now().await;
        }
    }
}

async fn answer(State(pigello): State<Pigello>, request: Request) -> Response {
    if *request.method() != Method::GET {
        pigello.0.lock().version += 1;
        return "{}".into_response();
    }
    let (version, held, fields, padding) = {
        let mut world = pigello.0.lock();
        *world.reads.entry(request.uri().path().to_owned()).or_default() += 1;
        (world.version, world.held.clone(), world.fields.clone(), world.padding)
    };
    if let Some(held) = held {
        held.acquire().await.unwrap().forget();
    }
    let body = format!(
        "{{\"version\":{version},\"name\":\"{CANARY}\",\"padding\":\"{}\"}}",
        "x".repeat(padding)
    );
    let mut response = ([("content-type", "application/json")], body).into_response();
    for (name, value) in fields {
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// A fleet of gateways with one store.
struct Fleet {
    store: Store,
    pigello: Pigello,
    origin: String,
}

impl Fleet {
    async fn new(arguments: &[&str]) -> Option<Self> {
        let store = Store::valkey(arguments)?;
        store.secret("key", KEY);
        store.secret("cache-key", OTHER_KEY);
        let (pigello, origin) = Pigello::start().await;
        Some(Self { store, pigello, origin })
    }

    fn secret(&self, name: &str) -> String {
        let path = Path::new(self.store.url().strip_prefix("unix:").unwrap()).with_file_name(name);
        path.display().to_string()
    }

    fn setup(&self, cache_key: &str, more: &str) -> Setup {
        self.setup_at(&self.store.url(), cache_key, more)
    }

    fn setup_at(&self, url: &str, cache_key: &str, more: &str) -> Setup {
        let cache_key = self.secret(cache_key);
        let cache_key = format!(
            "cache_key = {{ source = \"file\", path = \"{cache_key}\", refresh = \"500ms\" }}\n"
        );
        let tables = format!(
            "[fleet]\nname = \"test\"\nkey = {{ source = \"file\", path = \"{}\" }}\n\
             [fleet.store]\nurl = \"{url}\"\nreconnect = \"300ms\"\nwait = \"1s\"\n\
             [cache.shared]\nenabled = true\n{more}\n\
             [[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\"]\nttl = \"10m\"\nshared = true\n",
            self.secret("key")
        );
        Setup::plain(&self.origin).profile(&cache_key).with(&tables)
    }

    /// A gateway that uses the shared cache.
    async fn member(&self) -> Gateway {
        let gateway = self.setup("cache-key", "").start().await;
        until_sharing(&gateway).await;
        gateway
    }

    /// The entries in the store, with their names.
    async fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.store.ask(redis::cmd("KEYS").arg("pgw:{test}:c:*")).await;
        names.sort();
        names
    }

    /// The entries with what they hold.
    async fn values(&self) -> HashMap<String, Vec<u8>> {
        let mut found = HashMap::new();
        for name in self.entries().await {
            let value: Vec<u8> = self.store.ask(redis::cmd("GET").arg(&name)).await;
            found.insert(name, value);
        }
        found
    }

    /// Waits until one of these entries is another.
    async fn until_another(&self, before: &HashMap<String, Vec<u8>>) -> (String, Vec<u8>) {
        loop {
            let now = self.values().await;
            let is_another = |(name, value): &(String, Vec<u8>)| {
                before.get(name).is_some_and(|before| before != value)
            };
            if let Some(found) = now.into_iter().find(is_another) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn put(&self, name: &str, entry: &[u8]) {
        let mut put = redis::cmd("SET");
        let () = self.store.ask(put.arg(name).arg(entry).arg("PX").arg(590_000)).await;
    }

    /// Waits until all is in the store that these have handed to it, each response by one of them.
    async fn until_stored(&self, gateways: &[&Gateway]) {
        loop {
            let stored = join_all(gateways.iter().map(|gateway| shared(gateway))).await;
            let stored: u64 = stored.iter().map(|it| it["stored"].as_u64().unwrap()).sum();
            if self.entries().await.len() as u64 == stored {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn shared(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["cache"]["shared"].take()
}

/// Waits until a gateway looks in the shared cache: it hears everything, has the key, and reaches the store.
async fn until_sharing(gateway: &Gateway) {
    while looks(gateway, "miss").await == 0 {
        // A path that nobody asks for otherwise.
        gateway.caller().get(&fresh()).await;
    }
}

/// An object that was not read before.
fn fresh() -> String {
    object().replace(ID, &uuid::Uuid::new_v4().to_string())
}

/// Waits until a write through one gateway is heard by the other.
async fn heard_by(writer: &Gateway, hearer: &Gateway, path: &str) {
    let heard = async || {
        let status = hearer.admin().get("/status").await.json();
        status["fleet"]["heard"].as_u64().unwrap()
    };
    let before = heard().await;
    assert_eq!(writer.caller().send(Method::PUT, path, "{}").await.status, 200);
    while heard().await == before {
        tokio::task::yield_now().await;
    }
}

async fn looks(gateway: &Gateway, result: &str) -> u64 {
    let shared = shared(gateway).await;
    let mut results = shared["results"].as_array().unwrap().iter();
    results.find(|it| it["result"] == result).unwrap()["count"].as_u64().unwrap()
}

/// The version of an object, and what its answer says of the caches.
async fn read(gateway: &Gateway, path: &str) -> (u64, String) {
    let answer = gateway.caller().get(path).await;
    assert_eq!(answer.status, 200);
    let version = answer.json()["version"].as_u64().unwrap();
    (version, answer.header("cache-status").to_owned())
}

async fn record(gateway: &Gateway, path: &str) -> Value {
    loop {
        let line = trail_lines(&gateway.path("audit")).into_iter().find(|line| line["path"] == path);
        if let Some(line) = line {
            return line;
        }
        tokio::task::yield_now().await;
    }
}

const SHARED: &str = "pigello-gateway-shared; hit; ttl=";

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_answered_by_another_members_fetch_and_the_record_names_it() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    assert_eq!(read(&one, &object()).await, (0, "pigello-gateway; fwd=miss; stored; ttl=600".into()));
    fleet.until_stored(&[&one, &two]).await;
    let (version, cache_status) = read(&two, &object()).await;
    assert_eq!(version, 0);
    assert!(cache_status.starts_with(SHARED), "{cache_status}");
    assert!(cache_status.ends_with(", pigello-gateway; fwd=miss; stored"), "{cache_status}");
    assert_eq!(fleet.pigello.reads(&object()), 1);
    let (_, again) = read(&two, &object()).await;
    assert!(again.starts_with("pigello-gateway; hit; ttl="), "{again}");

    let (of_one, of_two) = (record(&one, &object()).await, record(&two, &object()).await);
    let chain = one.admin().get("/status").await.json()["audit"]["chain"].clone();
    assert!(chain.is_string());
    assert_eq!(of_two["source_request_id"], of_one["request_id"]);
    assert_eq!((&of_two["source_chain"], &of_two["outcome"]), (&chain, &Value::from("cached")));
    assert!(of_one.get("source_chain").is_none(), "{of_one}");
    let stored = two.admin().get(&format!("/cache?path={}", object())).await.json();
    assert_eq!(stored["stored"][0]["source_chain"], chain, "{stored}");
    let metrics = two.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body);
    assert!(metrics.contains("pigello_gateway_cache_shared_total{result=\"hit\"} 1"), "{metrics}");
    assert!(metrics.contains("pigello_gateway_cache_shared_seconds_count"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_data_of_a_slow_fetch_is_refused_by_all_who_have_heard_of_the_write() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (slow, writer, reader) =
        (fleet.member().await, fleet.member().await, fleet.member().await);
    let held = fleet.pigello.hold();
    let path = object();
    let slow_read = read(&slow, &path);
    let write = async {
        fleet.pigello.until_read(&object(), 1).await;
        heard_by(&writer, &reader, &object()).await;
        held.add_permits(1);
    };
    let ((version, _), ()) = tokio::join!(slow_read, write);
    assert_eq!(version, 0, "it was computed before the write");
    fleet.pigello.let_go();
    let (version, cache_status) = read(&reader, &object()).await;
    assert_eq!((version, cache_status.contains("fwd=miss; stored")), (1, true), "{cache_status}");
    fleet.until_stored(&[&slow, &writer, &reader]).await;
    let (version, cache_status) = read(&writer, &object()).await;
    assert!(version == 1 && cache_status.starts_with(SHARED), "{version} {cache_status}");
    // What was true before a write is put back, as one would who has not heard of it.
    let before = fleet.values().await;
    heard_by(&writer, &reader, &object()).await;
    let (version, cache_status) = read(&reader, &object()).await;
    assert_eq!((version, cache_status.starts_with(SHARED)), (2, false), "{cache_status}");
    let (name, after) = fleet.until_another(&before).await;
    let asof = |entry: &[u8]| u64::from_be_bytes(entry[8..16].try_into().unwrap());
    assert!(asof(&before[&name]) < asof(&after));
    fleet.put(&name, &before[&name]).await;
    let (version, cache_status) = read(&slow, &object()).await;
    assert_eq!((version, cache_status.starts_with(SHARED)), (2, false), "{cache_status}");
    assert!(looks(&slow, "outdated").await > 0);
}
