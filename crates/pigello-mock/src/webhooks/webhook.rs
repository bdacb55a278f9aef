//! A webhook as it is asked for: where to, for which activation, and how it misbehaves.

use std::{sync::Arc, time::Duration};

use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};

/// A URL that gets the events of writes. The default: of all activations, without faults, repeated
/// after [`FIRST_RETRY`](Self::FIRST_RETRY) up to [`LONGEST_RETRY`](Self::LONGEST_RETRY).
#[derive(Clone, Debug)]
pub struct Webhook {
    pub(super) url: Uri,
    /// For `https`.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) activation: Option<Arc<str>>,
    pub(super) faults: WebhookFaults,
    pub(super) first_retry: Duration,
    pub(super) longest_retry: Duration,
    pub(super) timeout: Duration,
}

impl Webhook {
    /// How long after the first failed attempt the second is made.
    pub const FIRST_RETRY: Duration = Duration::from_secs(1);
    /// The longest time between two attempts.
    pub const LONGEST_RETRY: Duration = Duration::from_mins(1);
    /// How long an attempt may take. Customers of Pigello choose 10 to 60 seconds.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A webhook to an `http://` or `https://` URL. `ca_pem` has the certificates of the authorities
    /// to trust; `https` needs at least one.
    pub fn new(url: &str, ca_pem: Option<&str>) -> Result<Self, WebhookError> {
        let url: Uri = url.parse().map_err(|_| WebhookError::Url)?;
        if url.host().is_none_or(str::is_empty) {
            return Err(WebhookError::Url);
        }
        let tls = match url.scheme_str() {
            Some("http") => None,
            Some("https") => Some(Arc::new(client_config(ca_pem.unwrap_or_default())?)),
            _ => return Err(WebhookError::Url),
        };
        Ok(Self {
            url,
            tls,
            activation: None,
            faults: WebhookFaults::default(),
            first_retry: Self::FIRST_RETRY,
            longest_retry: Self::LONGEST_RETRY,
            timeout: Self::TIMEOUT,
        })
    }

    /// Only for events of this activation.
    #[must_use]
    pub fn activation(mut self, name: impl Into<Arc<str>>) -> Self {
        self.activation = Some(name.into());
        self
    }

    /// Misbehaves like this from the start.
    #[must_use]
    pub fn faults(mut self, faults: WebhookFaults) -> Self {
        self.faults = faults;
        self
    }

    /// Repeats a delivery after `first`, then after twice that and so on, up to `longest`.
    #[must_use]
    pub fn retry(mut self, first: Duration, longest: Duration) -> Self {
        self.first_retry = first;
        self.longest_retry = longest;
        self
    }

    /// Gives an attempt this long, from the connection to the head of the answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

fn client_config(ca_pem: &str) -> Result<ClientConfig, WebhookError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| WebhookError::Authority)?;
        roots.add(certificate).map_err(|_| WebhookError::Authority)?;
    }
    if roots.is_empty() {
        return Err(WebhookError::Authority);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(WebhookError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// How a webhook misbehaves. The default: not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookFaults {
    /// Decides which deliveries are meant; with the same seed it is the same ones each time.
    pub seed: u64,
    /// The share of deliveries, from 0 to 1, that are never made.
    pub lose: f64,
    /// The share that are made twice.
    pub double: f64,
    /// The share that are made after the one that follows, or a second later if none does.
    pub reorder: f64,
    /// Each is made up to this much later, by a part of it that the seed decides.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub delay: Duration,
}

/// Why a webhook cannot be.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The URL.
    #[error("a webhook wants a URL such as http://127.0.0.1:8444/hooks/made-up-token")]
    Url,
    /// The certificates of the authorities.
    #[error("a webhook to an https URL wants the certificates to trust, as PEM")]
    Authority,
    /// rustls rejects its own defaults.
    #[error("no TLS for a webhook")]
    Tls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_url_is_complete_and_https_wants_an_authority() {
        let authority = Authority::new("test").unwrap();
        assert!(Webhook::new("http://127.0.0.1:1/hooks/x", None).is_ok());
        assert!(Webhook::new("https://[::1]:1/hooks/x", Some(authority.pem())).is_ok());
        for url in ["", "/hooks/x", "127.0.0.1:1", "ftp://127.0.0.1/", "http:///x", "http://a b/"] {
            assert!(matches!(Webhook::new(url, None), Err(WebhookError::Url)), "{url}");
        }
        for ca in [None, Some(""), Some("nonsense"), Some("-----BEGIN CERTIFICATE-----")] {
            let error = Webhook::new("https://127.0.0.1/", ca).unwrap_err();
            assert!(matches!(error, WebhookError::Authority), "{ca:?}");
        }
    }
}
