//! TLS to the upstream: no request leaves over a connection that is not verified.

use std::sync::Arc;

use http::StatusCode;
use pigello_mock::{Authority, EXAMPLE_SUBTENANT, MockPigello, Options};
use rustls::server::Acceptor;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::LazyConfigAcceptor;

use crate::support::{Setup, pigello};

fn target() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

async fn with_certificate(
    issue: impl FnOnce(&Authority) -> pigello_mock::CertifiedKey,
) -> MockPigello {
    let authority = Arc::new(Authority::new("test").unwrap());
    let certificate = issue(&authority);
    MockPigello::start(Options::new().certificate(authority, certificate)).await.unwrap()
}

/// The gateway answers 502 with that reason, says so on the trail, and the upstream sees nothing.
async fn refused(pigello: &MockPigello, setup: Setup, kind: &str, detail: &str) {
    let gateway = setup.start().await;
    let answer = gateway.caller().get(&target()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.problem(), kind);
    assert_eq!(answer.json()["detail"], detail);
    assert_eq!(pigello.handle().request_count(), 0);
    let records = gateway.into_records().await;
    assert_eq!(records[0]["error"], kind);
    assert_eq!((&records[0]["outcome"], &records[0]["status"]), (&"failed".into(), &502.into()));
}

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused() {
    let pigello =
        with_certificate(|authority| authority.server(&["api.evil.test".to_owned()]).unwrap())
            .await;
    let detail = "the upstream's certificate is for another name";
    refused(&pigello, Setup::new(&pigello), "upstream_certificate", detail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let pigello =
        with_certificate(|authority| authority.expired_server(&NAMES.map(str::to_owned)).unwrap())
            .await;
    let detail = "the upstream's certificate has expired";
    refused(&pigello, Setup::new(&pigello), "upstream_certificate", detail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused() {
    let pigello = pigello().await;
    let other = Authority::new("another").unwrap();
    let setup = Setup::new(&pigello).trusting(other.pem());
    let detail = "the upstream's certificate is from an authority that is not trusted";
    refused(&pigello, setup, "upstream_certificate", detail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_verified_is_the_upstreams_wherever_it_is_dialled() {
    let pigello =
        with_certificate(|authority| authority.server(&["api.pigello.test".to_owned()]).unwrap())
            .await;
    let address = pigello.address();
    let gateway = Setup::new(&pigello)
        .upstream("https://api.pigello.test")
        .profile(&format!("connect_to = \"{address}\"\n"))
        .start()
        .await;
    let headers = [("host", "localhost")];
    let answer = gateway.caller().get_with(&target(), &headers).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let requests = pigello.handle().requests();
    assert_eq!(requests[0].authority.as_deref(), Some("api.pigello.test"));
    assert_eq!(requests[0].sni.as_deref(), Some("api.pigello.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_dot_of_the_upstreams_name_is_no_part_of_its_certificate() {
    let pigello =
        with_certificate(|authority| authority.server(&["api.pigello.test".to_owned()]).unwrap())
            .await;
    let gateway = Setup::new(&pigello)
        .upstream("https://api.pigello.test.")
        .profile(&format!("connect_to = \"{}\"\n", pigello.address()))
        .start()
        .await;
    let answer = gateway.caller().get(&target()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(pigello.handle().requests()[0].sni.as_deref(), Some("api.pigello.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_or_speaks_no_tls_is_told_apart() {
    let pigello = pigello().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = Setup::new(&pigello).upstream(format!("https://localhost:{}", gone.port()));
    refused(
        &pigello,
        setup.profile(&format!("connect_to = \"{gone}\"\n")),
        "upstream_refused",
        "nothing accepts connections at the upstream's address",
    )
    .await;
    let plain = MockPigello::start(Options::new().plain()).await.unwrap();
    let setup = Setup::new(&pigello).upstream(format!("https://{}", plain.address()));
    refused(&plain, setup, "upstream_tls", "the TLS handshake failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_upstream_on_loopback_works_where_it_is_allowed() {
    let plain = MockPigello::start(Options::new().plain()).await.unwrap();
    let gateway = Setup::new(&plain).profile("insecure_http = true\n").start().await;
    assert_eq!(gateway.caller().get(&target()).await.status, StatusCode::OK);
    assert_eq!(plain.handle().request_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_says_which_versions_of_http_are_offered() {
    for (keys, offered) in [
        ("", &["h2", "http/1.1"][..]),
        ("http = \"auto\"\n", &["h2", "http/1.1"]),
        ("http = \"1.1\"\n", &["http/1.1"]),
        ("http = \"2\"\n", &["h2"]),
    ] {
        let authority = Authority::new("test").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let gateway = Setup::before(&origin, Some(authority.pem())).profile(keys).start().await;
        let hello = async {
            let (stream, _) = listener.accept().await.unwrap();
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.unwrap();
            let alpn = hello.client_hello().alpn().unwrap();
            alpn.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let request =
            "GET /accounts/users/customer/tenant/list/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(hello.await, offered, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_from_the_address_of_the_profile() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let setup = Setup::plain(&origin).profile("local_address = \"127.0.0.77\"\n");
    let gateway = setup.start().await;
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request = "GET /accounts/users/customer/tenant/list/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    caller.write_all(request.as_bytes()).await.unwrap();
    let (_stream, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.77");
}
