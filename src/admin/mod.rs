//! The admin listener: health, metrics, state and the few switches an operator needs.
//!
//! It has a socket of its own, on loopback or a Unix socket, and read-only views of the parts it
//! tells about; it never sees a credential. A page in a browser cannot use it, but for the one that
//! stands here itself: foreign host names and cross-site requests are refused as on the path.

mod check;
mod collect;
mod guard;
mod health;
mod page;
mod status;
mod actions;
mod token;

use std::{collections::BTreeMap, io, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{FromRef, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tower_http::set_header::SetResponseHeaderLayer;

use self::{check::Checks, token::Token};
use crate::{
    audit::Trail,
    credentials::CredentialManager,
    domain::{CallerRule, CredentialsName, ProfileName},
    proxy::{
        cache::Store,
        call::ConcurrencyLimits,
        server::Bound,
        stages::{authorize::Policy, upstream_health::UpstreamHealth},
    },
    telemetry::{Activity, Metrics},
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
    pub managers: BTreeMap<CredentialsName, CredentialManager>,
    /// The audit trail.
    pub trail: Trail,
    /// The cache.
    pub cache: Store,
    /// What is known of each profile's upstream.
    pub upstreams: BTreeMap<ProfileName, Arc<UpstreamHealth>>,
    /// How much is taken.
    pub limits: LimitsView,
    /// Who may do what, to explain a refusal.
    pub policy: Arc<Policy>,
    /// The callers' rules.
    pub callers: Arc<[Arc<CallerRule>]>,
    /// What happened in the last hour and day.
    pub activity: Arc<Activity>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the gateway drains.
    pub draining: CancellationToken,
}

/// How much is taken at a time.
#[derive(Clone, Debug)]
pub struct LimitsView {
    /// Connections of callers.
    pub connections_limit: usize,
    /// Calls.
    pub in_flight_limit: usize,
    /// How many more calls there may be.
    pub places: ConcurrencyLimits,
}

impl LimitsView {
    /// Calls under way.
    fn under_way(&self) -> usize {
        self.in_flight_limit.saturating_sub(self.places.available())
    }
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
    /// With a first view, whose metrics tell of what is in view from now on.
    pub fn new(view: View) -> Self {
        let metrics = Arc::clone(&view.metrics);
        let window = Self(Arc::new(ArcSwap::from_pointee(view)));
        metrics.register(Box::new(collect::Parts(window.clone())));
        window
    }

    fn view(&self) -> Arc<View> {
        self.0.load_full()
    }

    /// Shows another view from now on.
    pub fn show(&self, view: View) {
        self.0.store(Arc::new(view));
    }
}

/// What the handlers share: the view, and what outlives a reload of it.
#[derive(Clone, Debug)]
struct AdminState {
    window: Window,
    token: Arc<Token>,
    checks: Checks,
}

impl FromRef<AdminState> for Arc<View> {
    fn from_ref(state: &AdminState) -> Self {
        state.window.view()
    }
}

/// Answers until it is told to end.
pub async fn serve(socket: Bound, window: Window, ending: CancellationToken) -> io::Result<()> {
    let router = router(window);
    let ended = async move { ending.cancelled().await };
    match socket.into_tokio()? {
        crate::proxy::server::TokioSocket::Tcp(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(ended).await
        }
        crate::proxy::server::TokioSocket::Unix(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(ended).await
        }
    }
}

fn router(window: Window) -> Router {
    let state = AdminState { window, token: Arc::new(Token::fresh()), checks: Checks::default() };
    Router::new()
        .route("/", get(page::page))
        .route("/page/purge", post(actions::purge_form))
        .route("/page/verify", post(actions::verify_form))
        .route("/errors", get(page::errors::index))
        .route("/errors/{label}", get(page::errors::one))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status::status))
        .route("/cache", delete(actions::purge))
        .route("/credentials/refresh", post(actions::refresh))
        .layer(axum::middleware::from_fn(guard::guard))
        // What it says is true for a moment, and no page is to make anything of it.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(state)
}

/// `GET /metrics`: everything, in the `OpenMetrics` text format that Prometheus reads.
async fn metrics(State(view): State<Arc<View>>) -> Response {
    match view.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
