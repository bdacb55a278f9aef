//! The admin listener: health, metrics, state and the few switches an operator needs.
//!
//! It has a socket of its own, on loopback or a Unix socket, and read-only views of the parts it
//! tells about; it never sees a credential. A page in a browser cannot use it: foreign host names and
//! cross-site requests are refused here as on the path.

mod guard;
mod health;
mod status;
mod switches;

use std::{collections::BTreeMap, io, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{FromRef, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::Keeper,
    domain::CredentialsName,
    pipeline::{cache::Store, listener::Bound},
    telemetry::Metrics,
    trail::Trail,
};

/// What the admin listener may see.
#[derive(Clone, Debug)]
pub struct View {
    /// When the gateway started.
    pub started: SystemTime,
    /// The listeners.
    pub listeners: Vec<ListenerView>,
    /// The profiles.
    pub profiles: Vec<ProfileView>,
    /// The credential sets: their state, never a value.
    pub keepers: BTreeMap<CredentialsName, Keeper>,
    /// The audit trail.
    pub trail: Trail,
    /// The cache.
    pub cache: Store,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the gateway drains.
    pub draining: CancellationToken,
}

/// A listener, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Its actual address.
    pub address: String,
    /// Where its calls lead.
    pub profile: String,
    /// Who everybody on it is.
    pub caller: Option<String>,
}

/// A profile, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileView {
    /// Its name.
    pub name: String,
    /// Its upstream.
    pub upstream: String,
    /// Its credential set.
    pub credentials: String,
}

/// The view, which a reload exchanges.
#[derive(Clone, Debug)]
pub struct Window(Arc<ArcSwap<View>>);

impl Window {
    /// With a first view.
    pub fn new(view: View) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(view)))
    }

    /// Shows another view from now on.
    pub fn show(&self, view: View) {
        self.0.store(Arc::new(view));
    }
}

impl FromRef<Window> for Arc<View> {
    fn from_ref(window: &Window) -> Self {
        window.0.load_full()
    }
}

/// Answers until it is told to end.
pub async fn serve(socket: Bound, window: Window, ending: CancellationToken) -> io::Result<()> {
    let router = router(window);
    let ended = async move { ending.cancelled().await };
    match socket.into_tokio()? {
        crate::pipeline::listener::TokioSocket::Tcp(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(ended).await
        }
        crate::pipeline::listener::TokioSocket::Unix(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(ended).await
        }
    }
}

fn router(window: Window) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status::status))
        .route("/cache", delete(switches::purge))
        .route("/credentials/refresh", post(switches::refresh))
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(window)
}

/// `GET /metrics`: everything, in the `OpenMetrics` text format that Prometheus reads.
async fn metrics(State(view): State<Arc<View>>) -> Response {
    match view.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
