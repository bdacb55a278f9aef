//! Notices of changes in Pigello: the event log, webhooks, and what they drop from memory.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use clap::Parser;
use http::{Method, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use pigello_gateway::cli::explain;
use pigello_mock::{
    Activation, EXAMPLE_SUBTENANT, EventLogFaults, LogAnswer, MockPigello, Options,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{Authority, Caller, Gateway, Setup, connect_tls, dns, pigello};

const TOKEN: &str = "made-up-token-that-is-for-everything";
const OTHER: &str = "made-up-token-for-the-profile-test-00";

/// An upstream whose objects have versions, and with an event log.
#[derive(Clone, Default)]
struct Pigello(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    versions: HashMap<String, u64>,
    log: Vec<Value>,
    /// What the log answers, if not its events.
    log_answer: Option<(u16, &'static str)>,
    /// The calls for anything but the log.
    calls: usize,
    log_calls: Vec<String>,
}

impl Pigello {
    async fn start() -> (Self, SocketAddr) {
        let pigello = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(pigello.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (pigello, address)
    }

    /// Changes an object past the gateway.
    fn change(&self, path: &str) {
        *self.0.lock().versions.entry(path.to_owned()).or_default() += 1;
    }

    /// The log says that the object changed.
    fn log(&self, event: Value) {
        self.0.lock().log.push(event);
    }

    fn log_answers(&self, status: u16, body: &'static str) {
        self.0.lock().log_answer = Some((status, body));
    }

    fn calls(&self) -> usize {
        self.0.lock().calls
    }
}

async fn answer(State(pigello): State<Pigello>, request: Request) -> Response {
    let mut world = pigello.0.lock();
    let target = request.uri().to_string();
    if request.uri().path() == "/common/eventlog/list/" {
        assert!(request.headers().contains_key("x-pigello-client-secret"));
        world.log_calls.push(target.clone());
        let (status, body) = if let Some((status, body)) = world.log_answer {
            (status, body.to_owned())
        } else {
            let from = target.split("created_at__gte=").nth(1).unwrap();
            let from = from.split('&').next().unwrap();
            let since: Timestamp = from.parse().unwrap();
            let recent = world.log.iter().filter(|event| {
                event["created_at"].as_str().unwrap().parse::<Timestamp>().unwrap() >= since
            });
            let is_first = target.contains("_page=1&");
            let events: Vec<_> = recent.filter(|_| is_first).cloned().collect();
            (200, Value::from(events).to_string())
        };
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    world.calls += 1;
    let version = world.versions.get(request.uri().path()).copied().unwrap_or_default();
    ([("content-type", "application/json")], format!("{{\"version\":{version}}}")).into_response()
}

fn id(number: u32) -> String {
    format!("6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a{number:04x}")
}

fn tenant(number: u32) -> String {
    format!("/accounts/users/customer/tenant/{}/", id(number))
}

const TENANTS: &str = "/accounts/users/customer/tenant/list/";

fn event(of_type: &str, number: u32) -> Value {
    json!({
        "id": format!("event-{number}-{}", Timestamp::now().as_nanosecond()),
        "content_type": of_type,
        "object_id": id(number),
        "event_identifier": "tenant.instanceupdated",
        "created_at": Timestamp::now().to_string(),
        "event_context": {"first_name": "Canary-Testa"},
    })
}

const RULES: &str = r#"
    [notices]
    event_log = "poll"
    interval = "1s"
    settle = "1s"
    [[cache.rules]]
    operations = ["tenant.get", "tenant.list"]
    ttl = "1ms"
    coherent_ttl = "10m"
    stale_if_error = "0s"
    [[cache.rules]]
    operations = ["subtenant.get"]
    ttl = "10m"
    depends_on = ["accounts.tenant"]
"#;

async fn start(more: &str) -> (Pigello, Gateway) {
    let (pigello, address) = Pigello::start().await;
    let setup = Setup::plain(&format!("http://{address}")).with(more);
    (pigello, setup.start().await)
}

/// The state of the profile's notices, once it is that.
async fn until_log_is(gateway: &Gateway, state: &str) -> Value {
    loop {
        let status = gateway.admin().get("/status").await.json();
        let notices = status["notices"][0].clone();
        if notices["event_log"] == state {
            return notices;
        }
        tokio::task::yield_now().await;
    }
}

/// Reads an object until it has that version, and returns how the cache handled the last read.
async fn until_version(caller: &Caller, path: &str, version: u64) -> String {
    loop {
        let answer = caller.get(path).await;
        if answer.json()["version"] == version {
            return answer.header("cache-status").to_owned();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_keeps_what_is_cached_as_fresh_as_pigello() {
    let (pigello, gateway) = start(RULES).await;
    let caller = gateway.caller();
    until_log_is(&gateway, "complete").await;
    for path in [tenant(1), tenant(2), TENANTS.to_owned()] {
        assert!(caller.get(&path).await.header("cache-status").contains("fwd=miss; stored"));
        // `ttl` is over by now.
        let hit = caller.get(&path).await;
        assert!(hit.header("cache-status").ends_with("detail=coherent"), "{hit:?}");
    }
    let dependent = format!("/accounts/users/customer/subtenant/{}/", id(9));
    caller.get(&dependent).await;
    assert!(caller.get(&dependent).await.header("cache-status").contains("; hit"));

    for path in [tenant(1), TENANTS.to_owned(), dependent.clone()] {
        pigello.change(&path);
    }
    let event = event("accounts.tenant", 1);
    pigello.log(event.clone());
    for path in [tenant(1), TENANTS.to_owned(), dependent] {
        until_version(caller, &path, 1).await;
    }
    let hit = caller.get(&tenant(2)).await;
    assert!(hit.header("cache-status").ends_with("detail=coherent"), "another object: {hit:?}");

    let life = gateway.admin().get(&format!("/cache?path={}", tenant(1))).await.json();
    let (stored, dropped) = (&life["stored"][0], &life["dropped"][0]);
    assert_eq!((&dropped["event"], &dropped["what"]), (&event["id"], &json!("object")));
    assert_eq!(dropped["source"], "event_log");
    let told = explained(&gateway, &tenant(1)).await;
    assert!(told.contains(&format!("by the event {}", event["id"].as_str().unwrap())), "{told}");
    assert!(
        told.contains(&format!("by the call {}", stored["request_id"].as_str().unwrap())),
        "{told}"
    );
    let metrics = gateway.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("notices_coherent{profile=\"test\"} 1"), "{metrics}");

    let (stopped, _) = gateway.stop().await;
    assert!(!stopped.trail_text().contains("Canary"));
    let lines = stopped.lines();
    let line = lines.iter().find(|line| line["kind"] == "notices").unwrap();
    assert_eq!((&line["source"], &line["applied"]), (&json!("event_log"), &json!(1)));
    let read = lines.iter().find(|call| call["request_id"] == dropped["request_id"]).unwrap();
    assert_eq!(
        (&read["cause"], &read["caller"]),
        (&json!("event_log"), &json!("gateway:event-log"))
    );
    assert_eq!(
        (&read["path"], &read["upstream_status"]),
        (&json!("/common/eventlog/list/"), &json!(200))
    );
    assert!(read["credential_version"].is_string());
    assert!(lines.iter().any(|call| call["request_id"] == stored["request_id"]));
}

#[derive(Parser)]
struct Explain {
    #[command(flatten)]
    args: explain::Args,
}

/// What `explain --cache` says of a path.
async fn explained(gateway: &Gateway, path: &str) -> String {
    let socket = format!("unix:{}", gateway.path("admin.sock").display());
    let command = Explain::parse_from(["explain", "--address", &socket, "--cache", path]);
    let told = tokio::task::spawn_blocking(move || {
        let mut out = Vec::new();
        explain::run(&command.args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    });
    told.await.unwrap()
}

/// The first name of the example.
async fn first_name(caller: &Caller) -> String {
    let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    caller.get(&path).await.json()["first_name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_however_the_log_shows_it() {
    let faults = EventLogFaults { seed: 7, ..EventLogFaults::default() };
    let second = Duration::from_secs(1);
    for faults in [
        faults.clone(),
        EventLogFaults { late: 1.0, late_by: second, ..faults.clone() },
        EventLogFaults { double: 1.0, ..faults.clone() },
        EventLogFaults { page_size: Some(2), ..faults.clone() },
        EventLogFaults { tick: second, page_size: Some(3), ..faults.clone() },
        EventLogFaults { answer: LogAnswer::Envelope, ..faults },
    ] {
        let pigello = pigello().await;
        let rule = "[[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"1ms\"\ncoherent_ttl = \"1h\"\n";
        let notices = "[notices]\nevent_log = \"poll\"\ninterval = \"1s\"\nsettle = \"1s\"\n";
        let gateway = Setup::new(&pigello).with(notices).with(rule).start().await;
        let activation = pigello.handle().activations().into_iter().next().unwrap();
        activation.event_log(faults.clone());
        // A copy that is behind answers reads.
        activation.lag(Duration::from_millis(300));
        until_log_is(&gateway, "complete").await;
        first_name(gateway.caller()).await;
        let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
        for turn in 0..7 {
            let body = json!({"first_name": format!("Testa{turn}")});
            let (status, _) = activation.elsewhere(Method::PATCH, &path, &body);
            assert_eq!(status, StatusCode::OK);
        }
        while first_name(gateway.caller()).await != "Testa6" {
            tokio::task::yield_now().await;
        }
        // It is dropped once more, and then it stays.
        while !gateway.caller().get(&path).await.header("cache-status").contains("coherent") {
            tokio::task::yield_now().await;
        }
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_template_have_an_event_log_each() {
    let names = ["customer-acme", "customer-nordic"];
    let activations = names.iter().map(|name| Activation::made_up(*name));
    let pigello = MockPigello::start(Options::new().activations(activations)).await.unwrap();
    let gateway = Setup::new(&pigello)
        .template("customer-*")
        .listener("caller = \"app\"\n")
        .with("[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-*\"]\n")
        .with("[notices]\nevent_log = \"poll\"\ninterval = \"1s\"\nsettle = \"1s\"\n")
        .with("[[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"1ms\"\ncoherent_ttl = \"1h\"\n")
        .start()
        .await;
    let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let read = async |name: &str| {
        gateway.caller().get_with(&path, &[("pigello-gateway-profile", name)]).await
    };
    for name in names {
        let activation = pigello.handle().activation(name).unwrap();
        gateway.put_member(name, &activation.credentials().unwrap());
        while !read(name).await.header("cache-status").contains("coherent") {
            tokio::task::yield_now().await;
        }
    }
    let notices = until_log_is(&gateway, "complete").await;
    assert_eq!((&notices["profile"], &notices["profiles"]), (&json!("customer-*"), &json!(2)));
    let changed = pigello.handle().activation(names[0]).unwrap();
    changed.elsewhere(Method::PATCH, &path, &json!({"first_name": "Testa"}));
    while read(names[0]).await.json()["first_name"] != "Testa" {
        tokio::task::yield_now().await;
    }
    assert_ne!(read(names[1]).await.json()["first_name"], "Testa");
    // The state of each, while `/status` has the worst of both.
    changed.event_log(EventLogFaults { answer: LogAnswer::Forbidden, ..EventLogFaults::default() });
    let notices = until_log_is(&gateway, "stopped").await;
    assert_eq!((&notices["stopped"], &notices["profiles"]), (&json!("forbidden"), &json!(2)));
    let profiles = gateway.admin().get("/profiles").await.json();
    let [stopped, complete] = [0, 1].map(|at| &profiles["profiles"][at]["notices"]);
    assert_eq!(
        (&stopped["event_log"], &stopped["stopped"]),
        (&json!("stopped"), &json!("forbidden"))
    );
    assert!(stopped["complete_since"].is_null() && stopped["lag_ms"].is_u64(), "{stopped}");
    assert_eq!((&complete["event_log"], &complete["stopped"]), (&json!("complete"), &Value::Null));
    assert!(complete["complete_since"].is_string() && complete["lag_ms"].is_null(), "{complete}");
    for (name, told) in
        [(names[0], "cannot be used: Pigello answers 403"), (names[1], "no notice was missed")]
    {
        let page = gateway.admin().get(&format!("/profiles/{name}")).await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains(told), "{page}");
    }
    let records = gateway.into_records().await;
    for name in names {
        let read = |record: &&Value| record["cause"] == "event_log" && record["profile"] == name;
        assert!(records.iter().any(|record| read(&record)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_used_is_an_alarm_and_flushes_nothing() {
    for (status, body, reason) in [
        (403, "{}", "forbidden"),
        (404, "{}", "missing"),
        (200, "<html>", "form"),
        (200, r#"{"results": [{"id": "e"}]}"#, "no_time"),
        (200, r#"[{"id": "e", "created_at": "2020-01-01T00:00:00Z"}]"#, "unordered"),
    ] {
        let (pigello, gateway) = start(&RULES.replace("ttl = \"1ms\"", "ttl = \"10m\"")).await;
        let caller = gateway.caller();
        until_log_is(&gateway, "complete").await;
        caller.get(&tenant(1)).await;
        pigello.log_answers(status, body);
        let notices = until_log_is(&gateway, "stopped").await;
        assert_eq!(notices["stopped"], reason);
        let hit = caller.get(&tenant(1)).await;
        let status = hit.header("cache-status");
        assert!(status.contains("; hit") && !status.contains("coherent"), "{reason}: {status}");
        let metrics = gateway.admin().get("/metrics").await;
        let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
        let metric = format!("notices_feed_stopped{{profile=\"test\",reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&metric), "{metrics}");
        let page = gateway.admin().get("/").await;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        assert!(page.contains("The event log of the profile"), "{page}");
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_is_asked_from_the_same_place_until_it_answers() {
    let (pigello, gateway) = start(RULES).await;
    until_log_is(&gateway, "complete").await;
    gateway.caller().get(&tenant(1)).await;
    pigello.log_answers(500, "");
    until_log_is(&gateway, "incomplete").await;
    pigello.change(&tenant(1));
    pigello.log(event("accounts.tenant", 1));
    pigello.0.lock().log_answer = None;
    until_log_is(&gateway, "complete").await;
    until_version(gateway.caller(), &tenant(1), 1).await;
    let calls = pigello.0.lock().log_calls.clone();
    let is_in_order = |call: &String| call.contains("&_order_by=created_at&_page=");
    assert!(calls.iter().all(is_in_order), "{calls:?}");
}

/// The table of a listener for webhooks, and the folder of its tokens.
fn webhook(tokens: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, format!("{TOKEN}\n{tokens}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let file = file.display();
    let table =
        format!("[notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"{file}\"\n");
    (folder, table)
}

/// A gateway with a listener for webhooks, and the folder of its tokens.
async fn start_with_webhook(more: &str) -> (Pigello, Gateway, tempfile::TempDir) {
    let (folder, webhook) = webhook(&format!("{OTHER} test\n"));
    let webhook = format!(
        "{webhook}{more}\n\
         [[cache.rules]]\noperations = [\"tenant.get\", \"tenant.list\"]\nttl = \"10m\"\n"
    );
    let (pigello, gateway) = start(&webhook).await;
    (pigello, gateway, folder)
}

async fn send(gateway: &Gateway, token: &str, body: impl Into<Bytes>) -> StatusCode {
    gateway.webhooks().send(Method::POST, &format!("/hooks/{token}"), body).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_drops_what_it_is_about_before_it_is_answered() {
    let (pigello, gateway, _folder) = start_with_webhook("").await;
    let caller = gateway.caller();
    for token in [TOKEN, OTHER] {
        for path in [tenant(1), tenant(2), TENANTS.to_owned()] {
            caller.get(&path).await;
            assert!(caller.get(&path).await.header("cache-status").contains("; hit"), "{path}");
            pigello.change(&path);
        }
        let body = json!([event("accounts.tenant", 1)]).to_string();
        assert_eq!(send(&gateway, token, body).await, StatusCode::NO_CONTENT);
        for path in [tenant(1), TENANTS.to_owned()] {
            assert!(caller.get(&path).await.header("cache-status").contains("fwd=miss"), "{path}");
        }
        assert!(caller.get(&tenant(2)).await.header("cache-status").contains("; hit"));
    }
    let of_type = json!([{"content_type": "accounts.tenant"}]).to_string();
    assert_eq!(send(&gateway, TOKEN, of_type).await, StatusCode::NO_CONTENT);
    assert!(caller.get(&tenant(2)).await.header("cache-status").contains("fwd=miss"));
    assert_eq!(send(&gateway, TOKEN, "[{}]").await, StatusCode::NO_CONTENT);
    assert!(caller.get(&tenant(2)).await.header("cache-status").contains("fwd=miss"));
    assert_eq!(send(&gateway, TOKEN, "[{}]").await, StatusCode::NO_CONTENT);
    let hit = caller.get(&tenant(2)).await;
    assert!(hit.header("cache-status").contains("; hit"), "everything, once a minute: {hit:?}");
    let (stopped, _) = gateway.stop().await;
    assert!(!stopped.trail_text().contains("Canary"));
    assert!(!stopped.trail_text().contains("made-up-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_for_all_drops_an_object_of_each_member() {
    let names = ["customer-acme", "customer-nordic"];
    let activations = names.iter().map(|name| Activation::made_up(*name));
    let pigello = MockPigello::start(Options::new().activations(activations)).await.unwrap();
    let (_folder, webhook) = webhook("");
    let gateway = Setup::new(&pigello)
        .template("customer-*")
        .listener("caller = \"app\"\n")
        .with("[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-*\"]\n")
        .with(&webhook)
        .with("[[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"1h\"\n")
        .start()
        .await;
    let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let read = async |name: &str| {
        let profile = [("pigello-gateway-profile", name)];
        gateway.caller().get_with(&path, &profile).await.header("cache-status").contains("; hit")
    };
    for name in names {
        let activation = pigello.handle().activation(name).unwrap();
        gateway.put_member(name, &activation.credentials().unwrap());
        assert!(!read(name).await && read(name).await);
    }
    while gateway.admin().get("/status").await.json()["notices"][0]["profiles"] != 2 {
        tokio::task::yield_now().await;
    }
    let changed = json!([{"content_type": "accounts.subtenant", "object_id": EXAMPLE_SUBTENANT}]);
    assert_eq!(send(&gateway, TOKEN, changed.to_string()).await, StatusCode::NO_CONTENT);
    for name in names {
        assert!(!read(name).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_token_gets_nothing_and_what_cannot_be_read_is_counted() {
    let (_, gateway, folder) = start_with_webhook("").await;
    let webhooks = gateway.webhooks();
    for path in ["/", "/hooks/", "/hooks", "/metrics", "/status", &tenant(1)] {
        assert_eq!(webhooks.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for token in ["", "x", &TOKEN[1..], &TOKEN.to_uppercase(), &format!("{TOKEN}/"), "%6dade"] {
        assert_eq!(send(&gateway, token, "[]").await, StatusCode::NOT_FOUND, "{token}");
    }
    let get = webhooks.get(&format!("/hooks/{TOKEN}")).await;
    assert_eq!((get.status, get.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    let bodies: [(Vec<u8>, &str); 5] = [
        (b"nothing".to_vec(), "form"),
        (vec![0xff; 100], "form"),
        ("[".repeat(1000).into_bytes(), "too_deep"),
        (format!("[{}]", vec!["{}"; 10_001].join(",")).into_bytes(), "too_many"),
        (vec![b' '; 1024 * 1024 + 1], "too_large"),
    ];
    for (body, _) in &bodies {
        assert_eq!(send(&gateway, TOKEN, body.clone()).await, StatusCode::NO_CONTENT);
    }
    let metrics = gateway.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for (_, reason) in &bodies {
        let count = bodies.iter().filter(|(_, other)| other == reason).count();
        let metric = format!("notices_unreadable_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&metric), "{metrics}");
    }
    assert!(metrics.contains("notices_refused_total{reason=\"token\"} 12"), "{metrics}");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_replaced_while_the_gateway_runs() {
    let (_, gateway, folder) = start_with_webhook("").await;
    let renewed = "made-up-token-that-is-the-next-of-all";
    let file = folder.path().join("tokens");
    // One that cannot be used changes nothing.
    fs::write(&file, "short\n").unwrap();
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NO_CONTENT);
    fs::write(&file, format!("{TOKEN}\n{renewed}\n")).unwrap();
    while send(&gateway, renewed, "[]").await != StatusCode::NO_CONTENT {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NO_CONTENT, "both at once");
    assert_eq!(send(&gateway, OTHER, "[]").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_may_be_a_secret_that_kubernetes_mounts() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // As the kubelet writes a version, and swaps it in.
    let write = |version: &str, tokens: &str| {
        let path = folder.path().join(version);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("tokens"), tokens).unwrap();
        mode(&path.join("tokens"), 0o440);
        mode(&path, 0o2755);
        symlink(version, folder.path().join("..data_tmp")).unwrap();
        fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    mode(folder.path(), 0o3777);
    write("..2026_03_01", TOKEN);
    let file = folder.path().join("tokens");
    symlink("..data/tokens", &file).unwrap();
    let webhook = format!(
        "[notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"{}\"\n",
        file.display()
    );
    let (_, gateway) = start(&webhook).await;
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NO_CONTENT);
    assert_eq!(send(&gateway, OTHER, "[]").await, StatusCode::NOT_FOUND);
    write("..2026_03_02", OTHER);
    while send(&gateway, OTHER, "[]").await != StatusCode::NO_CONTENT {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_networks_and_too_many_webhooks_are_refused() {
    let (_, gateway, _folder) = start_with_webhook("allow_from = [\"192.0.2.0/24\"]").await;
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NOT_FOUND);
    let (_, gateway, _folder) =
        start_with_webhook("allow_from = [\"127.0.0.0/8\"]\nrate = 1").await;
    assert_eq!(send(&gateway, TOKEN, "[]").await, StatusCode::NO_CONTENT);
    let over = gateway.webhooks().send(Method::POST, &format!("/hooks/{TOKEN}"), "[]").await;
    assert_eq!((over.status, over.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_webhooks_makes_no_more_calls_than_callers_make() {
    let (pigello, gateway, _folder) = start_with_webhook("rate = 1000000").await;
    let (caller, webhooks) = (gateway.caller().clone(), gateway.webhooks().clone());
    let flood = tokio::spawn(async move {
        let all: Vec<_> = (0..500).map(|number| event("accounts.tenant", number)).collect();
        let bodies = [Value::from(all).to_string(), "[{}]".to_owned(), "rubbish".to_owned()];
        for turn in 0..200 {
            let body = bodies[turn % bodies.len()].clone();
            let answer = webhooks.send(Method::POST, &format!("/hooks/{TOKEN}"), body).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
    });
    let mut reads = 0;
    while !flood.is_finished() {
        assert_eq!(caller.get(&tenant(reads % 5)).await.status, StatusCode::OK);
        reads += 1;
    }
    flood.await.unwrap();
    assert!(pigello.calls() <= reads as usize, "{} calls for {reads} reads", pigello.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_over_tls() {
    let authority = Authority::new();
    let pair = authority.issue(dns("localhost"), false);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let webhook = format!(
        "[notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"{}\"\ncertificate = \"{}\"\nprivate_key = \
         \"{}\"\n",
        file("tokens", TOKEN).display(),
        file("chain.pem", &pair.certificate).display(),
        file("key.pem", &pair.key).display(),
    );
    let (_, gateway) = start(&webhook).await;
    let address = gateway.webhooks().address();
    let mut stream = connect_tls(address, &authority.pem, None).await.unwrap();
    let request = format!(
        "POST /hooks/{TOKEN} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_goes_on_with_the_log_where_it_was_and_can_end_it() {
    let (pigello, gateway) = start(RULES).await;
    let caller = gateway.caller();
    until_log_is(&gateway, "complete").await;
    caller.get(&tenant(1)).await;
    gateway
        .reload(|text| text.replace("[policy]", "[policy]\n") + "\n[retry]\nattempts = 1\n")
        .await
        .unwrap();
    until_log_is(&gateway, "complete").await;
    let hit = caller.get(&tenant(1)).await;
    assert!(hit.header("cache-status").ends_with("detail=coherent"), "{hit:?}");
    gateway
        .reload(|text| text.replace("event_log = \"poll\"", "event_log = \"off\""))
        .await
        .unwrap();
    until_log_is(&gateway, "off").await;
    let calls = pigello.0.lock().log_calls.len();
    let later = caller.get(&tenant(1)).await;
    assert!(!later.header("cache-status").contains("coherent"), "{later:?}");
    assert!(pigello.0.lock().log_calls.len() <= calls + 1, "nobody reads it any more");
}
