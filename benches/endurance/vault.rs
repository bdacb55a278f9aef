//! A real OpenBao server on loopback, with TLS, in memory.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pigello_gateway::credentials::ValueName;
use rustix::process::{Pid, Signal, kill_process};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::TlsConnector;

use super::credentials::{Mark, value};

/// The server, which ends with this value.
#[derive(Debug)]
pub struct Vault {
    child: Child,
    folder: TempDir,
    port: u16,
    sender: Mutex<SendRequest<Full<Bytes>>>,
}

impl Vault {
    /// Starts it, with version 1 of mark `a` in it.
    pub async fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the bench's own switch")]
        let program = PathBuf::from(env::var("BAO_BIN").expect("BAO_BIN names OpenBao's program"));
        let folder = tempfile::tempdir().unwrap();
        // Only root may read the token, as the gateway asks.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
            .args(["-dev-listen-address=127.0.0.1:0", "-dev-root-token-id", ROOT_TOKEN])
            .arg(format!("-dev-tls-cert-dir={}", folder.path().display()))
            .env_clear()
            .env("HOME", folder.path())
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (lines, heard) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.send(line).ok();
            }
        });
        let find = |mark: &str| loop {
            let line = heard.recv_timeout(Duration::from_secs(30)).expect("OpenBao starts");
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.to_owned();
            }
        };
        // With port 0 it takes a free port and the one after it, and tells only the latter.
        let cluster = find("cluster address: \"127.0.0.1:");
        let port = cluster.split('"').next().unwrap().parse::<u16>().unwrap() - 1;
        find("Root Token: ");
        std::fs::write(folder.path().join("token"), ROOT_TOKEN).unwrap();
        let sender = connect(port, &folder.path().join("vault-ca.pem")).await;
        let vault = Self { child, folder, port, sender: Mutex::new(sender) };
        while !vault.write(1).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        vault
    }

    /// The tables of the gateway's configuration.
    pub fn toml(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "[vault]\naddress = \"https://127.0.0.1:{}\"\nca_file = \"{folder}/vault-ca.pem\"\n\
             [vault.auth]\nmethod = \"token\"\ntoken_file = \"{folder}/token\"\n",
            self.port
        )
    }

    /// Writes a version of mark `a`, and says whether it was taken.
    pub async fn write(&self, version: u64) -> bool {
        let values = ValueName::ALL
            .map(|name| (name.key().to_owned(), Value::from(value(Mark::A, version, name))));
        let body = json!({ "data": Map::from_iter(values) }).to_string();
        let (status, _) = self.ask(Method::POST, "secret/data/pigello", body.into()).await;
        (200..300).contains(&status)
    }

    /// Deletes what is at a path.
    pub async fn delete(&self, path: &str) {
        let (status, _) = self.ask(Method::DELETE, path, Bytes::new()).await;
        assert!((200..300).contains(&status), "OpenBao deletes {path}: {status}");
    }

    /// An AppRole that may read those secrets: the table of the gateway's login with it.
    pub async fn approle(&self, secrets: &str) -> String {
        let policy = format!("path \"{secrets}\" {{ capabilities = [\"read\"] }}");
        for (path, body) in [
            ("sys/policies/acl/gateway", json!({ "policy": policy })),
            ("sys/auth/approle", json!({ "type": "approle" })),
            (
                "auth/approle/role/gateway",
                json!({ "token_policies": "gateway", "token_ttl": "1h" }),
            ),
        ] {
            let (status, _) = self.ask(Method::POST, path, body.to_string().into()).await;
            assert!((200..300).contains(&status), "OpenBao takes {path}: {status}");
        }
        let (_, role) =
            self.ask(Method::GET, "auth/approle/role/gateway/role-id", Bytes::new()).await;
        let (_, secret) =
            self.ask(Method::POST, "auth/approle/role/gateway/secret-id", Bytes::new()).await;
        let file = self.folder.path().join("secret-id");
        std::fs::write(&file, secret["data"]["secret_id"].as_str().unwrap()).unwrap();
        format!(
            "[vault.auth]\nmethod = \"approle\"\nrole_id = \"{}\"\nsecret_id_file = \"{}\"\n",
            role["data"]["role_id"].as_str().unwrap(),
            file.display()
        )
    }

    /// Asks it as root.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("x-vault-token", ROOT_TOKEN)
            .body(Full::new(body))
            .unwrap();
        let mut sender = self.sender.lock().await;
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let (mut body, mut answer) = (response.into_body(), Vec::new());
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            if let Ok(data) = frame.unwrap().into_data() {
                answer.extend_from_slice(&data);
            }
        }
        (status, serde_json::from_slice(&answer).unwrap_or_default())
    }

    /// Another connection to it.
    pub async fn connect(&self) -> SendRequest<Full<Bytes>> {
        connect(self.port, &self.folder.path().join("vault-ca.pem")).await
    }

    /// Stops its process, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn connect(port: u16, ca: &std::path::Path) -> SendRequest<Full<Bytes>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A token of this bench's own server.
const ROOT_TOKEN: &str = "made-up-root-token";
