//! The page for people: what it says, what it never says, who may press its button. How it looks is in
//! [`browser`](super::browser).

use std::{
    fs,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use pigello_gateway::error::Kind;
use pigello_mock::{EXAMPLE_SUBTENANT, Fault, MADE_UP_VALUES, MockPigello};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Setup, pigello};

const CALLERS: &str = r#"
[[callers]]
name = "billing"
allow = ["subtenant.get", "subtenant.list"]
[[callers]]
name = "reports"
allow = ["*.list"]
"#;

pub(super) fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

pub(super) async fn gateway(pigello: &MockPigello) -> Gateway {
    Setup::new(pigello)
        .listener("caller = \"billing\"\n")
        .with(CALLERS)
        .with_tcp_admin()
        .start()
        .await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// The page, once the trail's thread has seen so many calls.
pub(super) async fn page_after(gateway: &Gateway, calls: u64) -> String {
    let seen = async {
        let period = pigello_gateway::telemetry::Period::Hour;
        while gateway.activity().summary(period, SystemTime::now()).total.calls() < calls {
            tokio::task::yield_now().await;
        }
        gateway.admin().get("/").await
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), seen).await.expect("calls are seen");
    assert_eq!(answer.status, StatusCode::OK);
    text(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_who_called_what_and_why_calls_were_refused() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    let caller = gateway.caller();
    for _ in 0..3 {
        let target = format!("{}?ssn=199001012385", subtenant());
        assert_eq!(caller.get(&target).await.status, StatusCode::OK);
    }
    caller.send(Method::PATCH, &subtenant(), "{}").await;
    caller.send(Method::PUT, &subtenant(), "{}").await;
    caller.get("/people/199001012385/").await;
    let page = page_after(&gateway, 6).await;

    for told in [
        "Serving calls",
        "<th scope=\"row\">billing</th>",
        "<th scope=\"row\">subtenant.get</th>",
        // The reason, and the rule behind it.
        "The caller may not use this operation",
        "<code>subtenant.list</code>; <code>subtenant.update</code> is not among them",
        "this path takes <code>GET</code> (<code>subtenant.get</code>)",
        "no operation has this path",
        "/people/{…}/",
        "pigello-gateway explain --listener main --caller billing PATCH \
         /accounts/users/customer/subtenant/00000000-0000-0000-0000-000000000000/",
        "href=\"/errors/operation_not_allowed\"",
    ] {
        assert!(page.contains(told), "{told} in\n{page}");
    }
    for (name, value) in MADE_UP_VALUES {
        assert!(!name.is_secret() || !page.contains(value), "{name:?}");
    }
    for personal in ["199001012385", EXAMPLE_SUBTENANT] {
        assert!(!page.contains(personal), "{personal} in\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_loads_nothing_and_nothing_frames_it() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    for path in ["/", "/?over=day", "/access", "/errors", "/errors/internal", "/errors/no-such"] {
        let answer = gateway.admin().get(path).await;
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let page = text(&answer);
        // Attributes that a policy without `unsafe-inline` would not run, and references elsewhere.
        for never in [" style=\"", " onclick", " src=", "@import", "url("] {
            assert!(!page.contains(never), "{never} in {path}");
        }
    }
    assert_eq!(gateway.admin().get("/?over=week").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(gateway.admin().get("/errors/no-such").await.status, StatusCode::NOT_FOUND);
}

/// Who may do what, of the configuration in force: also after a reload.
#[tokio::test(flavor = "multi_thread")]
async fn it_tells_who_may_do_what() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    let page = text(&gateway.admin().get("/access").await);
    for told in [
        "<th scope=\"col\">billing</th><th scope=\"col\">reports</th>",
        "<th scope=\"row\">subtenant</th><td>get, list</td><td>list</td>",
        "<th scope=\"row\">tenant</th><td class=\"quiet\">–</td><td>list</td>",
        "<strong>subtenant.list</strong>",
        "<div>billing, reports</div>",
        "GET /accounts/users/customer/subtenant/list/",
    ] {
        assert!(page.contains(told), "{told} in\n{page}");
    }
    let json = gateway.admin().get("/access.json").await.json();
    let entry = |json: &Value, name: &str| {
        let operations = json["operations"].as_array().unwrap().iter();
        operations.clone().find(|entry| entry["name"] == name).unwrap().clone()
    };
    assert_eq!(json["operations"].as_array().unwrap().len(), 63);
    assert_eq!(entry(&json, "subtenant.list")["callers"], json!(["billing", "reports"]));
    assert_eq!((&json["mode"], &json["unidentified"]), (&json!("enforce"), &json!("deny")));

    let reloaded = gateway.reload(|text| text.replace("\"*.list\"", "\"tenant.*\"")).await;
    reloaded.unwrap();
    let json = gateway.admin().get("/access.json").await.json();
    assert_eq!(entry(&json, "subtenant.list")["callers"], json!(["billing"]));
    let page = text(&gateway.admin().get("/access").await);
    assert!(page.contains("<td><strong>all</strong></td>"), "{page}");
}

/// What the page's forms bring back.
async fn token(gateway: &Gateway) -> String {
    let page = text(&gateway.admin().get("/").await);
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
    rest[..64].to_owned()
}

/// Presses the button of the form that leads there.
async fn press(gateway: &Gateway, path: &str, token: &str, fields: &[(&str, &str)]) -> Answer {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let fields = [&[form], fields].concat();
    let body = Bytes::from(format!("token={token}&operation="));
    gateway.admin().call(Method::POST, path, &fields, body).await
}

/// As a browser sends it that shows the page.
const HERE: [(&str, &str); 2] = [("host", "localhost"), ("origin", "http://localhost")];

#[tokio::test(flavor = "multi_thread")]
async fn its_button_works_from_the_page_alone() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    gateway.caller().get(&subtenant()).await;
    let stored = async |gateway: &Gateway| {
        gateway.admin().get("/status").await.json()["cache"]["responses"].as_u64().unwrap()
    };
    assert_eq!(stored(&gateway).await, 1);
    let token = token(&gateway).await;
    for (token, fields) in [
        (&*token, &[][..]),
        (&token, &[("origin", "http://evil.test")]),
        (&token, &[("origin", "null")]),
        (&token, &[("host", "evil.test"), ("origin", "http://evil.test")]),
        (&token, &[HERE[0], HERE[1], ("sec-fetch-site", "cross-site")]),
        ("", &HERE),
        (&token.replace(|_| true, "0"), &HERE),
    ] {
        let answer = press(&gateway, "/page/purge", token, fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{fields:?}");
    }
    assert_eq!(stored(&gateway).await, 1);
    let answer = press(&gateway, "/page/purge", &token, &HERE).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/?purged=1#cache");
    assert_eq!(stored(&gateway).await, 0);
    let page = text(&gateway.admin().get("/?purged=1").await);
    assert!(page.contains("1 answer dropped from memory."), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_checked_when_someone_asks_for_it_on_the_page() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    let token = token(&gateway).await;
    for (token, fields) in [(&*token, &[][..]), ("", &HERE), (&token.replace(|_| true, "0"), &HERE)]
    {
        let answer = press(&gateway, "/page/verify", token, fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{fields:?}");
    }
    assert!(text(&gateway.admin().get("/").await).contains("not since the start"));
    let answer = press(&gateway, "/page/verify", &token, &HERE).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/#trail");
    let checked = async {
        while !text(&gateway.admin().get("/").await)
            .contains("are as they were written, signed by checkpoint")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), checked).await.expect("it is checked");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_its_page() {
    let pigello = pigello().await;
    let gateway = gateway(&pigello).await;
    let index = text(&gateway.admin().get("/errors").await);
    for kind in Kind::ALL {
        let path = format!("/errors/{}", kind.label());
        assert!(index.contains(&format!("href=\"{path}\"")), "{path}");
        let page = text(&gateway.admin().get(&path).await);
        assert!(page.contains("<h2>What to do</h2>"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problems_type_leads_to_its_page_where_the_configuration_says_so() {
    let pigello = pigello().await;
    let named = gateway(&pigello).await.caller().get("/nowhere/").await.json();
    assert_eq!(named["type"], "urn:pigello-gateway:problem:operation_unknown");
    let base = "[problems]\nbase = \"http://127.0.0.1:9901/errors/\"\n";
    let linking = Setup::new(&pigello).with(base).start().await;
    let linked = linking.caller().get("/nowhere/").await.json();
    assert_eq!(linked["type"], "http://127.0.0.1:9901/errors/operation_unknown");
    let path = linked["type"].as_str().unwrap().strip_prefix("http://127.0.0.1:9901").unwrap();
    assert!(text(&linking.admin().get(path).await).contains("What to do"));
}

/// A gateway for which everything goes wrong.
pub(super) async fn failing(pigello: &MockPigello) -> Gateway {
    let gateway = Setup::new(pigello)
        .with_tcp_admin()
        .with("[retry]\nattempts = 1\n[breaker]\nfailures = 3\npause = \"60s\"\n")
        .with(CALLERS)
        .start()
        .await;
    let caller = gateway.caller();
    // Nobody in particular may do anything: with callers named, this is refused.
    caller.get(&subtenant()).await;
    gateway
        .reload(|text| {
            let policy = "[policy]\nunidentified = \"allow\"\n[[callers]]";
            text.replacen("[[callers]]", policy, 1)
        })
        .await
        .unwrap();
    pigello.handle().fault(Fault::new().status(StatusCode::SERVICE_UNAVAILABLE).times(3));
    let tenants = "/accounts/users/customer/tenant/list/?_page=1&_page_size=10";
    for _ in 0..5 {
        caller.get(tenants).await;
    }
    fs::remove_file(gateway.path("credentials/client_secret")).unwrap();
    gateway.reread().await.unwrap();
    caller.get("/nowhere/").await;
    // A file stands where the trail's folder was.
    fs::rename(gateway.path("audit"), gateway.path("taken")).unwrap();
    fs::write(gateway.path("audit"), "in the way").unwrap();
    let becomes = async {
        while gateway.admin().get("/readyz").await.status == StatusCode::OK {
            caller.get(tenants).await;
        }
        caller.get(tenants).await;
    };
    tokio::time::timeout(Duration::from_secs(20), becomes).await.expect("the trail fails");
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong_when_everything_is() {
    let pigello = pigello().await;
    let gateway = failing(&pigello).await;
    let told = [
        "Calls are refused",
        "The audit trail cannot be written",
        "these operations are left alone after failures",
        "Check the disk of <code>audit.directory</code>",
        "in use, though the last read failed",
        "Calls to Pigello are suspended after failures",
        "Pigello answered 503",
        // Refused while the trail takes no lines, and on the page all the same.
        "/errors/audit_unavailable",
        "/errors/caller_unidentified",
    ];
    let all = async {
        loop {
            let page = text(&gateway.admin().get("/").await);
            if told.iter().all(|told| page.contains(told)) {
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), all).await.is_err() {
        let page = text(&gateway.admin().get("/").await);
        let missing: Vec<_> = told.iter().filter(|told| !page.contains(**told)).collect();
        panic!("{missing:?} not in\n{page}");
    }
}
