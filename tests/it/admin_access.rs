//! Who may use what of the admin listener: every route over every way to ask.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bytes::Bytes;
use http::{Method, StatusCode};
use pigello_gateway::{
    admin::{Access, Relay, Role, routes},
    domain::Address,
    error::Chain,
};
use pigello_mock::MockPigello;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Answer, Authority, Caller, Gateway, OPERATE_TOKEN, Pair, READ_TOKEN, Setup, connect_tls, dns,
    pigello,
};

/// The form fields of a browser that shows the page.
const HERE: [(&str, &str); 3] = [
    ("host", "localhost"),
    ("origin", "http://localhost"),
    ("content-type", "application/x-www-form-urlencoded"),
];

/// Uses a route as its rightful user does, but for the proof.
async fn ask(caller: &Caller, method: &Method, path: &str, proof: &[(&str, &str)]) -> Answer {
    let path = path.replace("{label}", "internal");
    let fields =
        if path.starts_with("/page/") && *method == Method::POST { &HERE[..] } else { &[] };
    let body = if fields.is_empty() { Bytes::new() } else { Bytes::from("token=&operation=") };
    caller.call(method.clone(), &path, &[fields, proof].concat(), body).await
}

/// Whether a refusal is of the proof, not of what the handler makes of the request: a form without its
/// token, a link that is none, a set that was read a moment ago.
fn is_turned_away(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    match answer.status {
        StatusCode::UNAUTHORIZED => true,
        // Wrong tokens that are one too many.
        StatusCode::TOO_MANY_REQUESTS => text.contains("wrong tokens"),
        StatusCode::FORBIDDEN => !text.contains("load it again") && !text.contains("the link"),
        _ => false,
    }
}

