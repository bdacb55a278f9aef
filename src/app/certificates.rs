//! Certificates, private keys and client CAs of all listeners, the one of metrics included, and revocation lists of upstreams.
//!
//! They are read with the configuration and again every few seconds. A reload keeps those of listeners whose
//! files are the same, so a listener never falls back to an older client CA.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures_util::{FutureExt as _, future::BoxFuture};

use crate::{
    config::{Settings, types::Listener},
    domain::{ListenerName, ProfileName},
    notices::Webhook,
    outbound::{RevocationError, RevocationVerifier},
    proxy::{
        client,
        server::{ServerTls, ServerTlsError, TlsFiles},
    },
};

/// What is read from files and checks certificates.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    listeners: BTreeMap<ListenerName, Arc<ServerTls>>,
    metrics: Option<Arc<ServerTls>>,
    webhook: Option<Arc<ServerTls>>,
    upstreams: BTreeMap<ProfileName, Arc<RevocationVerifier>>,
}

impl Certificates {
    /// Reads the files of these listeners. Entries of `kept` with the same files are kept and read
    /// again. Those of the upstreams have been read.
    pub(super) fn open(
        settings: &Settings,
        upstreams: &HashMap<ProfileName, client::Settings>,
        kept: Option<&Self>,
    ) -> Result<Self, CertificatesError> {
        let mut listeners = BTreeMap::new();
        for listener in &settings.listeners {
            let Some(tls) = &listener.tls else { continue };
            let kept = kept.and_then(|kept| kept.of(&listener.name));
            let tls = open(tls, kept)
                .map_err(|source| CertificatesError::of_listener(&listener.name, source))?;
            listeners.insert(listener.name.clone(), tls);
        }
        let metrics = settings.metrics.as_ref().and_then(|metrics| metrics.tls.as_ref());
        let metrics = metrics
            .map(|tls| open(tls, kept.and_then(Self::of_metrics)))
            .transpose()
            .map_err(CertificatesError::of_metrics)?;
        let webhook = settings.notices.webhook.as_ref().and_then(Webhook::tls);
        let webhook = webhook
            .map(|tls| open(&tls, kept.and_then(Self::of_webhook)))
            .transpose()
            .map_err(CertificatesError::of_webhook)?;
        let lists = upstreams
            .iter()
            .filter_map(|(name, upstream)| Some((name.clone(), upstream.revocation.clone()?)));
        Ok(Self { listeners, metrics, webhook, upstreams: lists.collect() })
    }

    /// The TLS configuration of one listener.
    pub(super) fn of(&self, listener: &ListenerName) -> Option<Arc<ServerTls>> {
        self.listeners.get(listener).cloned()
    }

    /// The TLS configuration of the metrics listener.
    pub(super) fn of_metrics(&self) -> Option<Arc<ServerTls>> {
        self.metrics.clone()
    }

    /// The TLS configuration of the listener for webhooks.
    pub(super) fn of_webhook(&self) -> Option<Arc<ServerTls>> {
        self.webhook.clone()
    }

    /// Rereads all files at intervals, each set on a task of its own.
    pub(super) fn watch(&self) -> Vec<BoxFuture<'static, ()>> {
        let listeners = self.listeners.values().chain(&self.metrics).chain(&self.webhook);
        let listeners = listeners.map(|tls| Arc::clone(tls).watch().boxed());
        let upstreams = self.upstreams.values().map(|lists| Arc::clone(lists).watch().boxed());
        listeners.chain(upstreams).collect()
    }

    /// Reads the files again. What invalid files would replace stays; the first such error is returned.
    pub(super) fn reread(&self) -> Result<(), CertificatesError> {
        let mut failed = None;
        for (listener, tls) in &self.listeners {
            if let Err(source) = tls.reload() {
                failed.get_or_insert(CertificatesError::of_listener(listener, source));
            }
        }
        if let Some(Err(source)) = self.metrics.as_ref().map(|tls| tls.reload()) {
            failed.get_or_insert(CertificatesError::of_metrics(source));
        }
        if let Some(Err(source)) = self.webhook.as_ref().map(|tls| tls.reload()) {
            failed.get_or_insert(CertificatesError::of_webhook(source));
        }
        for (profile, lists) in &self.upstreams {
            if let Err(source) = lists.reload() {
                let profile = profile.clone();
                failed.get_or_insert(CertificatesError::Upstream { profile, source });
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Files are invalid. What serves keeps the current ones.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The certificates of a listener.
    #[error("the certificates of listener `{listener}` cannot be used")]
    Listener {
        /// The listener.
        listener: ListenerName,
        /// The reason.
        #[source]
        source: Box<ServerTlsError>,
    },
    /// The certificates of the metrics listener.
    #[error("the certificates of the metrics listener cannot be used")]
    Metrics(#[source] Box<ServerTlsError>),
    /// The certificates of the listener for webhooks.
    #[error("the certificates of the listener for webhooks cannot be used")]
    Webhook(#[source] Box<ServerTlsError>),
    /// The revocation lists of a profile.
    #[error("the revocation lists of profile `{profile}` cannot be used")]
    Upstream {
        /// The profile.
        profile: ProfileName,
        /// The reason.
        #[source]
        source: RevocationError,
    },
}

impl CertificatesError {
    fn of_listener(listener: &ListenerName, source: ServerTlsError) -> Self {
        Self::Listener { listener: listener.clone(), source: Box::new(source) }
    }

    fn of_metrics(source: ServerTlsError) -> Self {
        Self::Metrics(Box::new(source))
    }

    fn of_webhook(source: ServerTlsError) -> Self {
        Self::Webhook(Box::new(source))
    }
}

/// Reads the files, or reads them again where they are the same as before.
fn open(files: &TlsFiles, kept: Option<Arc<ServerTls>>) -> Result<Arc<ServerTls>, ServerTlsError> {
    let Some(same) = kept.filter(|kept| kept.files() == files) else {
        return Ok(Arc::new(ServerTls::open(files.clone())?));
    };
    same.reload()?;
    Ok(same)
}

/// Without `client_ca`, a listener reachable from other machines serves everybody who reaches it.
pub(super) fn warn_if_anyone_can_call(listener: &Listener) {
    if !listener.address.is_local() && !listener.asks_for_certificates() {
        tracing::warn!(
            listener = %listener.name,
            address = %listener.address,
            "every machine that reaches this listener can call through it; [listeners.tls] with client_ca asks for certificates"
        );
    }
}
