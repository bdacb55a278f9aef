//! Calls through a forward proxy: it opens a tunnel by name, and TLS goes through it from end to end.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use http::StatusCode;
use pigello_mock::{Authority, MockPigello, Options};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::Setup;

const READ: &str = "/accounts/users/customer/tenant/list/";

/// A proxy that notes the heads of its requests, and leads each tunnel to one server.
struct Proxy {
    address: std::net::SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(server: std::net::SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    noted.lock().unwrap().push(String::from_utf8(head).unwrap());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.contains(" 200 ") {
                        let mut upstream = TcpStream::connect(server).await.unwrap();
                        copy_bidirectional(&mut stream, &mut upstream).await.ok();
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// An upstream whose name this machine cannot resolve (RFC 6761 §6.4).
async fn upstream() -> (MockPigello, Arc<Authority>) {
    let authority = Arc::new(Authority::new("test").unwrap());
    let certificate = authority.server(&["api.invalid"]).unwrap();
    let options = Options::new().certificate(Arc::clone(&authority), certificate);
    (MockPigello::start(options).await.unwrap(), authority)
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_through_a_tunnel_by_name_with_the_credentials_of_a_file() {
    let (pigello, _authority) = upstream().await;
    let proxy = Proxy::start(pigello.address(), OPEN).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy");
    fs::write(&file, "made-up-user:made-up-password\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let keys = format!(
        "proxy = \"http://{}\"\nproxy_credentials = \"{}\"\n",
        proxy.address,
        file.display()
    );
    let setup = Setup::new(&pigello).upstream("https://api.invalid:8443").profile(&keys);
    let gateway = setup.start().await;
    for _ in 0..3 {
        assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    }
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "one tunnel for each connection");
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("connect api.invalid:8443 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: api.invalid:8443\r\n"), "{head}");
    assert!(heads[0].contains("Basic bWFkZS11cC11c2VyOm1hZGUtdXAtcGFzc3dvcmQ="), "{head}");
    assert!(!head.contains("x-pigello"), "the proxy sees nothing of the request");
    assert_eq!(pigello.handle().request_count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named() {
    let (pigello, _authority) = upstream().await;
    for (answer, error, told) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
            "upstream_proxy_refused",
            "credentials",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "upstream_proxy_refused",
            "does not open a tunnel",
        ),
        ("SSH-2.0-x\r\n\r\n", "upstream_unreachable", "through the forward proxy failed"),
    ] {
        let proxy = Proxy::start(pigello.address(), answer).await;
        let keys = format!("proxy = \"http://{}\"\n", proxy.address);
        let setup = Setup::new(&pigello).upstream("https://api.invalid:8443").profile(&keys);
        let gateway = setup.start().await;
        let refused = gateway.caller().get(READ).await;
        assert_eq!(refused.problem(), error, "{answer}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{detail}");
        if error == "upstream_proxy_refused" {
            assert_eq!(proxy.heads().len(), 1, "asked once");
        }
    }
    assert_eq!(pigello.handle().request_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_excluded_is_called_directly() {
    let pigello = crate::support::pigello().await;
    let proxy = Proxy::start(pigello.address(), OPEN).await;
    let keys = format!("proxy = \"http://{}\"\nno_proxy = [\"127.0.0.1\"]\n", proxy.address);
    let gateway = Setup::new(&pigello).profile(&keys).start().await;
    assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    assert!(proxy.heads().is_empty());
}
