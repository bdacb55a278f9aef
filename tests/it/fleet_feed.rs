//! One member of a fleet reads the event log for all, and webhooks of one reach all: hubs, a member without a log of its
//! own, and a real Valkey between them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use http::{Method, StatusCode};
use jiff::Timestamp;
use pigello_mock::MADE_UP_VALUES;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fleet_bus::{ID, KEY, Pigello, member, until},
    support::{Caller, Gateway, Process, Setup, Store},
};

const TOKEN: &str = "made-up-token-that-is-for-everything";

const RULE: &str = "[[cache.rules]]\noperations = [\"tenant.get\"]\nttl = \"1ms\"\ncoherent_ttl = \"10m\"\n\
                    stale_if_error = \"0s\"\n";

fn tenant() -> String {
    format!("/accounts/users/customer/tenant/{ID}/")
}

/// `[notices]` of a gateway that reads the log.
fn polls(interval: &str) -> String {
    format!("[notices]\nevent_log = \"poll\"\ninterval = \"{interval}\"\nsettle = \"1s\"\n")
}

/// The fleet's parts that no gateway owns.
struct Ground {
    store: Store,
    pigello: Pigello,
    upstream: String,
}

impl Ground {
    async fn new() -> Option<Self> {
        let store = Store::valkey(&[])?;
        let (pigello, address) = Pigello::start().await;
        Some(Self { store, pigello, upstream: format!("http://{address}") })
    }

    fn tables(&self, name: &str, role: &str) -> String {
        let fleet = member(&self.store, &self.store.secret("key", KEY));
        let keys = format!("[fleet]\nrole = \"{role}\"\ninstance = \"{name}\"\n");
        fleet.replacen("[fleet]\n", &keys, 1)
    }

    async fn start(&self, name: &str, role: &str, more: &str) -> Gateway {
        let setup = Setup::plain(&self.upstream).with(&self.tables(name, role));
        let gateway = setup.with(RULE).with(more).start().await;
        until(&gateway, |fleet| fleet["hearing"] == true).await;
        gateway
    }

    /// A hub in a process of its own, which can be killed.
    fn start_process(&self, name: &str, more: &str) -> (Process, Caller, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("credentials")).unwrap();
        for (name, value) in MADE_UP_VALUES {
            fs::write(path("credentials").join(name.key()), value).unwrap();
        }
        let socket = path("admin.sock");
        let text = format!(
            "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
             [admin]\naddress = \"unix:{}\"\n[profiles.test]\nupstream = \"{}\"\ncredentials = \"test\"\n\
             insecure_http = true\n[credentials.test]\nsource = \"directory\"\npath = \"{}\"\n\
             [audit]\ndirectory = \"{}\"\n{}{RULE}{more}",
            socket.display(),
            self.upstream,
            path("credentials").display(),
            path("audit").display(),
            self.tables(name, "hub"),
        );
        fs::write(path("gateway.toml"), text).unwrap();
        let process = Process::serve(&path("gateway.toml"));
        (process, Caller::unix(socket), folder)
    }

    /// An object has changed in Pigello's own pages.
    fn change(&self, number: u32) {
        self.pigello.change(&tenant());
        self.pigello.log(json!({
            "id": format!("event-{number}"), "content_type": "accounts.tenant", "object_id": ID,
            "created_at": Timestamp::now().to_string(),
        }));
    }
}

/// The state of a gateway's notices, once it is so.
async fn until_notices(admin: &Caller, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let notices = admin.get("/status").await.json()["notices"][0].take();
        if is_so(&notices) {
            return notices;
        }
        tokio::task::yield_now().await;
    }
}

async fn until_complete(admin: &Caller) -> Value {
    until_notices(admin, |notices| notices["event_log"] == "complete").await
}

/// Reads until the answer is from memory although its `ttl` is over.
async fn until_coherent(gateway: &Gateway) {
    while !is_coherent(gateway).await {
        tokio::task::yield_now().await;
    }
}

