//! Calls through a forward proxy: it opens a tunnel by name, and TLS goes through it from end to end.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use pigello_mock::{Authority, MockPigello, Options};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use tokio_rustls::TlsAcceptor;

use crate::support::{
    self, Caller, Pair, Process, Setup, TlsServer, dns, server_config, vault_answer,
};

const READ: &str = "/accounts/users/customer/tenant/list/";

/// A proxy that notes the heads of its requests, and leads tunnels to servers of this machine.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that gives each tunnel this answer, and leads all to one server.
    async fn start(server: SocketAddr, answer: &'static str) -> Self {
        Self::leading(move |_| server, answer, None).await
    }

    /// One that leads a tunnel to the server that its request line is for, and is called with TLS if it has a
    /// certificate.
    async fn leading(
        route: impl Fn(&str) -> SocketAddr + Clone + Send + Sync + 'static,
        answer: &'static str,
        certificate: Option<&Pair>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = certificate.map(|pair| TlsAcceptor::from(Arc::new(server_config(pair))));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, route, acceptor) =
                    (Arc::clone(&noted), route.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => Self::tunnel(stream, &noted, route, answer).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            Self::tunnel(stream, &noted, route, answer).await;
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }

    async fn tunnel(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        noted: &Mutex<Vec<String>>,
        route: impl Fn(&str) -> SocketAddr,
        answer: &str,
    ) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let server = route(head.lines().next().unwrap());
        noted.lock().unwrap().push(head);
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if answer.contains(" 200 ") {
            let mut upstream = TcpStream::connect(server).await.unwrap();
            copy_bidirectional(&mut stream, &mut upstream).await.ok();
        }
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
    let basic = "Basic bWFkZS11cC11c2VyOm1hZGUtdXAtcGFzc3dvcmQ=";
    through_a_tunnel("made-up-user:made-up-password\n", basic).await;
    through_a_tunnel("Bearer made-up-token\n", "Bearer made-up-token").await;
}

