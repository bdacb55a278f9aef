//! The keys of a fleet while its gateways run: what is told of one that cannot be read, the rotation of the shared cache's
//! key by the command line, in a real vault and in files, and the keys of a template's members.

use std::fs;

use clap::Parser;
use http::Method;
use pigello_gateway::cli::admin;
use pigello_mock::MADE_UP_VALUES;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    bao::Bao,
    fleet_bus::{KEY, OTHER_KEY, command},
    fleet_shared::{Fleet, SHARED, fresh, read, until_sharing},
    support::{Gateway, Setup, trail_lines},
};

/// A part of `/status`, once it is so.
async fn until(gateway: &Gateway, part: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = gateway.admin().get("/status").await.json();
        if let Some(found) = status.pointer(part).filter(|it| is_so(it)) {
            return found.clone();
        }
        tokio::task::yield_now().await;
    }
}

const CACHE_KEY: &str = "/cache_keys/0";

/// Waits until a gateway has these versions of its profile's key.
async fn until_versions(gateway: &Gateway, versions: &[u64]) {
    until(gateway, CACHE_KEY, |key| key["versions"] == json!(versions)).await;
}

async fn text(gateway: &Gateway, path: &str) -> String {
    String::from_utf8(gateway.admin().get(path).await.body.to_vec()).unwrap()
}

