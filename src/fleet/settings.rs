//! `[fleet]`: the store that the gateways of a fleet share.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Name, Span, StoreAddress, Text},
    outbound::ClientCertificate,
};

/// The fleet: gateways that hear of each other's changes over a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Fleet")]
pub struct Settings {
    /// Its name, which is part of every key and channel: fleets of one store never meet.
    #[schemars(with = "Text<Name>")]
    pub name: String,
    /// What this gateway is in it.
    #[serde(default)]
    pub role: Role,
    /// The name of this member, which is that of its audit trail, too. Default: `audit.instance`, or else the name of
    /// the host or the pod.
    pub instance: Option<String>,
    /// The file with the key that seals what members tell each other, which nobody else may read: 32 bytes in Base64,
    /// as `openssl rand -base64 32` makes them. All members have the same. While it is replaced, the old one stands on
    /// a second line.
    #[schemars(with = "Text<PathBuf>")]
    pub key_file: PathBuf,
    /// The store.
    #[serde(default)]
    pub store: StoreSettings,
}

/// What a gateway is in its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// One of many.
    #[default]
    Member,
    /// One of a few, which do for all members what need not be done by each.
    Hub,
}

impl Role {
    /// As the configuration has it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Hub => "hub",
        }
    }
}

/// The store: Valkey 8 or newer, or Redis 7 or newer; one primary, with or without replicas, and not a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Where it is: host and port, or `unix:` and the path of a socket. Or `sentinels` say where.
    pub address: Option<StoreAddress>,
    /// The sentinels, which say where the primary is.
    pub sentinels: Vec<StoreAddress>,
    /// What the sentinels call the store.
    pub service: Option<String>,
    /// The user name that the sentinels know, if they know any.
    pub sentinel_username: Option<String>,
    /// The file with the password for the sentinels, like `password_file`.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub sentinel_password_file: Option<PathBuf>,
    /// Whether connections over TCP use TLS, also those to sentinels. Without it a store must be on this machine.
    pub tls: bool,
    /// The number of the database.
    pub database: u16,
    /// The user name. Default: the store's user `default`.
    pub username: Option<String>,
    /// The file with the password, which nobody else may read. It is read for each connection, so a new password is
    /// used as soon as the old one is refused.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub password_file: Option<PathBuf>,
    /// Trust the roots in this PEM file instead of the platform's.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub ca_file: Option<PathBuf>,
    /// A client certificate for the store, a PEM file.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub certificate: Option<PathBuf>,
    /// The private key of that certificate, a PEM file.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub private_key: Option<PathBuf>,
    /// How long the answer to a write waits at most until the fleet is told. Then it goes out all the same.
    pub wait: Span,
    /// The longest pause between two attempts to connect. The first ones come sooner, each after a time of its own.
    pub reconnect: Span,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            address: None,
            sentinels: Vec::new(),
            service: None,
            sentinel_username: None,
            sentinel_password_file: None,
            tls: true,
            database: 0,
            username: None,
            password_file: None,
            ca_file: None,
            certificate: None,
            private_key: None,
            wait: Span::from_millis(30),
            reconnect: Span::from_secs(30),
        }
    }
}

impl StoreSettings {
    /// Every address that it names.
    pub fn addresses(&self) -> impl Iterator<Item = &StoreAddress> {
        self.address.iter().chain(&self.sentinels)
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        self.tls && self.addresses().any(|address| matches!(address, StoreAddress::Tcp { .. }))
    }

    /// The client certificate.
    pub(super) fn client_certificate(&self) -> Option<ClientCertificate> {
        let (certificate, private_key) = self.certificate.clone().zip(self.private_key.clone())?;
        Some(ClientCertificate { certificate, private_key })
    }
}

/// The name of something of a fleet, such as its stream and its channel. Channels know no databases, and the braces
/// keep all keys of a fleet together.
pub(super) fn key_of(fleet: &str, what: &str) -> String {
    format!("pgw:{{{fleet}}}:{what}")
}
