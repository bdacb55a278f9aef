//! The fleet's store: how a gateway finds it, logs in, and goes on without it.

use std::fs;

use clap::Parser;
use pigello_gateway::{cli::check, fleet};
use pigello_mock::EXAMPLE_SUBTENANT;
use serde_json::Value;

use crate::support::{Authority, Gateway, Setup, Store, acl_of_manual, dns, free_port, pigello};

const PASSWORD: &str = "made-up-password-of-the-store";
/// Made up: 32 bytes in Base64.
const KEY: &str = "bWFkZS11cC1rZXktdGhhdC1pcy0zMi1ieXRlcy1sbyE=";

/// The tables of a gateway of the fleet `test`, with those keys of `[fleet.store]`.
fn fleet(store: &Store, keys: &str) -> String {
    let key = store.secret("key", KEY);
    format!(
        "[fleet]\nname = \"test\"\nkey = {{ source = \"file\", path = \"{}\" }}\n[fleet.store]\nreconnect = \"500ms\"\n{keys}\n",
        key.display()
    )
}

fn at(store: &Store) -> String {
    fleet(store, &format!("address = \"{}\"", store.address()))
}

/// The state of the fleet, once it is so.
async fn until(gateway: &Gateway, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let fleet = gateway.admin().get("/status").await.json()["fleet"].take();
        if is_so(&fleet) {
            return fleet;
        }
        tokio::task::yield_now().await;
    }
}

async fn until_connected(gateway: &Gateway) -> Value {
    until(gateway, |fleet| fleet["connected"] == true).await
}

async fn until_lost(gateway: &Gateway) -> Value {
    until(gateway, |fleet| fleet["connected"] == false).await
}

