//! Certificates, private keys and client CAs of all listeners, and revocation lists of upstreams.
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
    outbound::{RevocationError, RevocationVerifier},
    proxy::{
        client,
        server::{ServerTls, ServerTlsError},
    },
};

/// What is read from files and checks certificates.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    listeners: BTreeMap<ListenerName, Arc<ServerTls>>,
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
            let failed = |source| CertificatesError::of_listener(&listener.name, source);
            let same =
                kept.and_then(|kept| kept.of(&listener.name)).filter(|kept| kept.files() == tls);
            let tls = match same {
                Some(tls) => {
                    tls.reload().map_err(failed)?;
                    tls
                }
                None => Arc::new(ServerTls::open(tls.clone()).map_err(failed)?),
            };
            listeners.insert(listener.name.clone(), tls);
        }
        let lists = upstreams
            .iter()
            .filter_map(|(name, upstream)| Some((name.clone(), upstream.revocation.clone()?)));
        Ok(Self { listeners, upstreams: lists.collect() })
    }

    /// The TLS configuration of one listener.
    pub(super) fn of(&self, listener: &ListenerName) -> Option<Arc<ServerTls>> {
        self.listeners.get(listener).cloned()
    }

    /// Rereads all files at intervals, each set on a task of its own.
    pub(super) fn watch(&self) -> Vec<BoxFuture<'static, ()>> {
        let listeners = self.listeners.values().map(|tls| Arc::clone(tls).watch().boxed());
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
