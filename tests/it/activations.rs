//! Many activations behind one listener: each call is sent with the seven values of its profile, and what befalls
//! one profile is no other's trouble.

use std::{fs, time::Duration};

use http::{Method, StatusCode};
use pigello_mock::{Activation, EXAMPLE_SUBTENANT, MockPigello, OldSecret, Options, RateLimit};

use crate::support::{self, Answer, Authority, Gateway, Setup, TlsServer, dns, vault_answer};

const PROFILE: &str = "pigello-gateway-profile";

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

/// A mock with these activations and no other.
async fn mock(names: &[&str]) -> MockPigello {
    let activations = names.iter().map(|name| Activation::made_up(*name));
    MockPigello::start(Options::new().activations(activations)).await.unwrap()
}

/// A template for customers, whose application may use them all.
fn customers(pigello: &MockPigello) -> Setup {
    Setup::new(pigello)
        .template("customer-*")
        .listener("caller = \"app\"\nallowed_hosts = [\"{profile}.pigello.internal\"]\n")
        .with("[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-*\"]\n")
}

fn put(gateway: &Gateway, pigello: &MockPigello, name: &str) {
    let activation = pigello.handle().activation(name).unwrap();
    gateway.put_member(name, &activation.credentials().unwrap());
}

async fn get(gateway: &Gateway, profile: &str) -> Answer {
    gateway.caller().get_with(&subtenant(), &[(PROFILE, profile)]).await
}

/// Asks until it is so.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    let asked = async { while !is_so().await {} };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it becomes so");
}

