//! The options a mock starts with.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    activations::Activation,
    authority::{Authority, CertifiedKey},
    credentials::Accepted,
    webhooks::Webhook,
};

/// The options a mock starts with. The default: a free port of loopback, TLS with a new authority
/// and a certificate for [`Options::DEFAULT_NAMES`], the built-in activation, no latency.
#[derive(Debug)]
pub struct Options {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Tls,
    pub(crate) activations: Vec<Activation>,
    pub(crate) latency: Duration,
    pub(crate) event_log: String,
    pub(crate) webhooks: Vec<Webhook>,
}

#[derive(Debug)]
pub(crate) enum Tls {
    Off,
    /// A new authority issues a certificate for these names.
    Names(Vec<String>),
    Certificate(Arc<Authority>, CertifiedKey),
}

impl Options {
    /// The names in the default certificate. `.test` is reserved (RFC 6761 §6.2), so that name
    /// never resolves to a real host.
    pub const DEFAULT_NAMES: [&'static str; 4] =
        ["api.pigello.test", "localhost", "127.0.0.1", "::1"];

    /// The path of the event log. The reference has no path for it: this one is by the pattern of the
    /// others.
    pub const EVENT_LOG: &'static str = "/common/eventlog/list/";

    /// The default.
    pub fn new() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Tls::Names(Self::DEFAULT_NAMES.map(str::to_owned).to_vec()),
            activations: vec![Activation::built_in()],
            latency: Duration::ZERO,
            event_log: Self::EVENT_LOG.to_owned(),
            webhooks: Vec::new(),
        }
    }

    /// Listens on this address; port 0 takes a free one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Speaks plain HTTP/1.1.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.tls = Tls::Off;
        self
    }

    /// Issues a certificate for these DNS names and IP addresses.
    #[must_use]
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tls = Tls::Names(names.into_iter().map(Into::into).collect());
        self
    }

    /// Presents this certificate, which may be expired or for another name.
    #[must_use]
    pub fn certificate(mut self, authority: Arc<Authority>, certificate: CertifiedKey) -> Self {
        self.tls = Tls::Certificate(authority, certificate);
        self
    }

    /// Serves the built-in activation alone, and accepts these credentials for it.
    #[must_use]
    pub fn accept(self, accepted: Accepted) -> Self {
        self.activations([Activation::new(Activation::BUILT_IN, accepted)])
    }

    /// Serves these activations, and the built-in one only if it is among them.
    #[must_use]
    pub fn activations(mut self, activations: impl IntoIterator<Item = Activation>) -> Self {
        self.activations = activations.into_iter().collect();
        self
    }

    /// Serves the event log at this path.
    #[must_use]
    pub fn event_log(mut self, path: impl Into<String>) -> Self {
        self.event_log = path.into();
        self
    }

    /// Posts the events of writes there. May be called several times.
    #[must_use]
    pub fn webhook(mut self, webhook: Webhook) -> Self {
        self.webhooks.push(webhook);
        self
    }

    /// Waits this long before every response.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
