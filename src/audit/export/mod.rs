//! Sends the trail to an OpenTelemetry collector (OTLP over HTTP, JSON).
//!
//! The exporter is a reader of the trail like any other: it reads what is in stable storage, sends it
//! in order, and keeps its position on disk once the collector has taken a batch. So every line
//! arrives at least once, a collector that is away costs nothing but time, and no call ever waits for
//! it. Old files stay until they are exported.
//!
//! The body of a log record is the trail's own line, so the chain can be checked at the other end.

mod otlp;
mod position;
mod source;

use std::{
    error::Error as StdError,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::watch;

use super::{queue::RecordQueue, read::TrailReadError};
use crate::{
    body,
    domain::Origin,
    error::{BoxError, Chain},
};
use position::Position;
use source::Source;

/// How far the export has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last line that the collector has.
    pub(super) seq: AtomicU64,
    pub(super) failing: AtomicBool,
}

/// Keeps the thread going; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Exporter {
    #[expect(dead_code, reason = "its end is the signal")]
    end: watch::Sender<()>,
    progress: Arc<Progress>,
}

impl Exporter {
    pub(super) fn start(
        directory: &Path,
        collector: &Origin,
        shared: Arc<RecordQueue>,
    ) -> Result<Self, ExportError> {
        let position = Position::open(directory)?;
        let progress = Arc::new(Progress::default());
        progress.seq.store(position.seq(), Ordering::Relaxed);
        let mut export = Export {
            source: Source::new(directory, position.seq()),
            position,
            to: endpoint(collector),
            client: client(collector.is_tls())?,
            shared,
            progress: Arc::clone(&progress),
            pause: FIRST_PAUSE,
        };
        let (end, mut ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ExportError::Start)?;
        thread::Builder::new()
            .name("audit-export".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        // The sender is only ever dropped.
                        _ = ended.changed() => {}
                        () = export.run() => {}
                    }
                });
            })
            .map_err(ExportError::Start)?;
        Ok(Self { end, progress })
    }

    /// Ends the export, when the collector has everything up to a line, or does not keep up.
    pub(super) fn finish(self, last: u64) {
        let end = Instant::now() + GRACE;
        let behind = || self.progress.seq.load(Ordering::Relaxed) < last;
        let failing = || self.progress.failing.load(Ordering::Relaxed);
        while behind() && !failing() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

struct Export {
    source: Source,
    position: Position,
    to: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    shared: Arc<RecordQueue>,
    progress: Arc<Progress>,
    pause: Duration,
}

impl Export {
    async fn run(&mut self) {
        loop {
            let stable = self.shared.synced_seq.load(Ordering::Relaxed);
            let wait = match self.source.next(BATCH, stable) {
                Ok(lines) if lines.is_empty() => LOOK_AGAIN,
                Ok(lines) => {
                    self.deliver(otlp::request(&lines).into()).await;
                    self.arrived();
                    continue;
                }
                Err(error) => self.failed(&error),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends one batch until the collector has taken it.
    async fn deliver(&mut self, batch: Bytes) {
        loop {
            let wait = match self.send(batch.clone()).await {
                Ok(()) => return,
                Err(SendError::Status { status, after: Some(after) }) => {
                    self.failed(&SendError::Status { status, after: None }).max(after)
                }
                Err(error) => self.failed(&error),
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn send(&self, batch: Bytes) -> Result<(), SendError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.to.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(batch))
            .map_err(|error| SendError::Transport(error.into()))?;
        let call = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| SendError::Transport(error.into()))?;
            let (head, body) = response.into_parts();
            let body = body::collect_limited(body, LONGEST_ANSWER)
                .await
                .map_err(|error| SendError::Transport(error.into()))?;
            if !head.status.is_success() {
                let after = retry_after(&head.headers);
                return Err(SendError::Status { status: head.status, after });
            }
            let rejected = otlp::rejected(&body);
            if rejected > 0 {
                // The protocol forbids to send them again (OTLP 1.x, "Partial Success").
                tracing::error!(rejected, "the collector took a batch but not all of its records");
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, call).await.unwrap_or(Err(SendError::Timeout))
    }

    /// The collector has everything that was read.
    fn arrived(&mut self) {
        self.pause = FIRST_PAUSE;
        if self.progress.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit trail is exported again");
        }
        let seq = self.source.after();
        match self.position.keep(seq) {
            Ok(()) => self.progress.seq.store(seq, Ordering::Relaxed),
            // Some lines will arrive twice, which is what "at least once" allows.
            Err(error) => tracing::warn!(%error, "the export's position cannot be kept"),
        }
    }

    /// Says so once, and how long to wait.
    fn failed(&mut self, error: &(dyn StdError + 'static)) -> Duration {
        if !self.progress.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                reason = %Chain(error),
                "the audit trail cannot be exported; it is tried again"
            );
        }
        let wait = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        wait
    }
}

fn client(
    over_tls: bool,
) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, ExportError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ExportError::Tls)?;
    let tls = if over_tls {
        builder.with_platform_verifier().map_err(ExportError::Tls)?.with_no_client_auth()
    } else {
        // Nothing is ever verified with it, and a machine without roots can still export.
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Where a collector takes logs (OTLP/HTTP, "default path").
fn endpoint(collector: &Origin) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme =
        Some(if collector.is_tls() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    parts.authority = collector.host_header().to_str().ok().and_then(|host| host.parse().ok());
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/v1/logs"));
    Uri::from_parts(parts).unwrap_or_default()
}

/// `Retry-After` in seconds; a date is left to our own pauses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the collector answers {status}")]
    Status { status: StatusCode, after: Option<Duration> },
    #[error("the collector cannot be reached")]
    Transport(#[source] BoxError),
    #[error("the collector does not answer")]
    Timeout,
}

/// Why an export cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its position cannot be read.
    #[error("the position of the audit export cannot be read")]
    Position(#[source] io::Error),
    /// The trail cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// There is no TLS.
    #[error("TLS to the collector cannot be set up")]
    Tls(#[source] rustls::Error),
    /// There is no thread for it.
    #[error("the audit export cannot be started")]
    Start(#[source] io::Error),
}

/// How many lines go at once: some 600 KiB.
const BATCH: usize = 512;
/// How often a collector that has everything is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long one batch may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a gateway that ends waits for a collector. The rest is sent by the next one.
const GRACE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// An answer is a few fields.
const LONGEST_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests;
