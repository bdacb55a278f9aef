//! A server over TLS that answers every request with JSON, and counts its connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use pigello_mock::MADE_UP_VALUES;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::Pair;

/// The server. It runs until the test ends.
pub struct TlsServer {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    /// A server that shows that chain, and answers a path with that text.
    pub async fn start(
        pair: &Pair,
        answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(pair)));
        let (handshakes, requests) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        let server =
            Self { address, handshakes: Arc::clone(&handshakes), requests: Arc::clone(&requests) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                let (handshakes, requests) = (Arc::clone(&handshakes), Arc::clone(&requests));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    handshakes.fetch_add(1, Ordering::SeqCst);
                    serve(stream, answer, &requests).await;
                });
            }
        });
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have been made.
    pub fn connections(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// The request lines so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// A server's side of TLS with that certificate.
pub fn server_config(pair: &Pair) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap()
}

/// What a vault answers: a token that is valid, and the seven values.
pub fn vault_answer(path: &str) -> String {
    if path == "/v1/auth/token/lookup-self" {
        return r#"{"data":{"ttl":3600,"renewable":false}}"#.to_owned();
    }
    assert_eq!(path, "/v1/secret/data/pigello");
    let values: serde_json::Map<String, serde_json::Value> = MADE_UP_VALUES
        .iter()
        .map(|(name, value)| (name.key().to_owned(), (*value).into()))
        .collect();
    serde_json::json!({ "data": { "data": values, "metadata": { "version": 1 } } }).to_string()
}

async fn serve(
    mut stream: TlsStream<TcpStream>,
    answer: impl Fn(&str) -> String,
    requests: &Mutex<Vec<String>>,
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
        let line = head.lines().next().unwrap().to_owned();
        let answer = answer(line.split(' ').nth(1).unwrap());
        requests.lock().push(line);
        let length = answer.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
