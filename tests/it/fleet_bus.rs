//! What members of a fleet tell each other: two gateways, and a real Valkey between them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use clap::Parser;
use http::{Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use pigello_gateway::cli::admin;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Gateway, Setup, Store, free_port};

/// Made up: 32 bytes in Base64.
pub(crate) const KEY: &str = "bWFkZS11cC1rZXktdGhhdC1pcy0zMi1ieXRlcy1sbyE=";
pub(crate) const OTHER_KEY: &str = "bWFkZS11cC1rZXktdGhhdC1pcy1hbm90aGVyLW9uZSE=";
const TOKEN: &str = "made-up-token-that-is-for-everything";
pub(crate) const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";
const LIST: &str = "/accounts/users/customer/subtenant/list/";

pub(crate) fn object() -> String {
    format!("/accounts/users/customer/subtenant/{ID}/")
}

fn other() -> String {
    object().replace("1e55", "1e56")
}

/// An upstream with an event log, whose objects have versions that writes increment.
#[derive(Clone, Default)]
pub(crate) struct Pigello(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    versions: HashMap<String, u64>,
    /// Paths that are answered with `Retry-After`, and how often they were called.
    limited: HashMap<String, (StatusCode, u64)>,
    log: Vec<Value>,
}

impl Pigello {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let pigello = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(pigello.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (pigello, address)
    }

    /// Changes an object past all gateways.
    pub(crate) fn change(&self, path: &str) {
        *self.0.lock().versions.entry(path.to_owned()).or_default() += 1;
    }

    /// Its log says so.
    pub(crate) fn log(&self, event: Value) {
        self.0.lock().log.push(event);
    }

    /// Asks for a pause of a minute at a path from now on.
    fn limit(&self, path: &str, status: StatusCode) {
        self.0.lock().limited.insert(path.to_owned(), (status, 0));
    }

    /// How often a path was called since then.
    fn calls(&self, path: &str) -> u64 {
        self.0.lock().limited[path].1
    }
}

async fn answer(State(pigello): State<Pigello>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/common/eventlog/list/" {
        let is_first = request.uri().query().unwrap().contains("_page=1&");
        let log = if is_first { pigello.0.lock().log.clone() } else { Vec::new() };
        return Value::from(log).to_string().into_response();
    }
    if let Some((status, calls)) = pigello.0.lock().limited.get_mut(&path) {
        *calls += 1;
        return (*status, [("retry-after", "60")], "{}").into_response();
    }
    if *request.method() != Method::GET {
        pigello.change(&path);
        pigello.change(LIST);
    }
    let version = pigello.0.lock().versions.get(&path).copied().unwrap_or_default();
    ([("content-type", "application/json")], format!("{{\"version\":{version}}}")).into_response()
}

/// The tables of a member.
pub(crate) fn member(store: &Store, key_file: &Path) -> String {
    format!(
        "[fleet]\nname = \"test\"\nkey_file = \"{}\"\n[fleet.store]\naddress = \"{}\"\nreconnect = \"300ms\"\n\
         [[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\"]\nttl = \"10m\"\n",
        key_file.display(),
        store.address()
    )
}

/// Where the store of a member is, and through which sentinel it is found.
fn behind(sentinel: u16, tables: &str) -> String {
    let url = tables.lines().find(|line| line.starts_with("address = ")).unwrap();
    let sentinels =
        format!("tls = false\nsentinels = [\"127.0.0.1:{sentinel}\"]\nservice = \"pigello\"");
    tables.replace(url, &sentinels)
}

/// Two members before the same upstream, which hear each other.
pub(crate) struct Fleet {
    pub(crate) store: Store,
    pigello: Pigello,
    pub(crate) one: Gateway,
    pub(crate) two: Gateway,
}

impl Fleet {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("", "").await
    }

    /// With more tables for each.
    pub(crate) async fn start_with(one: &str, two: &str) -> Option<Self> {
        let store = Store::valkey(&[])?;
        let (pigello, address) = Pigello::start().await;
        let key = store.secret("key", KEY);
        let start = async |name: &str, more: &str| {
            let setup = Setup::plain(&format!("http://{address}"));
            let setup = setup.variable(&format!("PIGELLO_GATEWAY_AUDIT__INSTANCE={name}"));
            let gateway = setup.with(&member(&store, &key)).with(more).start().await;
            until(&gateway, |fleet| fleet["hearing"] == true).await;
            gateway
        };
        let (one, two) = (start("one", one).await, start("two", two).await);
        Some(Self { store, pigello, one, two })
    }

    /// Both hear each other.
    async fn until_whole(&self) {
        for gateway in [&self.one, &self.two] {
            until(gateway, |fleet| fleet["hearing"] == true).await;
        }
    }
}