/// Calls are served, and probes say so.
async fn serves(gateway: &Gateway) {
    let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    assert_eq!(gateway.caller().get(&path).await.status, 200);
    assert_eq!(gateway.admin().get("/readyz").await.status, 200);
}

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin().get("/metrics").await.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_connects_as_the_user_of_the_acl_and_says_so() {
    let Some(store) = Store::valkey(&[]) else { return };
    let login = store.let_in().await;
    let select = ["SETUSER", "pigello-gateway", "+select"];
    let () = store.ask(redis::cmd("ACL").arg(&select)).await;
    let keys = format!("address = \"{}\"\ndatabase = 3\n{login}", store.address());
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&fleet(&store, &keys)).start().await;
    let fleet = until_connected(&gateway).await;
    assert_eq!(fleet["store"][0], store.address());
    assert!(fleet["server"].as_str().unwrap().starts_with("valkey 9."), "{fleet}");
    let clients: String = store.ask(redis::cmd("CLIENT").arg("LIST")).await;
    assert!(clients.contains("db=3") && clients.contains("user=pigello-gateway"), "{clients}");
    let metrics = metrics(&gateway).await;
    assert!(metrics.contains("pigello_gateway_fleet_connected 1"), "{metrics}");
    assert!(metrics.contains("pigello_gateway_fleet_connections_total 1"), "{metrics}");
    let page = gateway.admin().get("/").await;
    assert!(String::from_utf8_lossy(&page.body).contains("valkey 9."));
    serves(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_the_next_one_is_read() {
    let Some(store) = Store::valkey(&["--requirepass", PASSWORD]) else { return };
    let file = store.secret("password", "made-up-and-wrong");
    let keys = format!("address = \"{}\"\npassword_file = \"{}\"", store.address(), file.display());
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&fleet(&store, &keys)).start().await;
    let refused = until(&gateway, |fleet| fleet["last_error"].is_string()).await;
    assert_eq!(refused["last_error"], "the store refuses the user name or the password");
    serves(&gateway).await;
    store.secret("password", PASSWORD);
    until_connected(&gateway).await;
    for path in ["/status", "/log", "/", "/metrics"] {
        let body = gateway.admin().get(path).await.body;
        assert!(!String::from_utf8_lossy(&body).contains("made-up-"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_uses_the_configured_authority_and_client_certificate() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (server, client) =
        (authority.issue(dns("localhost"), false), authority.issue(dns("gateway"), false));
    let ca = file("ca.pem", &authority.pem);
    let (chain, key) = (file("server.pem", &server.certificate), file("server.key", &server.key));
    let arguments = ["--tls-cert-file", &chain, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let Some((store, port)) = Store::redis_with_tls(&arguments) else { return };
    let (chain, key) = (file("client.pem", &client.certificate), file("client.key", &client.key));
    let keys = |host: &str, ca: &str, more: &str| {
        fleet(&store, &format!("address = \"{host}:{port}\"\nca_file = \"{ca}\"\n{more}"))
    };
    let own = format!("certificate = \"{chain}\"\nprivate_key = \"{key}\"\n");
    let pigello = pigello().await;

    let gateway = Setup::new(&pigello).with(&keys("localhost", &ca, &own)).start().await;
    let fleet = until_connected(&gateway).await;
    assert!(fleet["server"].as_str().unwrap().starts_with("redis 7."), "{fleet}");

    let other = file("other.pem", &Authority::named("another").pem);
    for (tables, told) in [
        (keys("localhost", &other, &own), "the store's certificate was refused"),
        (keys("127.0.0.1", &ca, &own), "the store's certificate was refused"),
        (keys("localhost", &ca, ""), "the connection to the store broke off"),
    ] {
        let gateway = Setup::new(&pigello).with(&tables).start().await;
        let fleet = until(&gateway, |fleet| fleet["last_error"].is_string()).await;
        assert!(fleet["last_error"].as_str().unwrap().starts_with(told), "{fleet}");
        serves(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_found_when_it_comes_and_after_each_loss() {
    let Some(mut store) = Store::valkey(&[]) else { return };
    store.kill();
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&at(&store)).start().await;
    let fleet = until(&gateway, |fleet| fleet["last_error"].is_string()).await;
    assert!(fleet["last_error"].as_str().unwrap().starts_with("the store cannot be reached"));
    serves(&gateway).await;
    store.start_again();
    until_connected(&gateway).await;
    store.kill();
    let fleet = until_lost(&gateway).await;
    assert_eq!(fleet["last_error"], "the connection to the store broke off");
    assert!(metrics(&gateway).await.contains("pigello_gateway_fleet_connected 0"));
    serves(&gateway).await;
    store.start_again();
    let fleet = until_connected(&gateway).await;
    assert_eq!(fleet["connections"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_is_lost_until_it_goes_on() {
    let Some(store) = Store::valkey(&[]) else { return };
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&at(&store)).start().await;
    until_connected(&gateway).await;
    store.hang();
    let fleet = until_lost(&gateway).await;
    assert_eq!(fleet["last_error"], "the store did not answer within 2s");
    serves(&gateway).await;
    store.go_on();
    until_connected(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_primary_and_to_its_successor() {
    let (first, second) = (free_port(), free_port());
    let port = |port: u16| port.to_string();
    let Some(mut primary) = Store::valkey(&["--port", &port(first)]) else { return };
    let replica = ["--port", &port(second), "--replicaof", &format!("127.0.0.1 {first}")];
    let Some(replica) = Store::valkey(&replica) else { return };
    let Some((_sentinel, sentinel)) = Store::sentinel(first) else { return };
    let away = free_port();
    let keys = fleet(
        &primary,
        &format!(
            "tls = false\nsentinels = [\"127.0.0.1:{away}\", \"127.0.0.1:{sentinel}\"]\nservice = \"pigello\""
        ),
    );
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&keys).start().await;
    until_connected(&gateway).await;
    // A sentinel that knows no replica has nobody to promote.
    let mut replicas = redis::cmd("INFO");
    replicas.arg("replication");
    while !primary.ask::<String>(&replicas).await.contains("state=online") {}
    primary.kill();
    until_lost(&gateway).await;
    serves(&gateway).await;
    until_connected(&gateway).await;
    let role: Vec<redis::Value> = replica.ask(&redis::cmd("ROLE")).await;
    assert_eq!(role[0], redis::Value::BulkString(b"master".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_no_store() {
    let port = free_port().to_string();
    let Some(_primary) = Store::valkey(&["--port", &port]) else { return };
    let replica = ["--replicaof", &format!("127.0.0.1 {port}")];
    let Some(replica) = Store::valkey(&replica) else { return };
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&at(&replica)).start().await;
    let fleet = until(&gateway, |fleet| fleet["last_error"].is_string()).await;
    assert_eq!(fleet["last_error"], "the server is a replica, not the primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_fleet_knows_nothing_of_one() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    assert!(gateway.admin().get("/status").await.json().get("fleet").is_none());
    let metrics = metrics(&gateway).await;
    assert!(!metrics.contains("pigello_gateway_fleet") && !metrics.contains("=\"fleet\""));
    assert!(!gateway.admin().get("/status").await.json().to_string().contains("fleet"));
    let page = gateway.admin().get("/").await;
    assert!(!String::from_utf8_lossy(&page.body).contains("Fleet"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_fleet_needs_a_restart_and_any_other_reload_keeps_the_connection() {
    let Some(store) = Store::valkey(&[]) else { return };
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&at(&store)).start().await;
    until_connected(&gateway).await;
    let refused = gateway.reload(|text| text.replace("\"500ms\"", "\"1s\"")).await.unwrap_err();
    assert!(refused.contains("fleet.store.reconnect"), "{refused}");
    let other = |text: String| text.replace("\"1s\"", "\"500ms\"") + "[retry]\nattempts = 1\n";
    gateway.reload(other).await.unwrap();
    let fleet = until_connected(&gateway).await;
    assert_eq!((&fleet["connections"], &fleet["hearing"]), (&1.into(), &true.into()));
}

/// The settings of a fleet with those of its store.
fn settings(name: &str, store: &str) -> fleet::Settings {
    let store = toml_edit::de::from_str(store).unwrap();
    let (name, key) = (name.to_owned(), fleet::KeySource::default());
    fleet::Settings { name, key, store, role: fleet::Role::Hub, instance: None }
}

/// What a check finds.
async fn look(tables: &str) -> Result<fleet::Findings, fleet::StoreError> {
    fleet::look(&settings("test", tables)).await
}

#[test]
fn manual_example_and_check_name_the_same_rights() {
    let told = fleet::acl(&settings("prod", "address = \"localhost\"")).replace('\'', "");
    assert_eq!(told, acl_of_manual());
    let (_, rights) = told.split_once("-@all ").unwrap();
    let example = include_str!("../../deploy/kubernetes/store/valkey.yaml");
    assert!(example.replace("\\\n#   ", "").contains(rights), "{rights}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_version_rights_policy_and_clock() {
    let Some(store) = Store::valkey(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    let findings = look(&format!("address = \"{}\"", store.address())).await.unwrap();
    assert!(findings.server.is_new_enough() && findings.forbidden.is_empty(), "{findings:?}");
    assert_eq!(findings.policy.as_deref(), Some("allkeys-lru"));
    assert!(findings.ahead.unwrap().abs() <= 1);
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "poor", "on", &format!(">{PASSWORD}"), "-@all", "+hello"]);
    let () = store.ask(&user).await;
    let file = store.secret("password", PASSWORD);
    let keys = format!(
        "address = \"{}\"\nusername = \"poor\"\npassword_file = \"{}\"",
        store.address(),
        file.display()
    );
    let findings = look(&keys).await.unwrap();
    let needed = "SUBSCRIBE XRANGE XREVRANGE XADD PUBLISH EVAL TIME GET MGET SET DEL ZADD ZCARD ZRANGE ZREM \
                  ZREMRANGEBYSCORE HSET HGET HMGET HGETALL HDEL EXPIRE";
    assert_eq!(findings.forbidden.join(" "), needed);
    assert_eq!((findings.policy, findings.ahead), (None, None));
}

#[derive(Parser)]
struct Check {
    #[command(flatten)]
    args: check::Args,
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_tells_what_is_wrong_with_the_store() {
    let Some(mut store) = Store::valkey(&[]) else { return };
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with(&at(&store)).start().await;
    let config = gateway.path("gateway.toml").display().to_string();
    let check = async || {
        let command = ["check", "--online", "--no-call", "--config", &config];
        let command = Check::parse_from(command);
        let told = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            drop(check::run(&command.args, &mut out));
            String::from_utf8(out).unwrap()
        });
        told.await.unwrap()
    };
    let told = check().await;
    for line in ["valkey 9.", "allows what the gateway needs", "keeps the notices"] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert!(told.contains("the fleet's store"), "its clock:\n{told}");
    until_connected(&gateway).await;
    assert_eq!(until_connected(&gateway).await["connections"], 1, "a check disturbs no member");
    store.secret("key", "made-up");
    let told = check().await;
    assert!(
        told.contains("does not hold keys of 32 bytes") && told.contains("openssl rand"),
        "{told}"
    );
    store.secret("key", KEY);
    store.kill();
    let told = check().await;
    assert!(told.contains("the store cannot be reached"), "{told}");
    assert!(told.contains("is `fleet.store.address` right"), "{told}");
}
