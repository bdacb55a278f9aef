//! `[[listeners]]`, `[admin]` and `[profiles.…]`: the gateway's sockets, and where calls go.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::HostName;
use crate::{
    domain::{Address, CredentialsName, ListenerName, Name, Origin, ProfileName, Text},
    proxy::server::TlsFiles,
};

/// A socket that callers use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in the audit trail and in metrics.
    pub name: ListenerName,
    /// Where it listens: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/gateway.sock`. Port 0 takes a
    /// free port.
    pub address: Address,
    /// The profile that its calls go to.
    pub profile: ProfileName,
    /// Names everyone who can reach this socket, for a socket that only one application can reach.
    #[schemars(with = "Option<Text<Name>>")]
    pub caller: Option<Arc<str>>,
    /// Values of `Host` that are served besides loopback names and the listener's own address.
    #[serde(default)]
    #[schemars(with = "Vec<Text<HostName>>")]
    pub allowed_hosts: Vec<String>,
    /// Allows a TCP address that other machines can reach without client certificates.
    #[serde(default)]
    pub allow_remote: bool,
    /// TLS for callers; with `client_ca`, mutual TLS.
    pub tls: Option<TlsFiles>,
}

impl Listener {
    /// Whether every caller must show a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }
}

/// The admin socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens: a loopback TCP address or `unix:/path`. It asks for no credentials, so it
    /// is never reachable from other machines.
    pub address: Address,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9901));
        Self { enabled: true, address: Address::Tcp(address) }
    }
}

/// An upstream and the credentials for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Scheme, host and port of the upstream: `https://api.pigello.io`.
    pub upstream: Origin,
    /// The credential set for it, a name under `[credentials]`.
    pub credentials: CredentialsName,
    /// Trust the roots in this PEM file instead of the platform's.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub ca_file: Option<PathBuf>,
    /// Dial this `IP:port`. The name that TLS verifies and `Host` stay the upstream's.
    #[schemars(with = "Option<Text<SocketAddr>>")]
    pub connect_to: Option<SocketAddr>,
    /// Allows that the upstream's name leads to a private address (`10.0.0.0/8`, `fc00::/7` and so on).
    /// Link-local addresses and metadata services are refused in any case.
    #[serde(default)]
    pub allow_private: bool,
    /// Allows an `http://` upstream, which must be a loopback address: the secret travels in clear.
    #[serde(default)]
    pub insecure_http: bool,
}