/// A session's cookie, from a link that this caller makes.
pub(super) async fn session(maker: &Caller, browser: &Caller) -> String {
    let link = maker.call(Method::POST, "/session/link", &[], Bytes::new()).await.json();
    let entered = browser.get(link["path"].as_str().unwrap()).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{entered:?}");
    assert_eq!(entered.header("location"), "/");
    entered.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn assert_rules(who: &str, caller: &Caller, proof: &[(&str, &str)], role: Option<Role>) {
    for (method, path, access) in routes() {
        let answer = ask(caller, &method, path, proof).await;
        let may = match access {
            Access::Health | Access::Open => true,
            Access::Read => role >= Some(Role::Read),
            Access::Operate => role >= Some(Role::Operate),
        };
        // A link that is wrong is paced with the tokens that are.
        let is_link = path == "/session/enter";
        assert_eq!(is_link || !is_turned_away(&answer), may, "{who}: {method} {path}: {answer:?}");
        if answer.status == StatusCode::UNAUTHORIZED {
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{who}: {method} {path}");
        }
        if let (false, Some(Role::Read)) = (may, role) {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{who}: {method} {path}");
        }
    }
}

/// The table: every route, and everybody who may ask.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_open_to_those_who_may_use_it_and_nobody_else() {
    let pigello = pigello().await;
    let unix = Setup::new(&pigello).start().await;
    let tcp = Setup::new(&pigello).with_tcp_admin().start().await;
    let bare = Setup::new(&pigello).with_tcp_admin_without_tokens().start().await;
    let anybody = Caller::tcp(tcp.admin().address());
    let [read, operate] = [READ_TOKEN, OPERATE_TOKEN].map(|token| anybody.bearing(token));
    let (reader, operator) = (session(&read, &anybody).await, session(&operate, &anybody).await);
    let forwarded = ("forwarded", "for=192.0.2.1");
    let of_unix = {
        let link = unix.admin().call(Method::POST, "/session/link", &[], Bytes::new()).await.json();
        let link = link["path"].as_str().unwrap().to_owned();
        let entered = unix.admin().get_with(&link, &[forwarded]).await;
        entered.header("set-cookie").split(';').next().unwrap().to_owned()
    };

    for foreign in [format!("Basic {OPERATE_TOKEN}"), OPERATE_TOKEN.to_owned(), "Bearer".to_owned()]
    {
        let answer = anybody.get_with("/status", &[("authorization", &foreign)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // Two are none.
    let twice = operate.get_with("/status", &[("authorization", "Bearer made-up")]).await;
    assert_eq!(twice.status, StatusCode::UNAUTHORIZED);
    let (reads, operates) = (Some(Role::Read), Some(Role::Operate));
    assert_rules("unix", unix.admin(), &[], operates).await;
    for mark in ["forwarded", "via", "x-forwarded-for", "x-real-ip"] {
        assert_rules("unix, forwarded", unix.admin(), &[(mark, "1.1 proxy")], None).await;
    }
    let cookie = [forwarded, ("cookie", &*of_unix)];
    assert_rules("unix, forwarded, session", unix.admin(), &cookie, operates).await;
    assert_rules("tcp, no token file", bare.admin(), &[], None).await;
    let wrong = ("authorization", "Bearer made-up-and-wrong-token-of-32-ch");
    assert_rules("tcp, no token", &anybody, &[], None).await;
    assert_rules("tcp, read", &read, &[], reads).await;
    assert_rules("tcp, operate", &operate, &[], operates).await;
    assert_rules("tcp, wrong token", &anybody, &[wrong], None).await;
    assert_rules("tcp, session that reads", &anybody, &[("cookie", &reader)], reads).await;
    assert_rules("tcp, session that operates", &anybody, &[("cookie", &operator)], operates).await;
    let cut = &operator[..operator.len() - 1];
    assert_rules("tcp, wrong session", &anybody, &[("cookie", cut)], None).await;
    let told = bare.admin().get("/status").await;
    let told = String::from_utf8_lossy(&told.body).into_owned();
    assert!(told.contains("Unix socket") && told.contains("token_file"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_and_links_are_paced_and_lock_nobody_out() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_tcp_admin().start().await;
    let anybody = Caller::tcp(gateway.admin().address());
    let wrong = anybody.bearing("made-up-and-wrong-token-of-32-ch");
    let mut refused = Vec::new();
    for turn in 0..40 {
        let answer = match turn % 2 {
            0 => wrong.get("/status").await,
            _ => anybody.get("/session/enter?link=made-up").await,
        };
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        refused.push(answer.status);
    }
    assert_eq!(refused[0], StatusCode::UNAUTHORIZED);
    assert_eq!(refused[1], StatusCode::FORBIDDEN);
    let paced = refused.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!(paced >= 20, "{refused:?}");
    assert_eq!(gateway.admin().get("/status").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_tokens_and_ends_what_they_began() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_tcp_admin().start().await;
    let anybody = Caller::tcp(gateway.admin().address());
    let cookie = session(gateway.admin(), &anybody).await;
    let status = async |caller: &Caller, proof: &[(&str, &str)]| {
        caller.get_with("/status", proof).await.status
    };
    assert_eq!(status(&anybody, &[("cookie", &cookie)]).await, StatusCode::OK);
    let other = "made-up-token-that-comes-with-a-reload";
    let file = gateway.path("tokens");
    fs::write(&file, format!("operate {other}\n")).unwrap();
    gateway.reload(|text| text).await.unwrap();
    assert_eq!(status(&anybody.bearing(other), &[]).await, StatusCode::OK);
    assert_eq!(status(gateway.admin(), &[]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&anybody, &[("cookie", &cookie)]).await, StatusCode::UNAUTHORIZED);
    // A file that is no good is refused, and the tokens before it stay.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    gateway.reload(|text| text).await.unwrap_err();
    assert_eq!(status(&anybody.bearing(other), &[]).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unix_socket_is_its_owners_and_a_dead_one_is_replaced() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let path = gateway.path("admin.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    // Dead sockets and a second gateway are the same as for callers: `proxy::server::socket::tests`.
    let group = rustix::process::getegid().as_raw();
    let shared = Setup::new(&pigello).with_socket_group(&group.to_string()).start().await;
    assert_eq!(mode(&shared.path("admin.sock")), 0o660);
}

/// The metrics listener has the routes for probes and scrapers, under any name.
#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_listener_serves_health_and_metrics_alone() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[metrics]\naddress = \"0.0.0.0:0\"\n").start().await;
    let scraper = gateway.metrics();
    for (method, path, access) in routes() {
        let answer = ask(scraper, &method, path, &[("authorization", "Bearer made-up")]).await;
        let expected =
            if access == Access::Health { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(answer.status, expected, "{method} {path}");
    }
    let named = scraper.get_with("/metrics", &[("host", "gateway-0.example:9902")]).await;
    assert_eq!(named.status, StatusCode::OK);
    let local = Setup::new(&pigello).with("[metrics]\naddress = \"127.0.0.1:0\"\n").start().await;
    let foreign = local.metrics().get_with("/metrics", &[("host", "evil.test")]).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
}

/// The same certificates as a listener of callers has, read again in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_listener_can_ask_for_certificates() {
    let pigello = pigello().await;
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| files.path().join(name);
    let pair = authority.issue(dns("localhost"), false);
    fs::write(path("tls.pem"), &pair.certificate).unwrap();
    fs::write(path("tls.key"), &pair.key).unwrap();
    fs::write(path("ca.pem"), &authority.pem).unwrap();
    let text = format!(
        "[metrics]\naddress = \"127.0.0.1:0\"\n[metrics.tls]\ncertificate = {:?}\nprivate_key = {:?}\n\
         client_ca = {:?}\n",
        path("tls.pem"),
        path("tls.key"),
        path("ca.pem")
    );
    let gateway = Setup::new(&pigello).with(&text).start().await;
    let address = gateway.metrics().address();
    let scrape = async |roots: &Authority, pair: Option<&Pair>| {
        let mut stream = connect_tls(address, &roots.pem, pair).await.ok()?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.contains("pigello_gateway_build_info").then_some(())
    };
    let scraper = authority.issue(dns("prometheus"), false);
    let stranger = Authority::new().issue(dns("prometheus"), false);
    assert!(scrape(&authority, Some(&scraper)).await.is_some());
    assert!(scrape(&authority, None).await.is_none());
    assert!(scrape(&authority, Some(&stranger)).await.is_none());

    // A renewed certificate, and another authority of clients.
    let (other, renewed) = (Authority::new(), Authority::new());
    let pair = renewed.issue(dns("localhost"), false);
    fs::write(path("tls.pem"), &pair.certificate).unwrap();
    fs::write(path("tls.key"), &pair.key).unwrap();
    fs::write(path("ca.pem"), &other.pem).unwrap();
    gateway.reread().await.unwrap();
    assert!(scrape(&renewed, Some(&scraper)).await.is_none());
    assert!(scrape(&renewed, Some(&other.issue(dns("prometheus"), false))).await.is_some());

    // Files that cannot be used change nothing, and are named.
    fs::write(path("ca.pem"), "no certificate").unwrap();
    let refused = gateway.reread().await.unwrap_err();
    assert!(Chain(&refused).to_string().contains("metrics listener"), "{refused:?}");
    assert!(scrape(&renewed, Some(&other.issue(dns("prometheus"), false))).await.is_some());
}

/// A relay in front of a gateway's Unix socket, and a caller on its port.
pub(super) async fn relay(gateway: &Gateway) -> (Caller, CancellationToken) {
    let relay = Relay::open(0, Address::Unix(gateway.path("admin.sock"))).unwrap();
    let Address::Tcp(address) = *relay.address() else { panic!("a port") };
    let ending = CancellationToken::new();
    tokio::spawn(relay.serve(ending.clone()));
    (Caller::tcp(address), ending)
}

async fn unix_gateway(pigello: &MockPigello) -> Gateway {
    Setup::new(pigello).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_of_the_page_gives_nobody_the_rights_of_its_user() {
    let pigello = pigello().await;
    let gateway = unix_gateway(&pigello).await;
    let (browser, ending) = relay(&gateway).await;
    assert_rules("relay", &browser, &[], None).await;
    // What somebody says of himself does not help.
    for forged in ["for=unknown", "for=127.0.0.1"] {
        assert_rules("relay, forwarded", &browser, &[("forwarded", forged)], None).await;
    }
    let cookie = session(gateway.admin(), &browser).await;
    assert_rules("relay, session", &browser, &[("cookie", &cookie)], Some(Role::Operate)).await;
    let page = browser.get_with("/", &[("cookie", &cookie)]).await;
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    for headers in [
        [("host", "evil.test"), ("x-nothing", "")],
        [("origin", "https://evil.test"), ("x-nothing", "")],
        [("sec-fetch-site", "cross-site"), ("host", "localhost")],
    ] {
        let answer = browser.get_with("/", &[&headers[..], &[("cookie", &cookie)]].concat()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    let large = Bytes::from(vec![b'a'; 100_000]);
    let large = browser.call(Method::POST, "/page/purge", &[("cookie", &cookie)], large).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    ending.cancel();
}
