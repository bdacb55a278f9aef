//! A server that answers what a test tells it, and remembers what it was asked.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time,
};

use crate::credentials::settings::{KvVersion, TokenSource, VaultAuth, VaultServer, VaultSettings};

/// A response.
#[derive(Clone)]
pub(super) enum Reply {
    /// A whole response.
    Say(&'static str, String),
    /// Headers that point elsewhere.
    Redirect(String),
    /// A byte at a time, for ever.
    Drip,
    /// As many bytes as the peer will take.
    Flood,
    /// Nothing at all.
    Silence,
    /// The connection is closed in the middle of the body.
    BreakOff,
    /// A whole response to who has this token, and 403 to others.
    ToToken(&'static str, String),
}

impl Reply {
    /// What is replied to a request with that head.
    fn to(self, head: &str) -> Self {
        match self {
            Self::ToToken(token, body) if head.contains(&format!("x-vault-token: {token}\r\n")) => {
                Self::Say("200 OK", body)
            }
            Self::ToToken(..) => {
                Self::Say("403 Forbidden", r#"{"errors":["permission denied"]}"#.to_owned())
            }
            other => other,
        }
    }
}

#[derive(Clone)]
pub(super) struct Stub {
    pub(super) address: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// How many requests are being answered, and the most so far.
    load: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Stub {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(HashMap::new()));
        let stub = Self { address, replies, requests: Arc::default(), load: Arc::default() };
        let serving = stub.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        stub.on("auth/token/lookup-self", "200 OK", r#"{"data":{"ttl":0,"renewable":false}}"#);
        stub
    }

    pub(super) fn on(&self, path: &str, status: &'static str, body: impl Into<String>) {
        self.reply(path, Reply::Say(status, body.into()));
    }

    pub(super) fn reply(&self, path: &str, reply: Reply) {
        self.replies.lock().insert(format!("/v1/{path}"), reply);
    }

    /// The heads of the requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    /// How often a path was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        let path = format!("/v1/{path} ");
        self.requests.lock().iter().filter(|head| head.contains(&path)).count()
    }

    /// Waits until a path was asked for so often, with a bound that only a failure reaches.
    pub(super) async fn until(&self, path: &str, times: usize) {
        let asked = async {
            while self.count(path) < times {
                time::sleep(Duration::from_millis(2)).await;
            }
        };
        time::timeout(Duration::from_secs(20), asked).await.unwrap();
        assert_eq!(self.count(path), times, "{path}");
    }

    /// The most requests that were answered at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.load.1.load(Ordering::SeqCst)
    }

    /// A source that reads `secret/pigello` from here, with the token in `token_file`.
    pub(super) fn settings(&self, token_file: &Path) -> VaultSettings {
        self.settings_with(|vault| {
            vault.auth = Some(VaultAuth::Token(TokenSource::File(token_file.to_owned())));
        })
    }

    /// The same, with another way to the vault.
    pub(super) fn settings_with(&self, change: impl FnOnce(&mut VaultServer)) -> VaultSettings {
        let mut server = VaultServer {
            address: Some(self.address.parse().unwrap()),
            namespace: Some("team/a".to_owned()),
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
}

async fn serve(mut stream: TcpStream, stub: Stub) -> Option<()> {
    let Stub { replies, requests, load, .. } = stub;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.ok()?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let now = load.0.fetch_add(1, Ordering::SeqCst) + 1;
        load.1.fetch_max(now, Ordering::SeqCst);
        // So that others that come at the same time are counted.
        tokio::task::yield_now().await;
        let reply = replies.lock().get(&path).cloned();
        let reply = reply.unwrap_or(Reply::Say("404 Not Found", r#"{"errors":[]}"#.to_owned()));
        let reply = reply.to(&head);
        requests.lock().push(head);
        match reply {
            Reply::Say(status, body) => {
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
                load.0.fetch_sub(1, Ordering::SeqCst);
            }
            Reply::Redirect(target) => {
                let answer = format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
            Reply::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(b" ").await.ok()?;
                    time::sleep(Duration::from_millis(20)).await;
                }
            }
            Reply::Flood => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(&[b' '; 8192]).await.ok()?;
                }
            }
            // Which of the two it is has been decided.
            Reply::Silence | Reply::ToToken(..) => std::future::pending().await,
            Reply::BreakOff => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await.ok()?;
                return None;
            }
        }
    }
}

/// The answer to a read of a whole set in the second engine.
pub(super) fn secret(version: u64, text: &str) -> String {
    let values: serde_json::Map<String, serde_json::Value> = crate::credentials::ValueName::ALL
        .into_iter()
        .map(|name| (name.key().to_owned(), format!("{text}-{name}").into()))
        .collect();
    serde_json::json!({ "data": { "data": values, "metadata": { "version": version } } })
        .to_string()
}
