//! A server that answers what a test tells it, and remembers what it was asked.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time,
};

use crate::{
    credentials::settings::{KvVersion, TokenSource, VaultAuth, VaultSettings},
    outbound::ForwardProxySettings,
};

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
}

pub(super) struct Stub {
    pub(super) address: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(HashMap::new()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (served, noted) = (Arc::clone(&replies), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&served), Arc::clone(&noted)));
            }
        });
        let stub = Self { address, replies, requests };
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

    /// A source that reads `secret/pigello` from here, with the token in `token_file`.
    pub(super) fn settings(&self, token_file: &std::path::Path) -> VaultSettings {
        VaultSettings {
            address: Some(self.address.parse().unwrap()),
            ca_file: None,
            revocation: None,
            proxy: ForwardProxySettings::default(),
            client_certificate: None,
            namespace: Some("team/a".to_owned()),
            login_namespace: None,
            auth: Some(VaultAuth::Token(TokenSource::File(token_file.to_owned()))),
            mount: "secret".to_owned(),
            path: "pigello".to_owned(),
            kv_version: KvVersion::V2,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
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
        requests.lock().push(head);
        let reply = replies.lock().get(&path).cloned();
        let reply = reply.unwrap_or(Reply::Say("404 Not Found", r#"{"errors":[]}"#.to_owned()));
        match reply {
            Reply::Say(status, body) => {
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
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
            Reply::Silence => std::future::pending().await,
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
