//! `[notices]`: where notices of changes in Pigello come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Address, Network, Span, Text},
    proxy::server::TlsFiles,
};

/// Notices of changes in Pigello, by which the cache drops what has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Notices")]
pub struct Settings {
    /// Whether each profile's event log is read. A rule's `coherent_ttl` rests on it alone. In a fleet one of the
    /// gateways that read logs reads it for all.
    pub event_log: EventLogChoice,
    /// The path of the event log's list. `check --online` tries it.
    pub path: String,
    /// The time from one reading of the event log to the next.
    pub interval: Span,
    /// How far each reading goes back behind the one before, for events that become visible late. An event
    /// that takes longer is missed.
    pub overlap: Span,
    /// When an object is dropped a second time, because a notice can be faster than the copy of Pigello's
    /// database that answers reads.
    pub settle: Span,
    /// Webhooks of Pigello. They make the cache faster than `interval`.
    pub webhook: Option<Webhook>,
}

/// Whether the event log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventLogChoice {
    /// It is not read.
    #[default]
    Off,
    /// It is read at intervals.
    Poll,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            event_log: EventLogChoice::Off,
            path: "/common/eventlog/list/".to_owned(),
            interval: Span::from_secs(5),
            overlap: Span::from_secs(120),
            settle: Span::from_secs(2),
            webhook: None,
        }
    }
}

/// A listener for webhooks of Pigello. Nothing else is served there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address: `0.0.0.0:8444`. One that other machines reach needs `certificate` and `private_key`.
    pub listener: Address,
    /// The certificate chain, a PEM file.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub certificate: Option<PathBuf>,
    /// Its private key, a PEM file.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub private_key: Option<PathBuf>,
    /// A file with a token a line: of mode 0600 and no link, or a Secret that Kubernetes mounts with
    /// `defaultMode: 0440`. A webhook's path is `/hooks/TOKEN`. A profile's name after a token limits it to
    /// that profile. While a token is being replaced, both stand there. The file is read again when it
    /// changes.
    #[schemars(with = "Text<PathBuf>")]
    pub tokens_file: PathBuf,
    /// The networks that webhooks may come from; all if there is none.
    #[serde(default)]
    pub allow_from: Vec<Network>,
    /// The webhooks a second that are taken. Any more are answered with 429, and Pigello sends them again.
    #[serde(default = "default_rate")]
    #[schemars(range(min = 1))]
    pub rate: u32,
}

impl Webhook {
    /// The files of the listener's TLS.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (certificate, private_key) = self.certificate.clone().zip(self.private_key.clone())?;
        Some(TlsFiles { certificate, private_key, client_ca: None, client_crl: Vec::new() })
    }
}

fn default_rate() -> u32 {
    50
}
