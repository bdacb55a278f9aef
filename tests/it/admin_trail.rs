//! What operators do is on the audit trail, and a refresh is no way to wear out a source.

use bytes::Bytes;
use http::{Method, StatusCode};
use pigello_mock::EXAMPLE_SUBTENANT;
use serde_json::Value;

use crate::support::{Caller, OPERATE_TOKEN, Setup, pigello};

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_is_on_the_trail_with_who_and_what() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_tcp_admin().start().await;
    let admin = gateway.admin();
    let by_object = format!("/cache?operation=subtenant.get&pk={EXAMPLE_SUBTENANT}");
    admin.send(Method::DELETE, &by_object, "").await;
    admin.send(Method::DELETE, "/cache?pk=199001012385", "").await;
    for expected in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let refreshed = admin.send(Method::POST, "/credentials/refresh", "").await;
        assert_eq!(refreshed.status, expected);
    }
    let link = admin.send(Method::POST, "/session/link", "").await.json();
    let browser = Caller::tcp(admin.address());
    let entered = browser.get(text(&link["path"])).await;
    let cookie = entered.header("set-cookie").split(';').next().unwrap();
    let page = browser.get_with("/", &[("cookie", cookie)]).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let (_, token) = page.split_once("name=\"token\" value=\"").unwrap();
    for path in ["/page/purge", "/page/verify"] {
        let fields = [
            ("cookie", cookie),
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let body = Bytes::from(format!("token={}&operation=", &token[..64]));
        let done = browser.call(Method::POST, path, &fields, body).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{path}");
    }
    let (stopped, _) = gateway.stop().await;
    let lines = stopped.lines();
    let actions: Vec<_> = lines.iter().filter(|line| line["kind"] == "admin").collect();
    let told: Vec<_> =
        actions.iter().map(|line| (text(&line["action"]), text(&line["result"]))).collect();
    let [version, ..] =
        &*lines.iter().filter_map(|l| l["credentials"].as_str()).collect::<Vec<_>>()
    else {
        panic!("a set is named")
    };
    assert_eq!(*version, "test");
    assert_eq!(
        told.iter().map(|(action, _)| *action).collect::<Vec<_>>(),
        ["purge", "refresh", "page_link", "page", "purge", "verify"]
    );
    assert_eq!(told[0].1, "purged=0");
    assert!(told[1].1.starts_with("unchanged version="), "{told:?}");
    assert_eq!(
        (actions[0]["operation"].as_str(), actions[0]["object_id"].as_str()),
        (Some("subtenant.get"), Some(EXAMPLE_SUBTENANT))
    );
    let by_token = text(&actions[0]["who"]);
    assert!(by_token.starts_with("token=") && by_token.ends_with(" role=operate"), "{by_token}");
    assert_eq!(text(&actions[3]["who"]), format!("session=1 {by_token}"));
    let everything = stopped.trail_text();
    for never in [OPERATE_TOKEN, "199001012385", text(&link["path"]), cookie] {
        assert!(!everything.contains(never), "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_unix_socket_the_kernel_says_who() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    gateway.admin().send(Method::DELETE, "/cache", "").await;
    let (stopped, _) = gateway.stop().await;
    let lines = stopped.lines();
    let action = lines.iter().find(|line| line["kind"] == "admin").unwrap();
    let uid = rustix::process::geteuid().as_raw();
    let who = text(&action["who"]);
    let pid = format!("pid={}", std::process::id());
    assert!(who.starts_with(&format!("uid={uid} gid=")) && who.ends_with(&pid), "{who}");
}
