//! The certificates, keys and client authorities of all listeners.
//!
//! They are read with the configuration and again every few seconds; a reload keeps those whose files
//! are the same, so what callers are asked for never falls back to something older.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{Settings, types::Listener},
    domain::ListenerName,
    pipeline::listener::{ServerTls, ServerTlsError},
};

/// What each listener that speaks TLS speaks it with.
#[derive(Clone, Debug)]
pub(super) struct Certificates(BTreeMap<ListenerName, Arc<ServerTls>>);

impl Certificates {
    /// Reads the files of these listeners. Those that `kept` has stay the same, read again.
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

    /// Those of one listener.
    pub(super) fn of(&self, listener: &ListenerName) -> Option<Arc<ServerTls>> {
        self.0.get(listener).cloned()
    }

    /// Those of every listener that has some.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ServerTls>> {
        self.0.values()
    }

    /// Reads the files again. A listener whose files cannot be used goes on with what it has; the
    /// first of those is the error.
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

/// A listener's certificates cannot be used. One that serves goes on with those it has.
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

/// A listener beyond this machine that asks for no certificate serves whoever reaches it.
pub(super) fn warn_if_anyone_can_call(listener: &Listener) {
    if !listener.address.is_local() && !listener.asks_for_certificates() {
        tracing::warn!(
            listener = %listener.name,
            address = %listener.address,
            "every machine that reaches this listener can call through it; [listeners.tls] with client_ca asks for certificates"
        );
    }
}
