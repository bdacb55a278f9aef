//! Certificates, private keys and client CAs of all listeners.
//!
//! They are read with the configuration and again every few seconds. A reload keeps those whose
//! files are the same, so a listener never falls back to an older client CA.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{Settings, types::Listener},
    domain::ListenerName,
    proxy::server::{ServerTls, ServerTlsError},
};

/// The TLS configurations of listeners, by name.
#[derive(Clone, Debug)]
pub(super) struct Certificates(BTreeMap<ListenerName, Arc<ServerTls>>);

impl Certificates {
    /// Reads the files of these listeners. Entries of `kept` with the same files are kept and read
    /// again.
    pub(super) fn open(
        settings: &Settings,
        kept: Option<&Self>,
    ) -> Result<Self, CertificatesError> {
        let mut all = BTreeMap::new();
        for listener in &settings.listeners {
            let Some(tls) = &listener.tls else { continue };
            let failed = |source| CertificatesError::new(&listener.name, source);
            let same =
                kept.and_then(|kept| kept.of(&listener.name)).filter(|kept| kept.files() == tls);
            let tls = match same {
                Some(tls) => {
                    tls.reload().map_err(failed)?;
                    tls
                }
                None => Arc::new(ServerTls::open(tls.clone()).map_err(failed)?),
            };
            all.insert(listener.name.clone(), tls);
        }
        Ok(Self(all))
    }

    /// The TLS configuration of one listener.
    pub(super) fn of(&self, listener: &ListenerName) -> Option<Arc<ServerTls>> {
        self.0.get(listener).cloned()
    }

    /// The TLS configurations of all listeners that have one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ServerTls>> {
        self.0.values()
    }

    /// Reads the files again. A listener whose files are invalid keeps its current certificate; the
    /// first such error is returned.
    pub(super) fn reread(&self) -> Result<(), CertificatesError> {
        let mut failed = None;
        for (listener, tls) in &self.0 {
            if let Err(source) = tls.reload() {
                failed.get_or_insert(CertificatesError::new(listener, source));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A listener's certificates are invalid. A listener that serves keeps its current ones.
#[derive(Debug, thiserror::Error)]
#[error("the certificates of listener `{listener}` cannot be used")]
pub struct CertificatesError {
    listener: ListenerName,
    #[source]
    pub(super) source: Box<ServerTlsError>,
}

impl CertificatesError {
    fn new(listener: &ListenerName, source: ServerTlsError) -> Self {
        Self { listener: listener.clone(), source: Box::new(source) }
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