fn accepted(pigello: &MockPigello, name: &str) -> u64 {
    pigello.handle().activation(name).unwrap().counts().accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_the_values_of_the_profile_that_it_names() {
    let names = ["customer-acme", "customer-nordic", "customer-0"];
    let pigello = mock(&names).await;
    let gateway = customers(&pigello).start().await;
    for name in names {
        put(&gateway, &pigello, name);
    }
    for _ in 0..2 {
        for name in names {
            assert_eq!(get(&gateway, name).await.status, StatusCode::OK, "{name}");
        }
    }
    // By the host, in any case, and it counts before the field.
    for (host, name) in [
        ("customer-acme.pigello.internal", "customer-acme"),
        ("CUSTOMER-ACME.pigello.internal.", "customer-acme"),
    ] {
        let before = accepted(&pigello, name);
        let fields = [("host", host), (PROFILE, "customer-0"), ("cache-control", "no-cache")];
        let answer = gateway.caller().get_with(&subtenant(), &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(accepted(&pigello, name), before + 1, "{host}");
    }
    assert_eq!(pigello.handle().mixed(), 0);
    // The second call of each was answered from the cache, each from its own.
    assert_eq!(accepted(&pigello, "customer-nordic"), 1);
    for request in pigello.handle().requests() {
        assert!(request.values(PROFILE).is_empty(), "it never goes up");
    }
    let records = gateway.into_records().await;
    let of = |name: &str| records.iter().filter(|record| record["profile"] == name).count();
    assert_eq!((of("customer-acme"), of("customer-nordic"), of("customer-0")), (4, 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_profile_or_not_with_a_name_is_refused() {
    let pigello = mock(&["customer-acme"]).await;
    let gateway = customers(&pigello).start().await;
    put(&gateway, &pigello, "customer-acme");
    let answer = gateway.caller().get(&subtenant()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.problem(), "profile_not_named");
    assert!(answer.json()["detail"].as_str().unwrap().contains("Pigello-Gateway-Profile"));
    let long = "a".repeat(64);
    for name in [
        "",
        "Customer-acme",
        "customer-acme/../x",
        "..",
        "customer_acme",
        "-a",
        "a b",
        "%61",
        &long,
    ] {
        let answer = get(&gateway, name).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(answer.problem(), "profile_not_named", "{name}");
    }
    let twice = [(PROFILE, "customer-acme"), (PROFILE, "customer-acme")];
    let answer = gateway.caller().get_with(&subtenant(), &twice).await;
    assert_eq!(answer.problem(), "profile_not_named");
    assert_eq!(pigello.handle().request_count(), 0);
    let records = gateway.into_records().await;
    assert!(records.iter().all(|record| record["outcome"] == "refused"), "{records:?}");
    assert!(records[0]["profile"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_reaches_only_the_profiles_that_it_lists() {
    let pigello = mock(&["customer-acme", "customer-nordic"]).await;
    let gateway = Setup::new(&pigello)
        .template("customer-*")
        .listener("caller = \"app\"\n")
        .with("[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-acme\"]\n")
        .start()
        .await;
    put(&gateway, &pigello, "customer-acme");
    put(&gateway, &pigello, "customer-nordic");
    assert_eq!(get(&gateway, "customer-acme").await.status, StatusCode::OK);
    let answer = get(&gateway, "customer-nordic").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.problem(), "profile_not_allowed");
    // Nobody learns whether there is such a profile.
    let answer = get(&gateway, "customer-nobody").await;
    assert_eq!(answer.problem(), "profile_not_allowed");
    assert_eq!(pigello.handle().request_count(), 1);
    let records = gateway.into_records().await;
    assert_eq!(records[1]["profile"], "customer-nordic");
    assert_eq!(records[1]["outcome"], "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_comes_first_then_the_caller_then_the_request() {
    let pigello = mock(&["customer-acme", "customer-nordic", "customer-0"]).await;
    let gateway = Setup::new(&pigello)
        .template("customer-*")
        .listener("caller = \"app\"\n")
        .with(concat!(
            "[[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofile = \"customer-nordic\"\n",
            "[[callers]]\nname = \"free\"\nallow = [\"*\"]\nprofiles = [\"*\"]\n",
        ))
        .start()
        .await;
    for name in ["customer-acme", "customer-nordic", "customer-0"] {
        put(&gateway, &pigello, name);
    }
    assert_eq!(gateway.caller().get(&subtenant()).await.status, StatusCode::OK);
    assert_eq!(get(&gateway, "customer-0").await.status, StatusCode::OK);
    assert_eq!(accepted(&pigello, "customer-0"), 0);
    let fixed = |text: String| {
        text.replace("caller = \"app\"", "caller = \"app\"\nprofile = \"customer-acme\"")
    };
    gateway.reload(fixed).await.unwrap();
    assert_eq!(get(&gateway, "customer-0").await.status, StatusCode::OK);
    assert_eq!(accepted(&pigello, "customer-acme"), 1, "the listener's");
    let free = |text: String| {
        text.replace("caller = \"app\"\nprofile = \"customer-acme\"", "caller = \"free\"")
    };
    gateway.reload(free).await.unwrap();
    assert_eq!(get(&gateway, "customer-0").await.status, StatusCode::OK);
    assert_eq!(accepted(&pigello, "customer-0"), 1, "the request's");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_profiles_trouble_is_no_others() {
    let names = ["customer-revoked", "customer-limited", "customer-missing", "customer-well"];
    let pigello = mock(&names).await;
    let gateway = customers(&pigello).with("[cache]\nenabled = false\n").start().await;
    for name in ["customer-revoked", "customer-limited", "customer-well"] {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    pigello.handle().activation("customer-revoked").unwrap().revoke();
    let limit = RateLimit { calls_per_second: 0, retry_after: 60 };
    pigello.handle().activation("customer-limited").unwrap().limit(Some(limit));
    for _ in 0..20 {
        assert_eq!(get(&gateway, "customer-revoked").await.status, StatusCode::UNAUTHORIZED);
        let limited = get(&gateway, "customer-limited").await.status;
        assert!(
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&limited),
            "{limited}"
        );
        let missing = get(&gateway, "customer-missing").await;
        assert_eq!(missing.problem(), "profile_unknown");
        assert_eq!(get(&gateway, "customer-well").await.status, StatusCode::OK);
    }
    // Paused by its own 429 alone.
    assert!(pigello.handle().activation("customer-limited").unwrap().counts().limited < 5);
    assert_eq!(accepted(&pigello, "customer-well"), 21);
    assert_eq!(pigello.handle().mixed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_one_profile_is_found_like_that_of_any() {
    let pigello = mock(&["customer-acme", "customer-well"]).await;
    let gateway = customers(&pigello).with("[cache]\nenabled = false\n").start().await;
    put(&gateway, &pigello, "customer-acme");
    put(&gateway, &pigello, "customer-well");
    assert_eq!(get(&gateway, "customer-acme").await.status, StatusCode::OK);
    let acme = pigello.handle().activation("customer-acme").unwrap();
    acme.rotate(OldSecret::Refused);
    put(&gateway, &pigello, "customer-acme");
    // The 401 has the new version read, and the call is repeated with it.
    eventually(async || get(&gateway, "customer-acme").await.status == StatusCode::OK).await;
    assert_eq!(get(&gateway, "customer-well").await.status, StatusCode::OK);
    assert_eq!(pigello.handle().mixed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_new_in_the_source_is_found_after_negative_ttl() {
    let pigello = mock(&["customer-acme", "customer-late"]).await;
    let gateway = customers(&pigello).profile("negative_ttl = \"1s\"\n").start().await;
    put(&gateway, &pigello, "customer-acme");
    let answer = get(&gateway, "customer-late").await;
    assert_eq!((answer.status, &*answer.problem()), (StatusCode::FORBIDDEN, "profile_unknown"));
    put(&gateway, &pigello, "customer-late");
    eventually(async || get(&gateway, "customer-late").await.status == StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_called_is_unloaded() {
    let pigello = mock(&["customer-acme", "customer-b", "customer-c"]).await;
    let gateway =
        customers(&pigello).profile("unload_after = \"1s\"\nmax_members = 2\n").start().await;
    for name in ["customer-acme", "customer-b", "customer-c"] {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    let loaded = async || {
        let profiles = gateway.admin().get("/profiles").await.json();
        let members = profiles["profiles"].as_array().unwrap().iter();
        members.map(|member| member["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(loaded().await, ["customer-b", "customer-c"], "the least lately used one is gone");
    eventually(async || loaded().await.is_empty()).await;
    assert_eq!(get(&gateway, "customer-acme").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_one_member_leaves_the_responses_of_the_others() {
    let pigello = mock(&["customer-acme", "customer-nordic"]).await;
    let gateway = customers(&pigello).start().await;
    for name in ["customer-acme", "customer-nordic"] {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    let fields = [(PROFILE, "customer-acme"), ("content-type", "application/json")];
    let written = gateway.caller().call(Method::PATCH, &subtenant(), &fields, "{}".into()).await;
    assert_eq!(written.status, StatusCode::OK, "{written:?}");
    for name in ["customer-acme", "customer-nordic"] {
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    assert_eq!(accepted(&pigello, "customer-acme"), 3, "its own response is outdated");
    assert_eq!(accepted(&pigello, "customer-nordic"), 1, "the other customer's is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_members_that_it_does_not_concern() {
    let pigello = mock(&["customer-acme", "customer-nordic"]).await;
    let gateway = customers(&pigello).start().await;
    for name in ["customer-acme", "customer-nordic"] {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    // Another table, another memory of the cache, and a member that gets a table of its own.
    let more = format!(
        "\n[profiles.customer-acme]\nupstream = \"{}\"\nca_file = \"{}\"\ncredentials = \"acme\"\n\
         [credentials.acme]\nsource = \"directory\"\npath = \"{}\"\n[cache]\nmax_bytes = \"1MiB\"\n",
        pigello.origin(),
        gateway.path("ca.pem").display(),
        gateway.path("members/customer-acme").display(),
    );
    gateway.reload(|text| text + &more).await.unwrap();
    let profiles = gateway.admin().get("/profiles").await.json();
    let loaded: Vec<_> = profiles["profiles"].as_array().unwrap().iter().collect();
    let names: Vec<_> = loaded.iter().map(|profile| profile["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["customer-acme", "customer-nordic"], "{profiles}");
    for name in ["customer-acme", "customer-nordic"] {
        for _ in 0..2 {
            assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
        }
        assert_eq!(accepted(&pigello, name), 2, "{name}: the cache is new, and is used");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_the_sets_of_members_read_as_well() {
    let authority = Authority::new();
    let vault = TlsServer::start(&authority.issue(dns("localhost"), false), |path| {
        vault_answer(&path.replace("/customer-acme", ""))
    })
    .await;
    let pigello = support::pigello().await;
    let gateway = customers(&pigello).start().await;
    fs::write(gateway.path("vault.pem"), &authority.pem).unwrap();
    fs::write(gateway.path("token"), "hvs.made-up").unwrap();
    let folder = gateway.path("members/{profile}");
    let of_vault = |text: String| {
        let folder = format!("source = \"directory\"\n            path = \"{}\"", folder.display());
        assert!(text.contains(&folder));
        text.replace(&folder, "source = \"vault\"\npath = \"pigello/{profile}\"")
            + &format!(
                "\n[vault]\naddress = \"https://localhost:{}\"\nca_file = \"{}\"\n[vault.auth]\nmethod = \"token\"\ntoken_file = \"{}\"\n",
                vault.address().port(),
                gateway.path("vault.pem").display(),
                gateway.path("token").display(),
            )
    };
    gateway.reload(of_vault).await.unwrap();
    assert_eq!(get(&gateway, "customer-acme").await.status, StatusCode::OK);
    let reads = || vault.requests().iter().filter(|line| line.contains("customer-acme")).count();
    let before = reads();
    gateway.reread().await.unwrap();
    assert_eq!(reads(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_the_refusal_that_the_caller_would_get() {
    let pigello = mock(&["customer-acme"]).await;
    let gateway = Setup::new(&pigello)
        .template("customer-*")
        .listener("caller = \"app\"\n")
        .with("[policy]\nmode = \"report\"\n[[callers]]\nname = \"app\"\nallow = []\n")
        .start()
        .await;
    put(&gateway, &pigello, "customer-acme");
    assert_eq!(get(&gateway, "customer-acme").await.status, StatusCode::OK);
    gateway.reload(|text| text.replace("mode = \"report\"", "mode = \"enforce\"")).await.unwrap();
    assert_eq!(get(&gateway, "customer-acme").await.problem(), "profile_not_allowed");
    let records = gateway.into_records().await;
    assert_eq!(records[0]["would_refuse"], "profile_not_allowed");
    assert_eq!(records[1]["error"], "profile_not_allowed");
}

/// The metrics that begin like this, each with its value.
async fn metrics(gateway: &Gateway, begin: &str) -> Vec<String> {
    let answer = gateway.admin().get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let begin = format!("pigello_gateway_{begin}");
    text.lines().filter(|line| line.starts_with(&begin)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_as_many_names_of_members_as_are_allowed_and_count_every_call() {
    let names = ["customer-a", "customer-b", "customer-c"];
    let pigello = mock(&names).await;
    let gateway = customers(&pigello).with("[telemetry]\ntop_profiles = 1\n").start().await;
    for name in names {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    assert_eq!(get(&gateway, "customer-nobody").await.problem(), "profile_unknown");
    let mut calls = metrics(&gateway, "profile_calls_total{").await;
    calls.sort();
    assert_eq!(
        calls,
        [
            "pigello_gateway_profile_calls_total{profile=\"customer-a\"} 2",
            "pigello_gateway_profile_calls_total{profile=\"other\"} 4",
        ]
    );
    for (begin, lines) in [
        ("credentials_state{set=\"customer-a\"", 6),
        ("credentials_state{", 6),
        ("upstream_breaker_state{", 3),
        ("profiles_loaded{table=\"customer-*\"} 3", 1),
        ("profiles_absent{table=\"customer-*\"} 1", 1),
        ("profile_trouble{", 0),
    ] {
        let told = metrics(&gateway, begin).await;
        assert_eq!(told.len(), lines, "{begin}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_in_trouble_is_named_and_the_gateway_stays_ready() {
    let names = ["customer-revoked", "customer-well"];
    let pigello = mock(&names).await;
    let gateway = customers(&pigello).with("[cache]\nenabled = false\n").start().await;
    for name in names {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    // Not whole: its source answers, so this is the member's trouble alone.
    let broken = gateway.path("members").join("customer-broken");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("customer_id"), "made-up").unwrap();
    assert_eq!(get(&gateway, "customer-broken").await.status, StatusCode::SERVICE_UNAVAILABLE);
    pigello.handle().activation("customer-revoked").unwrap().revoke();
    let refused = "profile_trouble{profile=\"customer-revoked\",reason=\"refused\"} 1";
    eventually(async || {
        get(&gateway, "customer-revoked").await;
        metrics(&gateway, refused).await.len() == 1
    })
    .await;
    for line in [
        "profile_trouble{profile=\"customer-broken\",reason=\"no_credentials\"} 1",
        "profiles_in_trouble{table=\"customer-*\",reason=\"refused\"} 1",
        "profiles_in_trouble{table=\"customer-*\",reason=\"no_credentials\"} 1",
    ] {
        assert_eq!(metrics(&gateway, line).await.len(), 1, "{line}");
    }
    assert!(metrics(&gateway, "profile_trouble{profile=\"customer-well\"").await.is_empty());
    let admin = gateway.admin();
    assert_eq!(admin.get("/readyz").await.status, StatusCode::OK);
    let status = admin.get("/status").await.json();
    let template = &status["templates"][0];
    assert_eq!(template["table"], "customer-*");
    assert_eq!((&template["loaded"], &template["in_trouble"]), (&3.into(), &2.into()));
    let page = |answer: Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let whole = page(admin.get("/").await);
    assert!(whole.contains("The profile <code>customer-revoked</code> is refused by Pigello."));
    let found = page(admin.get("/?q=REVOKED").await);
    assert!(found.contains("href=\"/profiles/customer-revoked\""), "{found}");
    assert!(!found.contains("href=\"/profiles/customer-well\""), "{found}");
    let hostile = page(admin.get("/?q=%3Cscript%3Ealert(1)%3C/script%3E").await);
    assert!(hostile.contains("No loaded profile has such a name."));
    assert!(!hostile.contains("<script>alert"), "{hostile}");
    let one = page(admin.get("/profiles/customer-revoked").await);
    for told in ["is refused by Pigello", "<code>customer-*</code>", "By their entry", "app"] {
        assert!(one.contains(told), "{told} in\n{one}");
    }
    for name in ["customer-nobody", "nordic-1", "%3Cscript%3E"] {
        let answer = admin.get(&format!("/profiles/{name}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
        assert!(!page(answer).contains("<script>e"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_members_in_trouble_the_page_names_a_few() {
    let pigello = mock(&["customer-well"]).await;
    let gateway = customers(&pigello).with("[telemetry]\ntop_profiles = 3\n").start().await;
    for number in 0..120 {
        let folder = gateway.path("members").join(format!("customer-{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("customer_id"), "made-up").unwrap();
        let answer = get(&gateway, &format!("customer-{number}")).await;
        assert_eq!(answer.problem(), "credentials_unavailable");
    }
    let answer = gateway.admin().get("/").await;
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(page.matches("<strong>The profile ").count(), 5);
    assert!(page.contains("And 115 more profiles are in trouble."), "{page}");
    assert_eq!(page.matches("href=\"/profiles/customer-").count(), 100);
    assert!(page.contains("20 more"), "{page}");
    assert_eq!(metrics(&gateway, "profile_trouble{").await.len(), 3);
    let all = "profiles_in_trouble{table=\"customer-*\",reason=\"no_credentials\"} 120";
    assert_eq!(metrics(&gateway, all).await.len(), 1);
    assert_eq!(gateway.admin().get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_purges_and_refreshes_one_profile() {
    let names = ["customer-acme", "customer-b"];
    let pigello = mock(&names).await;
    let gateway = customers(&pigello).start().await;
    for name in names {
        put(&gateway, &pigello, name);
        assert_eq!(get(&gateway, name).await.status, StatusCode::OK);
    }
    let admin = gateway.admin();
    let purge =
        async |query: &str| admin.send(Method::DELETE, &format!("/cache?{query}"), "").await;
    assert_eq!(purge("profile=customer-acme").await.json()["purged"], 1);
    assert_eq!(purge("profile=customer-acme").await.json()["purged"], 0);
    assert_eq!(purge("profile=customer-b&operation=tenant.list").await.json()["purged"], 0);
    for unknown in ["nordic-1", "customer-%3Cb%3E", "customer-*", ""] {
        let answer = purge(&format!("profile={unknown}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{unknown}");
    }
    for query in ["profile=customer-acme", "set=customer-b"] {
        let path = format!("/credentials/refresh?{query}");
        let answer = admin.send(Method::POST, &path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}");
        assert_eq!(answer.json().as_array().unwrap().len(), 1);
        assert_eq!(answer.json()[0]["refreshed"], true);
    }
    let answer = admin.send(Method::POST, "/credentials/refresh?profile=customer-0", "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let (stopped, _) = gateway.stop().await;
    let lines = stopped.trail_text();
    assert!(lines.contains("purged=1 profile=customer-acme"), "{lines}");
}
