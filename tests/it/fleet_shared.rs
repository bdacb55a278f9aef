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
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
};

use crate::{
    fleet_bus::{ID, KEY, OTHER_KEY, object},
    support::{Gateway, Setup, Store, trail_lines},
};

/// In every answer of the upstream. Nobody but the gateways may see it.
const CANARY: &str = "Canary Made-Up";
const LIST: &str = "/accounts/users/customer/subtenant/list/";

/// An upstream whose objects have versions that writes increment, and which can hold its answers back.
#[derive(Clone, Default)]
pub(crate) struct Pigello(Arc<Mutex<World>>);

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

    pub(crate) fn reads(&self, path: &str) -> u64 {
        self.0.lock().reads.get(path).copied().unwrap_or_default()
    }

    /// Answers reads with that field, and a body that much larger.
    fn answers_with(&self, field: (&'static str, &'static str), padding: usize) {
        let mut world = self.0.lock();
        (world.fields, world.padding) = (vec![field], padding);
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
pub(crate) struct Fleet {
    pub(crate) store: Store,
    pub(crate) pigello: Pigello,
    pub(crate) origin: String,
    login: String,
}

impl Fleet {
    pub(crate) async fn new(arguments: &[&str]) -> Option<Self> {
        let store = Store::valkey(arguments)?;
        store.secret("key", KEY);
        store.secret("cache-key", OTHER_KEY);
        let (pigello, origin) = Pigello::start().await;
        let login = store.let_in().await;
        Some(Self { store, pigello, origin, login })
    }

    pub(crate) fn secret(&self, name: &str) -> String {
        let path =
            Path::new(self.store.address().strip_prefix("unix:").unwrap()).with_file_name(name);
        path.display().to_string()
    }

    pub(crate) fn setup(&self, cache_key: &str, more: &str) -> Setup {
        self.setup_at(&self.store.address(), cache_key, more)
    }

    fn setup_at(&self, url: &str, cache_key: &str, more: &str) -> Setup {
        let cache_key = self.secret(cache_key);
        let cache_key = format!(
            "cache_key = {{ source = \"file\", path = \"{cache_key}\", refresh = \"500ms\" }}\n"
        );
        Setup::plain(&self.origin).profile(&cache_key).with(&self.tables(url, more))
    }

    /// The tables of a member whose store is at that address.
    pub(crate) fn tables(&self, url: &str, more: &str) -> String {
        format!(
            "[fleet]\nname = \"test\"\nkey = {{ source = \"file\", path = \"{}\" }}\n\
             [fleet.store]\naddress = \"{url}\"\nreconnect = \"300ms\"\nwait = \"1s\"\n{}\
             [cache.shared]\nenabled = true\n{more}\n\
             [[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\"]\nttl = \"10m\"\nshared = true\n",
            self.secret("key"),
            self.login
        )
    }

    /// A gateway that uses the shared cache.
    pub(crate) async fn member(&self) -> Gateway {
        let gateway = self.setup("cache-key", "").start().await;
        until_sharing(&gateway).await;
        gateway
    }

    /// The entries in the store, with their names.
    async fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> = self.store.ask(redis::cmd("KEYS").arg("pgw:{test}:c:*")).await;
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

    /// The entry of an object that nobody has read yet.
    async fn entry_of(&self, gateway: &Gateway, path: &str) -> (String, Vec<u8>) {
        self.until_kept(gateway).await;
        let before = self.values().await;
        read(gateway, path).await;
        loop {
            let now = self.values().await;
            if let Some(found) = now.into_iter().find(|(name, _)| !before.contains_key(name)) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn put(&self, name: &str, entry: &[u8]) {
        let mut put = redis::cmd("SET");
        let () = self.store.ask(put.arg(name).arg(entry).arg("PX").arg(590_000)).await;
    }

    /// Waits until all that a gateway has handed to the store by now is there: it is stored in turn.
    async fn until_kept(&self, gateway: &Gateway) {
        let before = self.values().await;
        // What it fetches a moment after a purge is of no use to others, and is not stored.
        while self.entries().await.len() <= before.len() {
            read(gateway, &fresh()).await;
        }
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
pub(crate) async fn until_sharing(gateway: &Gateway) {
    while looks(gateway, "miss").await == 0 {
        // A path that nobody asks for otherwise.
        gateway.caller().get(&fresh()).await;
    }
}

/// An object that was not read before.
pub(crate) fn fresh() -> String {
    object().replace(ID, &uuid::Uuid::new_v4().to_string())
}

/// Waits until a write through one gateway is heard by the other.
async fn heard_by(writer: &Gateway, hearer: &Gateway, path: &str) {
    let heard = async || {
        let status = hearer.admin().get("/status").await.json();
        status["fleet"]["heard"].as_u64().unwrap()
    };
    let before = heard().await;
    assert_eq!(writer.caller().send(Method::PATCH, path, "{}").await.status, 200);
    while heard().await == before {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn looks(gateway: &Gateway, result: &str) -> u64 {
    let shared = shared(gateway).await;
    let mut results = shared["results"].as_array().unwrap().iter();
    results.find(|it| it["result"] == result).unwrap()["count"].as_u64().unwrap()
}

/// The version of an object, and what its answer says of the caches.
pub(crate) async fn read(gateway: &Gateway, path: &str) -> (u64, String) {
    let answer = gateway.caller().get(path).await;
    assert_eq!(answer.status, 200);
    let version = answer.json()["version"].as_u64().unwrap();
    (version, answer.header("cache-status").to_owned())
}

async fn record(gateway: &Gateway, path: &str) -> Value {
    loop {
        let line =
            trail_lines(&gateway.path("audit")).into_iter().find(|line| line["path"] == path);
        if let Some(line) = line {
            return line;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) const SHARED: &str = "pigello-gateway-shared; hit; ttl=";

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_answered_by_another_members_fetch_and_the_record_names_it() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    assert_eq!(
        read(&one, &object()).await,
        (0, "pigello-gateway; fwd=miss; stored; ttl=600".into())
    );
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
    let (slow, writer, reader) = (fleet.member().await, fleet.member().await, fleet.member().await);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_later_uses_what_is_there_and_knows_what_has_changed() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    let (changed, kept) = (object(), fresh());
    for path in [&changed, &kept] {
        read(&one, path).await;
    }
    fleet.until_stored(&[&one, &two]).await;
    heard_by(&two, &one, &changed).await;
    let late = fleet.member().await;
    let (version, cache_status) = read(&late, &kept).await;
    assert!(version == 0 && cache_status.starts_with(SHARED), "{version} {cache_status}");
    let (version, cache_status) = read(&late, &changed).await;
    assert!(version == 1 && !cache_status.starts_with(SHARED), "{version} {cache_status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_one_member_is_not_undone_by_the_others() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    read(&one, &object()).await;
    fleet.until_stored(&[&one, &two]).await;
    assert_eq!(one.admin().send(Method::DELETE, "/cache", "").await.status, 200);
    let (_, cache_status) = read(&one, &object()).await;
    assert!(!cache_status.starts_with(SHARED), "{cache_status}");
    assert_eq!(fleet.pigello.reads(&object()), 2);
    // Nobody else tells anything. So one of them does, and new entries can be used again.
    loop {
        let path = fresh();
        read(&two, &path).await;
        fleet.until_kept(&two).await;
        if read(&one, &path).await.1.starts_with(SHARED) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_a_profile_shares_nothing_until_it_is_back() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    let shares = async |path: &str| {
        read(&one, path).await;
        read(&two, path).await.1.starts_with(SHARED)
    };
    let file = fleet.secret("cache-key");
    std::fs::remove_file(&file).unwrap();
    let looked = async || {
        let shared = join_all([shared(&one), shared(&two)]).await;
        shared.iter().map(|it| it["results"].to_string()).collect::<String>()
    };
    loop {
        let before = looked().await;
        let path = fresh();
        assert!(
            shares(&path).await || read(&one, &path).await.1.contains("; hit"),
            "memory is used"
        );
        if looked().await == before {
            break;
        }
    }
    fleet.store.secret("cache-key", OTHER_KEY);
    while !shares(&fresh()).await {}
    // Another key is another cache.
    let stranger = fleet.setup("key", "").start().await;
    until_sharing(&stranger).await;
    let path = fresh();
    read(&one, &path).await;
    fleet.until_kept(&one).await;
    assert!(!read(&stranger, &path).await.1.starts_with(SHARED));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_or_of_another_place_is_a_miss() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    let (_, foreign) = fleet.entry_of(&one, &object()).await;
    let flipped = |mut entry: Vec<u8>, at: usize| {
        entry[at] ^= 1;
        entry
    };
    for case in 0..10 {
        let path = fresh();
        let (name, entry) = fleet.entry_of(&one, &path).await;
        let last = entry.len() - 1;
        let wrong = match case {
            0..4 => flipped(entry, [0, 5, 10, 20][case]),
            4 => flipped(entry, last / 2),
            5 => flipped(entry, last),
            6 => foreign.clone(),
            7 => entry[..last].to_vec(),
            8 => Vec::new(),
            _ => vec![0; 300_000],
        };
        fleet.put(&name, &wrong).await;
        let before = looks(&two, "unreadable").await;
        let (version, cache_status) = read(&two, &path).await;
        assert_eq!((version, cache_status.starts_with(SHARED)), (0, false), "{cache_status}");
        assert_eq!(looks(&two, "unreadable").await, before + 1, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_ends_when_it_says_and_not_when_the_store_says() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    fleet.pigello.answers_with(("cache-control", "max-age=5"), 0);
    let path = object();
    let (name, entry) = &fleet.entry_of(&one, &path).await;
    let without_end =
        async || -> () { fleet.store.ask(redis::cmd("SET").arg(name).arg(entry)).await };
    without_end().await;
    assert!(read(&two, &path).await.1.starts_with(SHARED));
    fleet.pigello.0.lock().version = 1;
    while read(&one, &path).await.0 == 0 {}
    without_end().await;
    let before = looks(&two, "outdated").await;
    let (version, cache_status) = read(&two, &path).await;
    assert_eq!((version, cache_status.starts_with(SHARED)), (1, false), "{cache_status}");
    assert_eq!(looks(&two, "outdated").await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_and_the_way_to_it_see_no_name_path_or_object() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let socket = fleet.secret("recorder.sock");
    let store = fleet.secret("store.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let recorded = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let server = UnixStream::connect(&store).await.unwrap();
            let ((from, to), (answers, questions)) = (caller.into_split(), server.into_split());
            tokio::spawn(record_into(Arc::clone(&recorded), from, questions));
            tokio::spawn(record_into(Arc::clone(&recorded), answers, to));
        }
    });
    let url = format!("unix:{socket}");
    let (one, two) = (
        fleet.setup_at(&url, "cache-key", "").start().await,
        fleet.setup_at(&url, "cache-key", "").start().await,
    );
    until_sharing(&one).await;
    until_sharing(&two).await;
    for path in [object().as_str(), LIST] {
        read(&one, path).await;
        fleet.until_kept(&one).await;
        assert!(read(&two, path).await.1.starts_with(SHARED));
    }
    heard_by(&one, &two, &object()).await;
    let () = fleet.store.ask(&redis::cmd("SAVE")).await;
    let mut all = std::fs::read(fleet.secret("dump.rdb")).unwrap();
    for name in fleet.entries().await {
        let dump: Vec<u8> = fleet.store.ask(redis::cmd("DUMP").arg(&name)).await;
        all.extend(dump);
        all.extend(name.into_bytes());
    }
    all.extend(seen.lock().iter());
    assert!(all.windows(4).any(|part| part == b"PGC1"), "entries were recorded");
    for canary in
        [CANARY, ID, &ID.replace('-', ""), "subtenant", "padding", "made-up", "pigello.io"]
    {
        let is_seen =
            all.windows(canary.len()).any(|part| part.eq_ignore_ascii_case(canary.as_bytes()));
        assert!(!is_seen, "{canary}");
    }
}

async fn record_into(
    seen: Arc<Mutex<Vec<u8>>>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        seen.lock().extend_from_slice(&buffer[..read]);
        to.write_all(&buffer[..read]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_object_is_fetched_once_or_twice_after_a_write() {
    const MEMBERS: usize = 8;
    const CALLERS: usize = 20;
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let gateways = join_all(
        (0..MEMBERS)
            .map(|_| async { fleet.setup("cache-key", "fill_wait = \"2s\"").start().await }),
    );
    let gateways = gateways.await;
    for gateway in &gateways {
        until_sharing(gateway).await;
    }
    let path = object();
    join_all(gateways.iter().map(|gateway| read(gateway, &path))).await;
    for hearer in &gateways[1..] {
        heard_by(&gateways[0], hearer, &path).await;
    }
    let before = fleet.pigello.reads(&path);
    let held = fleet.pigello.hold();
    let calls = gateways.iter().flat_map(|gateway| (0..CALLERS).map(|_| read(gateway, &path)));
    let lets_go = async {
        fleet.pigello.until_read(&path, before + 1).await;
        held.add_permits(100);
    };
    let (answers, ()) = tokio::join!(join_all(calls), lets_go);
    let version = fleet.pigello.0.lock().version;
    assert!(answers.iter().all(|(read, _)| *read == version), "{answers:?}");
    let fetched = fleet.pigello.reads(&path) - before;
    assert!((1..=2).contains(&fetched), "{fetched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_fetch_that_became_too_old_fetches_once_for_all() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let start = || async { fleet.setup("cache-key", "fill_wait = \"2s\"").start().await };
    let gateways = join_all((0..4).map(|_| start())).await;
    for gateway in &gateways {
        until_sharing(gateway).await;
    }
    let path = object();
    let looks = async || {
        let stats: String = fleet.store.ask(redis::cmd("INFO").arg("commandstats")).await;
        let (_, calls) = stats.split_once("cmdstat_mget:calls=").unwrap();
        calls.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let (held, before) = (fleet.pigello.hold(), looks().await);
    let changes = async {
        fleet.pigello.until_read(&path, 1).await;
        while looks().await < before + 4 {}
        heard_by(&gateways[0], &gateways[1], &path).await;
        fleet.pigello.until_read(&path, 2).await;
        held.add_permits(100);
    };
    let calls = join_all(gateways.iter().map(|gateway| read(gateway, &path)));
    let (answers, ()) = tokio::join!(calls, changes);
    assert_eq!(fleet.pigello.reads(&path), 2);
    let old = answers.iter().filter(|(version, _)| *version == 0).count();
    assert!(old <= 1, "the first call alone began before the write: {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_is_told_and_nobody_waits_for_it() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    for (field, padding, expected) in [
        (("cache-control", "private"), 0, ""),
        (("vary", "accept-language"), 0, "stored"),
        (("age", "1"), 0, "stored"),
        (("set-cookie", "a=b"), 0, ""),
        (("content-language", "sv"), 300 * 1024, "stored"),
    ] {
        fleet.pigello.answers_with(field, padding);
        let path = fresh();
        let (_, cache_status) = read(&one, &path).await;
        assert!(cache_status.contains(expected), "{cache_status}");
        fleet.until_kept(&one).await;
        let before = looks(&two, "not_shared").await;
        read(&two, &path).await;
        assert_eq!(looks(&two, "not_shared").await, before + 1, "{field:?} {padding}");
        assert_eq!(fleet.pigello.reads(&path), 2);
    }
    fleet.pigello.answers_with(("vary", "Accept-Encoding"), 0);
    let path = fresh();
    let coded = async |gateway: &Gateway, coding: &str| {
        let answer = gateway.caller().get_with(&path, &[("accept-encoding", coding)]).await;
        answer.header("cache-status").to_owned()
    };
    coded(&one, "gzip, br").await;
    fleet.until_kept(&one).await;
    assert!(coded(&two, "br,gzip").await.starts_with(SHARED), "the same preferences");
    assert!(!coded(&two, "zstd").await.starts_with(SHARED));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_without_the_store() {
    let Some(mut fleet) = Fleet::new(&[]).await else { return };
    let gateway = fleet.member().await;
    fleet.store.hang();
    for _ in 0..8 {
        assert_eq!(read(&gateway, &fresh()).await.0, 0);
    }
    let away = looks(&gateway, "away").await;
    assert!(away > 0);
    fleet.store.go_on();
    until_found(&gateway).await;
    fleet.store.kill();
    for _ in 0..8 {
        assert_eq!(read(&gateway, &fresh()).await.0, 0);
    }
    fleet.store.start_again();
    fleet.store.let_in().await;
    until_found(&gateway).await;
}

/// Waits until a gateway reaches the store again.
async fn until_found(gateway: &Gateway) {
    let before = looks(gateway, "miss").await;
    while looks(gateway, "miss").await == before {
        gateway.caller().get(&fresh()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_of_the_fleet_is_taken_while_it_runs() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    fleet.store.secret("key", &format!("{OTHER_KEY}\n{KEY}\n"));
    // It is read once a minute. A member that starts has it at once, and the others open what it seals when they do.
    heard_by(&one, &two, &object()).await;
    let status = two.admin().get("/status").await.json();
    assert_eq!(status["fleet"]["breaks"][2]["count"], 0, "{status}");
}