async fn is_coherent(gateway: &Gateway) -> bool {
    let answer = gateway.caller().get(&tenant()).await;
    answer.header("cache-status").ends_with("detail=coherent")
}

async fn until_version(gateway: &Gateway, version: u64) {
    while gateway.caller().get(&tenant()).await.json()["version"] != version {
        tokio::task::yield_now().await;
    }
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin().get("/metrics").await.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hub_reads_the_log_and_every_member_is_coherent() {
    let Some(ground) = Ground::new().await else { return };
    let one = ground.start("one", "hub", &polls("1s")).await;
    let two = ground.start("two", "hub", &polls("1s")).await;
    let member = ground.start("three", "member", "").await;
    let state = until_complete(member.admin()).await;
    let reader = state["reader"].as_str().unwrap().to_owned();
    assert_eq!(state["proof"], "fleet", "{state}");
    assert!(["one", "two"].contains(&&*reader), "{state}");
    let (own, other) = if reader == "one" { (&one, &two) } else { (&two, &one) };
    let is_by = |proof: &'static str| {
        move |notices: &Value| notices["event_log"] == "complete" && notices["proof"] == proof
    };
    until_notices(own.admin(), is_by("own")).await;
    until_notices(other.admin(), is_by("fleet")).await;
    for gateway in [&one, &two, &member] {
        until_coherent(gateway).await;
    }
    ground.change(1);
    for gateway in [&one, &two, &member] {
        until_version(gateway, 1).await;
        until_coherent(gateway).await;
    }
    let profile = member.admin().get("/profiles").await.json()["profiles"][0].take();
    assert_eq!(profile["notices"]["reader"], reader, "{profile}");
    let page = member.admin().get("/").await;
    assert!(String::from_utf8_lossy(&page.body).contains("Read for the fleet by"));
    let told = metrics(&member).await;
    for line in [
        "pigello_gateway_fleet_coherent 1",
        "pigello_gateway_fleet_outbox 0",
        "pigello_gateway_fleet_lag_seconds ",
        "pigello_gateway_fleet_notices_total{kind=\"tick\",source=\"own\"} 0",
        "pigello_gateway_notices_coherent{profile=\"test\"} 1",
        "pigello_gateway_notices_feed_age_seconds{profile=\"test\"} ",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert!(!told.contains("kind=\"tick\",source=\"fleet\"} 0"), "{told}");
    // The store does not learn the names of profiles.
    let leases: Vec<String> = ground.store.ask(redis::cmd("KEYS").arg("*lease*")).await;
    assert!(leases.len() == 1 && !leases[0].contains(":test"), "{leases:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_killed_is_followed_by_another_and_the_chain_goes_on() {
    let Some(ground) = Ground::new().await else { return };
    // A proof of it outlasts the lease.
    let slow = polls("10s");
    let (process, admin, _folder) = ground.start_process("first", &slow);
    until_complete(&admin).await;
    let member =
        ground.start("three", "member", "[notices]\ninterval = \"10s\"\nsettle = \"1s\"\n").await;
    let two = ground.start("two", "hub", &slow).await;
    until_notices(two.admin(), |notices| notices["reader"] == "first").await;
    let before = until_notices(member.admin(), |notices| notices["reader"] == "first").await;
    until_coherent(&member).await;
    drop(process);
    ground.change(1);
    let after = until_notices(member.admin(), |notices| notices["reader"] == "two").await;
    assert_eq!(after["complete_since"], before["complete_since"], "{before} {after}");
    until_version(&member, 1).await;
    until_coherent(&member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_ends_gives_the_reading_to_another_at_once() {
    let Some(ground) = Ground::new().await else { return };
    let one = ground.start("one", "hub", &polls("5s")).await;
    until_notices(one.admin(), |notices| notices["proof"] == "own").await;
    let member = ground.start("three", "member", "").await;
    until_notices(member.admin(), |notices| notices["reader"] == "one").await;
    let two = ground.start("two", "hub", &polls("5s")).await;
    until_complete(two.admin()).await;
    one.stop().await;
    let leases: Vec<String> = ground.store.ask(redis::cmd("KEYS").arg("*lease*")).await;
    // The other one may have it already.
    for lease in leases {
        let left: i64 = ground.store.ask(redis::cmd("PTTL").arg(lease)).await;
        assert!(left > 10_000, "it is another's: {left}");
    }
    until_notices(member.admin(), |notices| notices["reader"] == "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_members_have_ttl_and_hubs_read_for_themselves() {
    let Some(mut ground) = Ground::new().await else { return };
    let hub = ground.start("one", "hub", &polls("1s")).await;
    let member = ground.start("three", "member", "").await;
    until_complete(member.admin()).await;
    until_coherent(&member).await;
    ground.store.kill();
    let state = until_notices(member.admin(), |notices| notices["event_log"] == "incomplete").await;
    assert!(state.get("complete_since").is_none(), "{state}");
    assert!(!is_coherent(&member).await);
    until(&hub, |fleet| fleet["connected"] == false).await;
    let last = until_complete(hub.admin()).await["last_read"].clone();
    let read = until_notices(hub.admin(), |notices| notices["last_read"] != last).await;
    assert_eq!(read["proof"], "own");
    until_coherent(&hub).await;
    ground.change(1);
    until_version(&hub, 1).await;
    ground.store.start_again();
    until_complete(member.admin()).await;
    until_version(&member, 1).await;
    until_coherent(&member).await;
    ground.change(2);
    until_version(&member, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_without_hubs_has_one_of_its_members_read() {
    let Some(ground) = Ground::new().await else { return };
    let one = ground.start("one", "member", &polls("1s")).await;
    let two = ground.start("two", "member", &polls("1s")).await;
    let states = [until_complete(one.admin()).await, until_complete(two.admin()).await];
    // One of them may have read before it heard the other.
    let is_read = states.iter().any(|state| state["proof"] == "own");
    assert!(is_read, "{states:?}");
    ground.change(1);
    for gateway in [&one, &two] {
        until_version(gateway, 1).await;
        until_coherent(gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_answered_when_the_store_has_it() {
    let Some(mut ground) = Ground::new().await else { return };
    let tokens = tempfile::tempdir().unwrap();
    let file = tokens.path().join("tokens");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let webhook = format!(
        "[notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"{}\"\n\
         [[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"10m\"\n",
        file.display()
    );
    let hub = ground.start("one", "hub", &webhook).await;
    let member = ground.start("three", "member", "").await;
    let path = format!("/accounts/users/customer/subtenant/{ID}/");
    let read = async |gateway: &Gateway| {
        let answer = gateway.caller().get(&path).await;
        (
            answer.json()["version"].as_u64().unwrap(),
            answer.header("cache-status").contains("; hit"),
        )
    };
    let remember = async |gateway: &Gateway| while !read(gateway).await.1 {};
    for gateway in [&hub, &member] {
        remember(gateway).await;
    }
    let send = async |id: &str| {
        let event = json!({"id": id, "content_type": "accounts.subtenant", "object_id": ID});
        hub.webhooks().send(Method::POST, &format!("/hooks/{TOKEN}"), event.to_string()).await
    };
    ground.pigello.change(&path);
    assert_eq!(send("1").await.status, StatusCode::NO_CONTENT);
    while read(&member).await.0 != 1 {}

    ground.store.kill();
    until(&hub, |fleet| fleet["connected"] == false).await;
    remember(&hub).await;
    remember(&member).await;
    ground.pigello.change(&path);
    for _ in 0..2 {
        let refused = send("2").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.header("retry-after"), "5");
    }
    assert_eq!(read(&hub).await.0, 2, "it is dropped here all the same");
    assert_eq!(read(&member).await, (1, true));
    let told = metrics(&hub).await;
    assert!(told.contains("notices_refused_total{reason=\"store\"} 2"), "{told}");
    ground.store.start_again();
    until(&hub, |fleet| fleet["hearing"] == true).await;
    until(&member, |fleet| fleet["hearing"] == true).await;
    assert_eq!(send("2").await.status, StatusCode::NO_CONTENT, "Pigello sends it again");
}