async fn has_metric(gateway: &Gateway, line: &str) -> bool {
    text(gateway, "/metrics").await.contains(&format!("pigello_gateway_{line}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_key_that_cannot_be_read_is_shown_with_its_reason_and_its_age() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let gateway = fleet.member().await;
    let known = until(&gateway, CACHE_KEY, |key| key["age_seconds"].is_u64()).await;
    assert_eq!((&known["profile"], known.get("last_error")), (&json!("test"), None), "{known}");
    assert!(has_metric(&gateway, "cache_keys_unread{profile=\"test\"} 0").await);
    fleet.store.secret("cache-key", "made-up");
    let unread = until(&gateway, CACHE_KEY, |key| key["last_error"].is_string()).await;
    assert!(unread["last_error"].as_str().unwrap().contains("keys of 32 bytes"), "{unread}");
    for used_on in ["versions", "seals", "loaded_at"] {
        assert_eq!(unread[used_on], known[used_on], "{used_on}");
    }
    assert!(has_metric(&gateway, "cache_keys_unread{profile=\"test\"} 1").await);
    let profiles = gateway.admin().get("/profiles").await.json();
    assert_eq!(profiles["profiles"][0]["cache_key"]["last_error"], unread["last_error"]);
    for page in ["/", "/profiles/test"] {
        assert!(text(&gateway, page).await.contains("cannot be read again"), "{page}");
    }
    assert!(text(&gateway, "/").await.contains("A key of the shared cache"));
    let (told, _) = command(&gateway, &["status"]).await;
    assert!(told.contains("key          of test: version "), "{told}");
    assert!(told.contains(" s; last read failed: "), "{told}");
    // Its record tells the others.
    let of_record = async || {
        let fleet = gateway.admin().get("/fleet").await.json();
        fleet["members"][0]["credentials"][0]["cache_key_unread"] == true
    };
    while !of_record().await {
        tokio::task::yield_now().await;
    }

    fs::remove_file(fleet.secret("cache-key")).unwrap();
    let gone = until(&gateway, CACHE_KEY, |key| key["versions"] == json!([])).await;
    assert!(gone["last_error"].is_string() && gone["unconfirmed_seconds"].is_u64(), "{gone}");
    assert!(gone.get("seals").is_none() && gone.get("age_seconds").is_none(), "{gone}");
    fleet.store.secret("cache-key", OTHER_KEY);
    until(&gateway, CACHE_KEY, |key| key.get("last_error").is_none()).await;
    assert!(has_metric(&gateway, "cache_keys_unread{profile=\"test\"} 0").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_fleet_that_cannot_be_read_is_shown_with_its_reason() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let often = |tables: String| tables.replacen("/key\" }", "/key\", refresh = \"500ms\" }", 1);
    let tables = often(fleet.tables(&fleet.store.address(), ""));
    let cache_key = fleet.secret("cache-key");
    let cache_key = format!("cache_key = {{ source = \"file\", path = \"{cache_key}\" }}\n");
    let gateway = Setup::plain(&fleet.origin).profile(&cache_key).with(&tables).start().await;
    let known = until(&gateway, "/fleet/key", |key| key["seals"].is_u64()).await;
    assert!(has_metric(&gateway, "fleet_key_unread 0").await);
    fleet.store.secret("key", "made-up");
    let key = until(&gateway, "/fleet/key", |key| key["last_error"].is_string()).await;
    assert!(key["last_error"].as_str().unwrap().contains("keys of 32 bytes"), "{key}");
    assert_eq!((&key["seals"], &key["loaded_at"]), (&known["seals"], &known["loaded_at"]));
    assert!(has_metric(&gateway, "fleet_key_unread 1").await);
    assert!(text(&gateway, "/").await.contains("The key of the fleet"));
    fs::remove_file(fleet.secret("key")).unwrap();
    let key = until(&gateway, "/fleet/key", |key| key.get("seals").is_none()).await;
    assert_eq!((&key["versions"], key["last_error"].is_string()), (&json!([]), true), "{key}");
    let (told, _) = command(&gateway, &["status"]).await;
    assert!(told.contains("key          of the fleet: none; last read failed: "), "{told}");
    fleet.store.secret("key", KEY);
    let key = until(&gateway, "/fleet/key", |key| key["seals"].is_u64()).await;
    assert_eq!((key.get("last_error"), key["age_seconds"].is_u64()), (None, true), "{key}");
    assert!(has_metric(&gateway, "fleet_key_unread 0").await);
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: admin::FleetArgs,
}

/// Runs `fleet rotate-cache-key` with the configuration of a gateway: what it prints, or its error and hint.
async fn rotate(gateway: &Gateway, arguments: &[&str]) -> Result<String, String> {
    let config = gateway.path("gateway.toml").display().to_string();
    let command = ["fleet", "rotate-cache-key", "--config", &config].into_iter();
    let command = Command::parse_from(command.chain(arguments.iter().copied()));
    let mut out = Vec::new();
    let rotated = admin::fleet(&command.args, &mut out).await;
    rotated.map(|()| String::from_utf8(out).unwrap()).map_err(|failure| {
        let (text, hint) = failure.text();
        format!("{text}\n{}", hint.unwrap_or_default())
    })
}

/// Something that one gateway has fetched, and the other had from it.
async fn share(from: &Gateway, to: &Gateway) -> String {
    loop {
        let path = fresh();
        read(from, &path).await;
        if is_shared(to, &path).await {
            return path;
        }
    }
}

async fn is_shared(gateway: &Gateway, path: &str) -> bool {
    read(gateway, path).await.1.starts_with(SHARED)
}

/// Calls through these, one after the other, all of which are served, until something else is over.
async fn meanwhile(gateways: [&Gateway; 2], other: impl Future<Output = ()>) {
    let over = CancellationToken::new();
    let calls = async {
        while !over.is_cancelled() {
            for gateway in gateways {
                read(gateway, &fresh()).await;
            }
        }
    };
    tokio::join!(calls, async {
        other.await;
        over.cancel();
    });
}

const IN_VAULT: &str = "pigello/test-cache";

/// Puts a key into the vault.
fn put(bao: &Bao, path: &str, key: &str) {
    bao.run(&["kv", "put", "-mount=secret", path, &format!("key={key}")]);
}

/// A gateway whose key is in the vault.
async fn with_vault(fleet: &Fleet, bao: &Bao, refresh: &str) -> Gateway {
    let key = format!(
        "cache_key = {{ source = \"vault\", path = \"{IN_VAULT}\", refresh = \"{refresh}\" }}\n"
    );
    let setup = Setup::plain(&fleet.origin).profile(&key);
    let setup = setup.with(&fleet.tables(&fleet.store.address(), "")).with(&bao.tables());
    let gateway = setup.start().await;
    until_sharing(&gateway).await;
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_vault_is_rotated_while_all_goes_on() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let Some(bao) = Bao::start() else { return };
    put(&bao, IN_VAULT, OTHER_KEY);
    // Nobody would read the key again in time by itself.
    let start = async || with_vault(&fleet, &bao, "10m").await;
    let (one, two) = (start().await, start().await);
    let before = share(&one, &two).await;
    let rotation = async {
        let of_two = format!("unix:{}", two.path("admin.sock").display());
        let told = rotate(&one, &["--address", &of_two]).await.unwrap();
        assert_eq!(
            told,
            "the cache key of test has version 2\nthe fleet is told, and reads it within seconds\n"
        );
        for gateway in [&one, &two] {
            until_versions(gateway, &[2, 1]).await;
        }
        let is_told = |line: &Value| line["action"] == "cache_key";
        while !trail_lines(&two.path("audit")).iter().any(is_told) {
            tokio::task::yield_now().await;
        }
        // What was there before is used, also by who comes now, and there is more of it.
        let late = start().await;
        assert!(is_shared(&late, &before).await);
        share(&two, &late).await;
        // For who reads the key twice a second, the time of the version before is soon over.
        let quick = with_vault(&fleet, &bao, "500ms").await;
        until(&quick, CACHE_KEY, |key| key["seals"] == 2).await;
        share(&quick, &one).await;
        while is_shared(&quick, &share(&one, &two).await).await {}

        let told = rotate(&one, &["--now"]).await.unwrap();
        assert!(told.contains("version 3\nolder versions are destroyed"), "{told}");
        for gateway in [&one, &two, &late] {
            until_versions(gateway, &[3]).await;
        }
        share(&one, &two).await;
        let last = start().await;
        assert!(!is_shared(&last, &before).await, "it is noise");
        share(&two, &last).await;
    };
    meanwhile([&one, &two], Box::pin(rotation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_file_is_rotated_as_the_command_says() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let (one, two) = (fleet.member().await, fleet.member().await);
    let before = share(&one, &two).await;
    let rotation = async {
        let refused = rotate(&one, &[]).await.unwrap_err();
        let hint = "on its first line, and the one before on the second: `openssl rand -base64 32`";
        assert!(refused.contains("the key is in a file"), "{refused}");
        assert!(
            refused.contains(&fleet.secret("cache-key")) && refused.contains(hint),
            "{refused}"
        );
        fleet.store.secret("cache-key", &format!("{KEY}\n{OTHER_KEY}\n"));
        let are = |versions: usize| {
            move |key: &Value| key["versions"].as_array().unwrap().len() == versions
        };
        for gateway in [&one, &two] {
            until(gateway, CACHE_KEY, are(2)).await;
        }
        let late = fleet.member().await;
        assert!(is_shared(&late, &before).await);
        share(&one, &late).await;

        let refused = rotate(&one, &["--now"]).await.unwrap_err();
        assert!(refused.contains("alone in it"), "{refused}");
        fleet.store.secret("cache-key", KEY);
        for gateway in [&one, &two] {
            until(gateway, CACHE_KEY, are(1)).await;
        }
        share(&one, &two).await;
        let last = fleet.member().await;
        assert!(!is_shared(&last, &before).await);
        share(&two, &last).await;
    };
    meanwhile([&one, &two], Box::pin(rotation)).await;
}

/// The members of a template, in each gateway of it.
const MEMBERS: [&str; 4] = ["customer-a", "customer-b", "customer-c", "customer-d"];

/// A gateway whose profiles are the members of a template, each with a key of its own in the vault. All members have the
/// same seven values.
async fn with_template(fleet: &Fleet, bao: &Bao) -> Gateway {
    let key = "cache_key = { source = \"vault\", path = \"pigello/{profile}-cache\" }\n";
    let caller = "[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-*\"]\n";
    let setup = Setup::plain(&fleet.origin).template("customer-*").profile(key);
    let setup = setup.listener("caller = \"app\"\n").with(caller);
    let setup = setup.with(&fleet.tables(&fleet.store.address(), "")).with(&bao.tables());
    let gateway = setup.start().await;
    for member in MEMBERS {
        let folder = gateway.path("members").join(member);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in MADE_UP_VALUES {
            fs::write(folder.join(name.key()), value).unwrap();
        }
    }
    until(&gateway, "/fleet/hearing", |hearing| *hearing == true).await;
    gateway
}

/// Whether a member has a response of another gateway.
async fn is_shared_as(member: &str, gateway: &Gateway, path: &str) -> bool {
    let fields = [("pigello-gateway-profile", member)];
    let answer = gateway.caller().get_with(path, &fields).await;
    assert_eq!(answer.status, 200, "{member}");
    answer.header("cache-status").starts_with(SHARED)
}

/// As [`share`], as a member of the template.
async fn share_as(member: &str, from: &Gateway, to: &Gateway) -> String {
    loop {
        let path = fresh();
        is_shared_as(member, from, &path).await;
        if is_shared_as(member, to, &path).await {
            return path;
        }
    }
}

/// What `/profiles` has of the key of a member.
async fn key_of(member: &str, gateway: &Gateway) -> Value {
    let profiles = gateway.admin().get("/profiles").await.json();
    let mut profiles = profiles["profiles"].as_array().unwrap().iter();
    profiles.find(|profile| profile["name"] == member).unwrap()["cache_key"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_of_a_template_shares_with_itself_alone() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let Some(bao) = Bao::start() else { return };
    for (member, key) in [("customer-a", KEY), ("customer-b", OTHER_KEY)] {
        put(&bao, &format!("pigello/{member}-cache"), key);
    }
    let (one, two) = (with_template(&fleet, &bao).await, with_template(&fleet, &bao).await);
    for (member, other) in [("customer-a", "customer-b"), ("customer-b", "customer-a")] {
        let path = share_as(member, &one, &two).await;
        // The other member has the same values of credentials, and has not asked.
        share_as(other, &one, &two).await;
        let before = fleet.pigello.reads(&path);
        assert!(!is_shared_as(other, &two, &path).await, "{other}");
        assert_eq!(fleet.pigello.reads(&path), before + 1);
    }

    // A member without a key shares nothing, and says why.
    for _ in 0..5 {
        let path = fresh();
        for gateway in [&one, &two] {
            assert!(!is_shared_as("customer-c", gateway, &path).await);
        }
    }
    let unread = until(&two, "/templates/0", |it| it["cache_keys_unread"] == 1).await;
    assert_eq!(unread["loaded"], 3);
    assert!(has_metric(&two, "cache_keys_unread{profile=\"customer-*\"} 1").await);
    let key = key_of("customer-c", &two).await;
    let why = "the vault holds nothing at secret/pigello/customer-c-cache";
    assert_eq!((&key["last_error"], &key["versions"]), (&json!(why), &json!([])));
    assert_eq!(key_of("customer-a", &two).await["versions"], json!([1]));
    // Its record is written again when it says something else.
    while !command(&one, &["status"]).await.0.contains("cache key unread") {
        tokio::task::yield_now().await;
    }
    put(&bao, "pigello/customer-c-cache", KEY);
    let path = "/fleet/cache-key?profile=customer-c";
    assert!(one.admin().send(Method::POST, path, "").await.status.is_success());
    share_as("customer-c", &one, &two).await;
    until(&two, "/templates/0", |it| it["cache_keys_unread"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_loaded_later_trusts_nothing_from_before() {
    let Some(fleet) = Fleet::new(&[]).await else { return };
    let Some(bao) = Bao::start() else { return };
    put(&bao, "pigello/customer-d-cache", KEY);
    let one = with_template(&fleet, &bao).await;
    let (two, late) = (with_template(&fleet, &bao).await, with_template(&fleet, &bao).await);
    let before = share_as("customer-d", &one, &two).await;
    // Loaded by its first call, and it shares what comes from then on.
    share_as("customer-d", &one, &late).await;
    let reads = fleet.pigello.reads(&before);
    assert!(!is_shared_as("customer-d", &late, &before).await);
    assert_eq!(fleet.pigello.reads(&before), reads + 1);
}