async fn through_a_tunnel(credentials: &str, sent: &str) {
    let (pigello, _authority) = upstream().await;
    let proxy = Proxy::start(pigello.address(), OPEN).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy");
    fs::write(&file, credentials).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let keys = format!(
        "proxy = \"http://{}\"\nproxy_authorization_file = \"{}\"\n",
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
    assert!(heads[0].contains(sent), "{head}");
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
    let pigello = support::pigello().await;
    let proxy = Proxy::start(pigello.address(), OPEN).await;
    let keys = format!("proxy = \"http://{}\"\nno_proxy = [\"127.0.0.1\"]\n", proxy.address);
    let gateway = Setup::new(&pigello).profile(&keys).start().await;
    assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
    assert!(proxy.heads().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_over_tls_that_nobody_vouches_for_or_that_is_silent_is_told_apart() {
    let (pigello, _authority) = upstream().await;
    let server = pigello.address();
    // This machine does not trust its authority.
    let pair = support::Authority::new().issue_with(dns("localhost"), |_| {});
    let untrusted = Proxy::leading(move |_| server, OPEN, Some(&pair)).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (address, error, told) in [
        (
            format!("https://localhost:{}", untrusted.address.port()),
            "upstream_unreachable",
            "the forward proxy's certificate is not valid",
        ),
        (
            format!("http://{}", silent.local_addr().unwrap()),
            "upstream_connect_timeout",
            "timeouts.connect",
        ),
    ] {
        let setup = Setup::new(&pigello)
            .upstream("https://api.invalid:8443")
            .profile(&format!("proxy = \"{address}\"\n"))
            .with("[timeouts]\nconnect = \"300ms\"\n");
        let gateway = setup.start().await;
        let refused = gateway.caller().get(READ).await;
        assert_eq!(refused.problem(), error, "{address}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{detail}");
    }
    assert!(untrusted.heads().is_empty(), "nothing is said to a proxy that proves nothing");
    assert_eq!(pigello.handle().request_count(), 0);
}

/// Pigello, a vault and a collector whose names only a proxy can resolve, and the folder of a gateway that
/// trusts their authority as its machine does.
struct Office {
    authority: support::Authority,
    pigello: MockPigello,
    vault: TlsServer,
    collector: TlsServer,
    folder: tempfile::TempDir,
}

impl Office {
    async fn open() -> Self {
        let authority = support::Authority::new();
        let issue = |name: &str| authority.issue_with(dns(name), |_| {});
        let mock = Arc::new(Authority::new("mock").unwrap());
        let certificate = mock.server(&["api.invalid"]).unwrap();
        let options = Options::new().certificate(Arc::clone(&mock), certificate);
        let pigello = MockPigello::start(options).await.unwrap();
        let vault = TlsServer::start(&issue("vault.invalid"), vault_answer).await;
        let collector = TlsServer::start(&issue("collector.invalid"), |_| "{}".to_owned()).await;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("roots.pem"), format!("{}{}", authority.pem, mock.pem())).unwrap();
        fs::write(path("token"), "made-up-token").unwrap();
        fs::write(path("password"), "made-up-user:made-up-password\n").unwrap();
        fs::set_permissions(path("password"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { authority, pigello, vault, collector, folder }
    }

    /// A proxy that knows the three names.
    async fn proxy(&self, answer: &'static str, certificate: Option<&Pair>) -> Proxy {
        let (pigello, vault) = (self.pigello.address(), self.vault.address());
        let collector = self.collector.address();
        let route = move |line: &str| match line {
            "CONNECT api.invalid:443 HTTP/1.1" => pigello,
            "CONNECT vault.invalid:8200 HTTP/1.1" => vault,
            "CONNECT collector.invalid:4318 HTTP/1.1" => collector,
            line => panic!("{line}"),
        };
        Proxy::leading(route, answer, certificate).await
    }

    /// The configuration, with these keys in the three tables.
    fn configure(&self, profile: &str, vault: &str, telemetry: &str) -> std::path::PathBuf {
        let config = self.folder.path().join("gateway.toml");
        let admin = self.folder.path().join("admin.sock").display().to_string();
        let text = format!(
            "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
             [admin]\naddress = \"unix:{admin}\"\n\
             [profiles.test]\nupstream = \"https://api.invalid\"\ncredentials = \"test\"\n{profile}\n\
             [credentials.test]\nsource = \"vault\"\npath = \"pigello\"\n\
             [vault]\naddress = \"https://vault.invalid:8200\"\n{vault}\n\
             [vault.auth]\nmethod = \"token\"\ntoken_file = \"token\"\n\
             [audit]\ndirectory = \"audit\"\n\
             [runtime]\nworkers = 1\n\
             [telemetry]\notlp_endpoint = \"https://collector.invalid:4318\"\n{telemetry}\n"
        );
        fs::write(&config, text).unwrap();
        config
    }

    fn roots(&self) -> String {
        self.folder.path().join("roots.pem").to_str().unwrap().to_owned()
    }

    async fn until_exported(&self) {
        let exported = async {
            while !self.collector.requests().iter().any(|line| line == "POST /v1/logs HTTP/1.1") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), exported)
            .await
            .expect("the trail is exported");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pigello_the_vault_and_the_collector_are_reached_through_proxies() {
    let office = Office::open().await;
    let pair = office.authority.issue_with(dns("localhost"), |_| {});
    let (secure, plain) = (office.proxy(OPEN, Some(&pair)).await, office.proxy(OPEN, None).await);
    let over_tls = format!(
        "proxy = \"https://localhost:{}\"\nproxy_authorization_file = \"password\"",
        secure.address.port()
    );
    let over_tcp =
        format!("proxy = \"http://{}\"\nproxy_authorization_file = \"password\"", plain.address);
    for (profile, others) in [(&over_tls, &over_tcp), (&over_tcp, &over_tls)] {
        let config = office.configure(profile, others, others);
        let roots = office.roots();
        let process = Process::serve_with(&config, &[("SSL_CERT_FILE", &roots)]);
        let answer = Caller::tcp(process.address("main")).get(READ).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        office.until_exported().await;
        assert!(process.terminate().0.success());
    }
    for (proxy, name) in [(&secure, "https"), (&plain, "http")] {
        let heads = proxy.heads();
        for server in ["api.invalid:443", "vault.invalid:8200", "collector.invalid:4318"] {
            let of_server = |head: &&String| head.starts_with(&format!("CONNECT {server} "));
            let head = heads.iter().find(of_server).unwrap_or_else(|| panic!("{server} by {name}"));
            assert!(head.contains("Basic bWFkZS11cC11c2VyOm1hZGUtdXAtcGFzc3dvcmQ="), "{head}");
            for secret in ["made-up-token", "x-vault-token", "x-pigello"] {
                assert!(!head.to_ascii_lowercase().contains(secret), "{head}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_leads_all_three_through_its_proxy() {
    let office = Office::open().await;
    let proxy = office.proxy(OPEN, None).await;
    let key = "proxy = \"environment\"";
    let config = office.configure(key, key, key);
    let (roots, address) = (office.roots(), format!("http://{}", proxy.address));
    let environment =
        [("SSL_CERT_FILE", &*roots), ("HTTPS_PROXY", &address), ("NO_PROXY", "x.test")];
    let process = Process::serve_with(&config, &environment);
    let answer = Caller::tcp(process.address("main")).get(READ).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    office.until_exported().await;
    let (_, log) = process.terminate();
    assert!(!log.contains("not used"), "{log}");
    assert!(proxy.heads().len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_the_vault_and_the_collector_is_told_without_its_password() {
    let office = Office::open().await;
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let proxy = office.proxy(refusal, None).await;
    let key =
        format!("proxy = \"http://{}\"\nproxy_authorization_file = \"password\"", proxy.address);
    let config = office.configure(&key, &key, &key);
    let roots = office.roots();
    let check = checked(&config, &[("SSL_CERT_FILE", &roots)]);
    for line in [
        "vault ✗ cannot reach the vault at https://vault.invalid:8200: no tunnel: the forward proxy answers 407",
        "tcp test ✗ no tunnel: the forward proxy answers 407",
        "collector ✗ https://collector.invalid:4318: no tunnel: the forward proxy answers 407",
        "`vault.proxy_authorization_file`",
        "`profiles.test.proxy_authorization_file`",
        "`telemetry.proxy_authorization_file`",
    ] {
        assert!(check.contains(line), "{line} in\n{check}");
    }
    let process = Process::serve_with(&config, &[("SSL_CERT_FILE", &roots)]);
    let answer = Caller::tcp(process.address("main")).get(READ).await;
    assert_eq!(answer.problem(), "credentials_unavailable");
    let (_, log) = process.terminate();
    for text in [check, log] {
        assert!(text.contains("407"), "{text}");
        for secret in ["made-up-password", "bWFkZS11cC11c2VyOm1hZGUtdXAtcGFzc3dvcmQ"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_names_the_proxy_of_each_way() {
    let office = Office::open().await;
    let proxy = office.proxy(OPEN, None).await;
    let key = format!("proxy = \"http://{}\"", proxy.address);
    let config = office.configure(&key, &key, &key);
    let roots = office.roots();
    let check = checked(&config, &[("SSL_CERT_FILE", &roots)]);
    let address = proxy.address;
    for line in [
        format!("vault ✓ answers through the proxy http://{address}"),
        format!("tcp test ✓ the proxy http://{address} opens a tunnel; api.invalid:443"),
        format!(
            "collector ✓ https://collector.invalid:4318 accepts connections through the proxy http://{address}"
        ),
    ] {
        assert!(check.contains(&line), "{line} in\n{check}");
    }
    assert_eq!(office.collector.requests(), [""; 0], "the check sends the collector nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_lead_nowhere_are_named_once() {
    let office = Office::open().await;
    let config = office.configure("", "", "");
    let environment = [
        ("HTTPS_PROXY", "http://made-up:password@proxy.invalid:3128"),
        ("https_proxy", "http://proxy.invalid:3128"),
        ("NO_PROXY", "10.0.0.0/8"),
    ];
    let mut process = Process::serve_with(&config, &environment);
    let line = process.log_line("not used");
    assert!(
        line.contains("the variables HTTPS_PROXY and https_proxy are set and not used"),
        "{line}"
    );
    assert!(line.contains("for [profiles.test] and [vault] and [telemetry]"), "{line}");
    let (_, rest) = process.terminate();
    assert!(!rest.contains("not used") && !format!("{line}{rest}").contains("password@"), "{rest}");

    // What the variables leave out is not called directly by mistake.
    let environment = [("HTTPS_PROXY", "http://proxy.invalid:3128"), ("NO_PROXY", ".invalid")];
    let check = checked(&config, &environment);
    assert!(!check.contains("not used"), "{check}");
}

/// What `check --online` says, on standard output and standard error.
fn checked(config: &Path, environment: &[(&str, &str)]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
    command.args(["check", "--online", "--no-call", "--config"]).arg(config);
    let output = command.env_clear().envs(environment.iter().copied()).output().unwrap();
    let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    // The findings are in columns.
    texts.concat().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
