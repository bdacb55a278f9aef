//! The admin listener: health, metrics, state, and the few actions of an operator.
//!
//! It has its own socket and read-only views of the other parts; it never sees a credential. [`mod@routes`]
//! lists what it serves, and [`access`] says who may use it. Foreign host names and cross-site requests are
//! refused as on the path, so the status page served here is the only page in a browser that can use it.
//!
//! The metrics listener serves the routes for probes and scrapers, and nothing else.

mod access;
mod check;
mod collect;
mod fleet;
mod foresight;
mod guard;
mod health;
mod life;
mod page;
mod profiles;
mod relay;
mod reload;
mod routes;
mod serve;
mod shared_keys;
mod status;
mod actions;
mod token;
mod trouble;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use axum::extract::FromRef;
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::{access::Gate, check::Checks, token::Token};
pub use self::{
    access::{Access, Role, Tokens},
    relay::Relay,
    reload::{Mistake, NotReloaded, ReloadOrder, ReloadOrders, Reloaded, reload_orders},
    routes::routes,
    serve::AdminServer,
};
use crate::{
    audit::{FleetLog, Trail},
    credentials::CredentialManager,
    domain::{CallerRule, CredentialsName, ProfileName},
    fleet::Member,
    notices::{Notices, Receiver},
    outbound::{CertificateFile, Observed},
    proxy::{
        cache::Cache,
        call::ConcurrencyLimits,
        profile::{Profiles, UpstreamHealth},
        stages::authorize::Policy,
    },
    telemetry::{Activity, Metrics},
};

/// Which routes a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// All of them.
    All,
    /// Only those for probes and scrapers.
    Health,
}

/// Everything the admin listener shows.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// Start time of the gateway.
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
    pub cache: Cache,
    /// The notices of all profiles.
    pub notices: Arc<Notices>,
    /// The listener for webhooks.
    pub webhooks: Option<Arc<Receiver>>,
    /// This gateway as a member of the fleet.
    pub fleet: Option<Arc<Member>>,
    /// The heads of all members' trails, if this gateway is a hub.
    pub fleet_log: Option<Arc<FleetLog>>,
    /// The profiles themselves: those with tables of their own, and the loaded members of templates.
    pub directory: Arc<Profiles>,
    /// State of each profile's upstream.
    pub upstreams: BTreeMap<ProfileName, Arc<UpstreamHealth>>,
    /// The files of certificates.
    pub certificates: Arc<[CertificateFile]>,
    /// What each profile's upstream has shown of itself.
    pub observed: BTreeMap<ProfileName, Arc<Observed>>,
    /// The concurrency limits and their use.
    pub limits: LimitsView,
    /// The policy, to explain a refusal.
    pub policy: Arc<Policy>,
    /// The caller rules.
    pub callers: Arc<[Arc<CallerRule>]>,
    /// Activity of the last hour and day.
    pub activity: Arc<Activity>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The tokens that are accepted.
    pub tokens: Arc<Tokens>,
    /// Takes orders to reload; `None` if the gateway was not started from files.
    pub reloads: Option<ReloadOrders>,
    /// The configuration in force, and the one that was refused after it.
    pub configuration: ConfigurationView,
    /// Cancelled when the drain begins.
    pub draining: CancellationToken,
}

/// The configuration, as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigurationView {
    /// The identifier that each audit record has.
    pub policy: String,
    /// Since when it is in force.
    pub since: Timestamp,
    /// The last reload, if it was refused.
    pub refused: Option<RefusedConfiguration>,
}

/// A configuration that is not in force.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedConfiguration {
    /// When it was refused.
    pub time: Timestamp,
    /// Every mistake, a line each.
    pub reason: String,
}

/// Limits and current use.
#[derive(Clone, Debug)]
pub struct LimitsView {
    /// Connections from callers.
    pub connections_limit: usize,
    /// Calls.
    pub in_flight_limit: usize,
    /// Free permits for calls.
    pub places: ConcurrencyLimits,
}

impl LimitsView {
    /// Calls in flight.
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
    /// The profile of its calls, if it is the same for all.
    pub profile: Option<String>,
    /// The caller that the listener names, if it does.
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

/// The current view; a reload replaces it.
#[derive(Clone, Debug)]
pub struct SharedView(Arc<ArcSwap<GatewayView>>);

impl SharedView {
    /// Starts with a first view. Its metrics follow the current view from here on.
    pub fn new(view: GatewayView) -> Self {
        let metrics = Arc::clone(&view.metrics);
        let window = Self(Arc::new(ArcSwap::from_pointee(view)));
        metrics.register(Box::new(collect::Parts(window.clone())));
        window
    }

    fn view(&self) -> Arc<GatewayView> {
        self.0.load_full()
    }

    /// Replaces the view.
    pub fn show(&self, view: GatewayView) {
        self.0.store(Arc::new(view));
    }

    /// Shows that a configuration was refused.
    pub fn refuse(&self, reason: String) {
        let refused = Some(RefusedConfiguration { time: Timestamp::now(), reason });
        let view = self.view();
        let configuration = ConfigurationView { refused, ..view.configuration.clone() };
        self.show(GatewayView { configuration, ..GatewayView::clone(&view) });
    }
}

/// State of the handlers: the current view, and what survives a reload.
#[derive(Clone, Debug)]
struct AdminState {
    window: SharedView,
    token: Arc<Token>,
    checks: Checks,
    gate: Arc<Gate>,
}

impl AdminState {
    fn new(window: SharedView) -> Self {
        let (token, gate) = (Arc::new(Token::fresh()), Arc::new(Gate::new()));
        Self { window, token, checks: Checks::default(), gate }
    }
}

impl FromRef<AdminState> for Arc<GatewayView> {
    fn from_ref(state: &AdminState) -> Self {
        state.window.view()
    }
}
