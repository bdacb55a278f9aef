//! An upstream that records raw bytes and refuses nothing.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Answers everything that looks like a whole request with the same response.
#[derive(Clone)]
pub struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Answers `200` with `ok`.
    pub async fn start() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()).await
    }

    /// Answers with these bytes.
    pub async fn answering(response: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = Self { address, seen: Arc::clone(&seen) };
        let response = Arc::new(response);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&response)));
            }
        });
        recorder
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that arrived since the last time, on all connections.
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.seen.lock())).into_owned()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<u8>>>, response: Arc<Vec<u8>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        seen.lock().extend_from_slice(&buffer[..length]);
        request.extend_from_slice(&buffer[..length]);
        if is_whole(&request) {
            request.clear();
            if stream.write_all(&response).await.is_err() {
                return;
            }
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap_or(0));
    body.len() >= length
}
