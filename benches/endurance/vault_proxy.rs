//! A proxy before OpenBao that counts what the gateway asks, and can be away.
//!
//! It speaks plain HTTP on loopback, which a gateway accepts there.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming, client::conn::http1::SendRequest, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};

use super::vault::Vault;

/// The proxy, which ends with this value.
#[derive(Debug)]
pub struct VaultProxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    serving: JoinHandle<()>,
}

/// What was asked so far.
#[derive(Debug, Default)]
struct Counts {
    logins: AtomicU64,
    reads: AtomicU64,
    is_away: AtomicBool,
}

impl VaultProxy {
    pub async fn start(vault: Arc<Vault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (vault, counts) = (Arc::clone(&vault), Arc::clone(&shared));
                tokio::spawn(async move {
                    let onward = Arc::new(Mutex::new(vault.connect().await));
                    let service = service_fn(move |request| {
                        pass_on(request, Arc::clone(&onward), Arc::clone(&counts))
                    });
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // The gateway may close it at any time.
                    served.await.ok();
                });
            }
        });
        Self { address, counts, serving }
    }

    /// Its origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often the gateway logged in.
    pub fn logins(&self) -> u64 {
        self.counts.logins.load(Ordering::Relaxed)
    }

    /// How many secrets it read.
    pub fn reads(&self) -> u64 {
        self.counts.reads.load(Ordering::Relaxed)
    }

    /// Answers everything with 503 from now on, or ends that.
    pub fn away(&self, is_away: bool) {
        self.counts.is_away.store(is_away, Ordering::Relaxed);
    }
}

impl Drop for VaultProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass_on(
    request: Request<Incoming>,
    onward: Arc<Mutex<SendRequest<Full<Bytes>>>>,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path();
    if path.ends_with("/login") {
        counts.logins.fetch_add(1, Ordering::Relaxed);
    } else if path.contains("/data/") {
        counts.reads.fetch_add(1, Ordering::Relaxed);
    }
    if counts.is_away.load(Ordering::Relaxed) {
        let mut away = Response::new(Full::default());
        *away.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(away);
    }
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, whole(body).await);
    let mut onward = onward.lock().await;
    onward.ready().await?;
    let (head, body) = onward.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, whole(body).await))
}

async fn whole(body: Incoming) -> Full<Bytes> {
    #[expect(clippy::disallowed_methods, reason = "it has a bound")]
    let body = Limited::new(body, 1 << 20).collect().await;
    Full::new(body.map(http_body_util::Collected::to_bytes).unwrap_or_default())
}
