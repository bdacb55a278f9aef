//! Sends spans to the collector, some hundred at a time.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Trace, otlp};
use crate::{
    domain::Origin,
    error::{BoxError, Chain},
};

/// What sends the spans of a [`Tracer`](super::Tracer).
#[derive(Debug)]
pub struct Exporter {
    collector: Origin,
    traces: mpsc::Receiver<Trace>,
}

impl Exporter {
    pub(super) fn new(collector: Origin, traces: mpsc::Receiver<Trace>) -> Self {
        Self { collector, traces }
    }

    /// Sends until `stop`, and then what still waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "traces cannot be sent: TLS cannot be set up");
                return;
            }
        };
        let mut failing = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            let stopping = tokio::select! {
                taken = self.traces.recv_many(&mut batch, BATCH) => taken == 0,
                () = stop.cancelled() => {
                    while batch.len() < BATCH && let Ok(trace) = self.traces.try_recv() {
                        batch.push(trace);
                    }
                    true
                }
            };
            if !batch.is_empty() {
                let sent = tokio::time::timeout(PATIENCE, self.send(&client, &batch)).await;
                let sent = sent.unwrap_or_else(|_| Err("it does not answer".into()));
                match sent {
                    Ok(()) => failing = false,
                    // Once for each time that it begins to fail: a log is not a counter.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::warn!(error = %Chain(&*error), "traces cannot be sent");
                    }
                    Err(_) => {}
                }
            }
            if stopping {
                return;
            }
            // More will come: sent together, they cost less.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn send(&self, client: &HttpClient, traces: &[Trace]) -> Result<(), BoxError> {
        let body = serde_json::to_vec(&otlp::request(traces))?;
        let request = Request::post(format!("{}/v1/traces", self.collector))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::from(body))?;
        match client.request(request).await?.status() {
            StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            status => Err(format!("the collector answered {status}").into()),
        }
    }
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> Result<HttpClient, rustls::Error> {
    let tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(2);