/// The state of the fleet, once it is so.
pub(crate) async fn until(gateway: &Gateway, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let fleet = status(gateway).await;
        if is_so(&fleet) {
            return fleet;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn status(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["fleet"].take()
}

/// The version that a gateway answers with, and whether it had it.
async fn read(gateway: &Gateway, path: &str) -> (u64, bool) {
    let answer = gateway.caller().get(path).await;
    let is_hit = answer.header("cache-status").contains("; hit");
    (answer.json()["version"].as_u64().unwrap(), is_hit)
}

/// Has a gateway remember what it reads. What it hears meanwhile may drop it once more.
async fn remember(gateway: &Gateway, path: &str) {
    while !read(gateway, path).await.1 {
        tokio::task::yield_now().await;
    }
}

async fn write(gateway: &Gateway, path: &str) {
    let answer = gateway.caller().send(Method::PATCH, path, "{}").await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// Reads until the version is that one, and returns how long it took.
async fn until_version(gateway: &Gateway, path: &str, version: u64) -> Duration {
    let began = Instant::now();
    while read(gateway, path).await.0 != version {
        tokio::task::yield_now().await;
    }
    began.elapsed()
}

fn breaks(fleet: &Value) -> u64 {
    fleet["breaks"].as_array().unwrap().iter().map(|it| it["count"].as_u64().unwrap()).sum()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_one_is_seen_by_the_other_within_a_second() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = &fleet;
    for path in [object(), other(), LIST.to_owned()] {
        remember(two, &path).await;
    }
    write(one, &object()).await;
    assert!(until_version(two, &object(), 1).await < SECOND);
    assert!(until_version(two, LIST, 1).await < SECOND);
    assert!(read(two, &other()).await.1, "another object is still there");
    // The writer's own notice does not drop what it has fetched since.
    remember(one, &object()).await;
    write(two, &other()).await;
    until_version(one, LIST, 2).await;
    assert!(read(one, &object()).await.1);
    let heard = until(one, |fleet| fleet["heard"] != 0).await;
    assert_eq!((breaks(&heard), &heard["waiting"]), (0, &json!(0)));
    // Whoever runs the store learns nothing of it.
    let all: Vec<(String, HashMap<String, Vec<u8>>)> =
        store.ask(redis::cmd("XRANGE").arg(&["pgw:{test}:bus", "-", "+"])).await;
    assert!(all.len() >= 2);
    for canary in [ID, "subtenant", "accounts", "written"] {
        let is_clear =
            |message: &[u8]| message.windows(canary.len()).any(|it| it == canary.as_bytes());
        assert!(!all.iter().any(|(_, fields)| is_clear(&fields["m"])), "{canary}");
    }
    let metrics = two.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("pigello_gateway_fleet_coherent 1"), "{metrics}");
    assert!(metrics.contains("fleet_breaks_total{why=\"gap\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_the_fleet_empties_every_member() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, .. } = &fleet;
    for gateway in [one, two] {
        remember(gateway, &object()).await;
        remember(gateway, LIST).await;
    }
    let answer = one.admin().send(Method::POST, "/fleet/purge?operation=subtenant.get", "").await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, json!({"purged": 1, "told": true}))
    );
    until(two, |fleet| fleet["heard"] == 1).await;
    for gateway in [one, two] {
        assert!(!read(gateway, &object()).await.1);
        assert!(read(gateway, LIST).await.1);
    }
    // The other command is about one gateway.
    assert_eq!(one.admin().send(Method::DELETE, "/cache", "").await.status, StatusCode::OK);
    assert!(read(two, LIST).await.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_an_event_of_the_log_reach_the_member_that_has_neither() {
    let tokens = tempfile::tempdir().unwrap();
    let file = tokens.path().join("tokens");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let sources = format!(
        "[notices]\nevent_log = \"poll\"\ninterval = \"1s\"\n[notices.webhook]\nlistener = \"127.0.0.1:0\"\n\
         tokens_file = \"{}\"\n",
        file.display()
    );
    let Some(fleet) = Fleet::start_with(&sources, "").await else { return };
    let Fleet { one, two, pigello, .. } = &fleet;
    remember(two, &object()).await;
    pigello.change(&object());
    let event = json!({"content_type": "accounts.subtenant", "object_id": ID});
    let hook = format!("/hooks/{TOKEN}");
    let sent = one.webhooks().send(Method::POST, &hook, event.to_string()).await;
    assert_eq!(sent.status, StatusCode::NO_CONTENT);
    assert!(until_version(two, &object(), 1).await < SECOND);

    while one.admin().get("/status").await.json()["notices"][0]["event_log"] != "complete" {}
    pigello.change(&object());
    pigello.log(json!({
        "id": "event-1", "content_type": "accounts.subtenant", "object_id": ID,
        "created_at": Timestamp::now().to_string(),
    }));
    until_version(two, &object(), 2).await;
    let notices = two.admin().get("/status").await.json()["notices"][0].take();
    let from_fleet = notices["sources"].as_array().unwrap();
    let from_fleet = from_fleet.iter().find(|source| source["source"] == "fleet").unwrap();
    assert_eq!(from_fleet["applied"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_channel_loses_is_found_in_the_stream() {
    let Some(store) = Store::valkey(&[]) else { return };
    let (_, address) = Pigello::start().await;
    let key = store.secret("key", KEY);
    // The first one's messages reach the stream, and never the channel.
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "mute", "on", ">made-up", "allkeys", "allchannels", "+@all", "-publish"]);
    let () = store.ask(&user).await;
    let password = store.secret("password", "made-up");
    let mute = format!("username = \"mute\"\npassword_file = \"{}\"\n[[cache", password.display());
    let tables = member(&store, &key);
    let setup = || Setup::plain(&format!("http://{address}"));
    let two = setup().with(&tables).start().await;
    until(&two, |fleet| fleet["hearing"] == true).await;
    let one = setup().with(&tables.replacen("[[cache", &mute, 1)).start().await;
    until(&one, |fleet| fleet["hearing"] == true).await;
    remember(&two, &object()).await;
    write(&one, &object()).await;
    until_version(&two, &object(), 1).await;
    let told = until(&one, |fleet| fleet["last_error"].is_string()).await;
    assert!(told["last_error"].as_str().unwrap().contains("ACL"), "{told}");
    let fleet = status(&two).await;
    assert_eq!((breaks(&fleet), &fleet["connections"]), (0, &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_back_empty_is_a_break_and_flushes_nothing() {
    let Some(mut fleet) = Fleet::start().await else { return };
    for path in [object(), other()] {
        remember(&fleet.two, &path).await;
    }
    write(&fleet.one, &object()).await;
    until_version(&fleet.two, &object(), 1).await;
    fleet.store.kill();
    for gateway in [&fleet.one, &fleet.two] {
        until(gateway, |fleet| fleet["hearing"] == false).await;
    }
    assert!(read(&fleet.two, &other()).await.1, "it lives for `ttl`");
    write(&fleet.one, &object()).await;
    fleet.store.start_again();
    fleet.until_whole().await;
    let broken = until(&fleet.two, |fleet| breaks(fleet) > 0).await;
    assert_eq!(broken["breaks"][0], json!({"reason": "position", "count": 1}));
    assert!(read(&fleet.two, &other()).await.1, "nothing is flushed");
    until(&fleet.one, |fleet| fleet["waiting"] == 0).await;
    remember(&fleet.two, LIST).await;
    write(&fleet.one, &object()).await;
    assert!(until_version(&fleet.two, LIST, 3).await < SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_holds_no_write_up_and_tells_what_was_told_meanwhile() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = &fleet;
    remember(two, &object()).await;
    store.hang();
    let began = Instant::now();
    for _ in 0..20 {
        write(one, &object()).await;
    }
    // Five of them waited for 30 ms each. The store is given up after two seconds.
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    until(two, |fleet| fleet["hearing"] == false).await;
    assert!(read(two, &object()).await.1);
    store.go_on();
    until_version(two, &object(), 20).await;
    fleet.until_whole().await;
    assert_eq!(breaks(&status(two).await), 0, "everything was heard after all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_catches_up() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = &fleet;
    for turn in 1..=3 {
        remember(two, &object()).await;
        let () = store.ask(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"])).await;
        write(one, &object()).await;
        until_version(two, &object(), turn).await;
    }
    fleet.until_whole().await;
    assert_eq!(breaks(&status(two).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_another_key_is_not_understood_and_ends_the_proof() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = &fleet;
    let (_, address) = Pigello::start().await;
    let key = store.secret("other-key", OTHER_KEY);
    let stranger = Setup::plain(&format!("http://{address}")).with(&member(store, &key));
    let stranger = stranger.start().await;
    until(&stranger, |fleet| fleet["hearing"] == true).await;
    remember(two, &object()).await;
    write(&stranger, &object()).await;
    let broken = until(two, |fleet| breaks(fleet) > 0).await;
    assert_eq!(broken["breaks"][2], json!({"reason": "unreadable", "count": 1}));
    assert!(read(two, &object()).await.1, "nothing is dropped");
    write(one, &object()).await;
    assert!(until_version(two, &object(), 1).await < SECOND, "members still hear each other");
    assert!(until(&stranger, |fleet| breaks(fleet) > 0).await["heard"] == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_needs_the_bus_and_a_break_leaves_ttl() {
    let log = "[notices]\nevent_log = \"poll\"\ninterval = \"1s\"\n[[cache.rules]]\n\
               operations = [\"tenant.get\"]\nttl = \"1ms\"\ncoherent_ttl = \"10m\"\nstale_if_error = \"0s\"\n";
    let Some(mut fleet) = Fleet::start_with("", log).await else { return };
    let path = format!("/accounts/users/customer/tenant/{ID}/");
    let is_proved = async |gateway: &Gateway| {
        gateway.admin().get("/status").await.json()["notices"][0]["event_log"] == "complete"
    };
    let is_coherent = async |gateway: &Gateway| {
        let answer = gateway.caller().get(&path).await;
        answer.header("cache-status").ends_with("detail=coherent")
    };
    while !is_proved(&fleet.two).await {}
    read(&fleet.two, &path).await;
    assert!(is_coherent(&fleet.two).await);
    fleet.store.kill();
    until(&fleet.two, |fleet| fleet["hearing"] == false).await;
    assert!(!is_coherent(&fleet.two).await);
    assert!(!is_proved(&fleet.two).await, "the log alone proves nothing");
    fleet.store.start_again();
    fleet.until_whole().await;
    while !is_proved(&fleet.two).await {}
    read(&fleet.two, &path).await;
    assert!(is_coherent(&fleet.two).await);
    // A write through the other member ends it as an event of the log would.
    write(&fleet.one, &path).await;
    until_version(&fleet.two, &path, 1).await;
}

/// What a gateway knows of its upstream.
async fn upstream(gateway: &Gateway) -> Value {
    gateway.admin().get("/status").await.json()["upstreams"][0].take()
}

/// Its operations that are left alone, once there are so many.
async fn until_left_alone(gateway: &Gateway, count: usize) -> (Value, Duration) {
    let began = Instant::now();
    loop {
        let upstream = upstream(gateway).await;
        if upstream["suspended_operations"].as_array().unwrap().len() == count {
            return (upstream, began.elapsed());
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_one_is_asked_for_is_a_pause_of_all_within_a_second() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, pigello, .. } = &fleet;
    let before = status(two).await["messages"].take();
    for (path, status, number) in [
        (object(), StatusCode::TOO_MANY_REQUESTS, 1),
        (LIST.to_owned(), StatusCode::SERVICE_UNAVAILABLE, 2),
    ] {
        pigello.limit(&path, status);
        one.caller().get(&path).await;
        let (_, took) = until_left_alone(two, number).await;
        assert!(took < SECOND, "{took:?}");
        let asked = pigello.calls(&path);
        let refused = two.caller().get(&path).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((55..=66).contains(&seconds), "{seconds}");
        assert!(
            refused.json()["detail"].as_str().unwrap().contains("another gateway of the fleet")
        );
        assert_eq!(pigello.calls(&path), asked, "Pigello was not asked");
    }
    // Two operations are the whole profile.
    let known = upstream(two).await;
    assert!(known["pause_seconds"].as_u64().unwrap() >= 55 && known["pause_is_heard"] == true);
    let tenant = format!("/accounts/users/customer/tenant/{ID}/");
    assert_eq!(two.caller().get(&tenant).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(upstream(one).await["pause_is_heard"].is_null(), "it was asked itself");
    assert_eq!(status(two).await["messages"], before, "what is heard is not told again");
    let page = two.admin().get("/").await;
    assert!(
        String::from_utf8_lossy(&page.body).contains("as another gateway of the fleet was asked")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_told_once_and_is_of_the_profile_alone() {
    let other = "[credentials.unlike]\nsource = \"directory\"\npath = \"credentials\"\n\
                 [profiles.unlike]\nupstream = \"http://127.0.0.1:9\"\ninsecure_http = true\ncredentials = \"unlike\"\n";
    let Some(fleet) = Fleet::start_with("", other).await else { return };
    let Fleet { one, two, pigello, .. } = &fleet;
    let before = status(one).await["messages"].as_u64().unwrap();
    pigello.limit(&object(), StatusCode::TOO_MANY_REQUESTS);
    let path = object();
    let calls = (0..20).map(|_| one.caller().get(&path));
    futures_util::future::join_all(calls).await;
    until_left_alone(two, 1).await;
    let upstreams = two.admin().get("/status").await.json()["upstreams"].take();
    let others = upstreams.as_array().unwrap().iter().find(|it| it["profile"] == "unlike").unwrap();
    assert_eq!(others["suspended_operations"], json!([]));
    until(one, |fleet| fleet["waiting"] == 0).await;
    assert_eq!(status(one).await["messages"], before + 1);
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: admin::FleetArgs,
}

/// Runs `fleet` at a gateway; what it prints, and whether it fails.
pub(crate) async fn command(gateway: &Gateway, arguments: &[&str]) -> (String, bool) {
    let socket = format!("unix:{}", gateway.path("admin.sock").display());
    let (name, rest) = arguments.split_first().unwrap();
    let all = ["fleet", name, "--address", &socket].into_iter().chain(rest.iter().copied());
    let (command, mut out) = (Command::parse_from(all), Vec::new());
    let failed = admin::fleet(&command.args, &mut out).await.is_err();
    (String::from_utf8(out).unwrap(), failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_the_fleet_and_purges_it() {
    let Some(mut fleet) = Fleet::start().await else { return };
    remember(&fleet.two, &object()).await;
    let (told, failed) = command(&fleet.one, &["purge", "--pk", ID]).await;
    assert_eq!(
        (&*told, failed),
        ("0 cached responses dropped here\nthe other members are told\n", false)
    );
    until(&fleet.two, |fleet| fleet["heard"] == 1).await;
    assert!(!read(&fleet.two, &object()).await.1);
    let (told, failed) = command(&fleet.two, &["status"]).await;
    assert!(
        !failed && told.contains("fleet        test, as a member\nstore        valkey 9."),
        "{told}"
    );
    assert!(told.contains("heard        1 changes of others\n"), "{told}");
    fleet.store.kill();
    until(&fleet.two, |fleet| fleet["hearing"] == false).await;
    let (told, failed) = command(&fleet.two, &["status"]).await;
    assert!(failed && told.contains("not connected since"), "{told}");
    let (told, failed) = command(&fleet.two, &["purge", "--all"]).await;
    assert!(!failed && told.contains("are told when it can"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_nothing_is_no_break() {
    let (first, second) = (free_port(), free_port());
    let Some(mut primary) = Store::valkey(&["--port", &first.to_string()]) else { return };
    let replica = ["--port", &second.to_string(), "--replicaof", &format!("127.0.0.1 {first}")];
    let Some(replica) = Store::valkey(&replica) else { return };
    let Some((_sentinel, sentinel)) = Store::sentinel(first) else { return };
    let mut state = redis::cmd("INFO");
    state.arg("replication");
    while !primary.ask::<String>(&state).await.contains("state=online") {}
    let (_, address) = Pigello::start().await;
    let key = primary.secret("key", KEY);
    let start = async || {
        let tables = behind(sentinel, &member(&primary, &key));
        let gateway = Setup::plain(&format!("http://{address}")).with(&tables).start().await;
        until(&gateway, |fleet| fleet["hearing"] == true).await;
        gateway
    };
    let (one, two) = (start().await, start().await);
    remember(&two, &object()).await;
    write(&one, &object()).await;
    until_version(&two, &object(), 1).await;
    // Both have heard it, so it is in the replica when that has as much as the primary.
    let length = redis::cmd("XLEN").arg("pgw:{test}:bus").to_owned();
    let told: u64 = primary.ask(&length).await;
    while replica.ask::<u64>(&length).await != told {}
    remember(&two, LIST).await;
    primary.kill();
    for gateway in [&one, &two] {
        let is_back = |fleet: &Value| fleet["connections"] == 2 && fleet["hearing"] == true;
        let fleet = until(gateway, is_back).await;
        assert_eq!(breaks(&fleet), 0, "{fleet}");
    }
    let role: Vec<redis::Value> = replica.ask(&redis::cmd("ROLE")).await;
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
    assert!(read(&two, LIST).await.1, "nothing is flushed");
    write(&one, &object()).await;
    assert!(until_version(&two, LIST, 2).await < SECOND);
}
