//! `[[listeners]]`, `[admin]` and `[profiles.…]`: the gateway's sockets, and where calls go.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::HostName;
use crate::{
    domain::{Address, CredentialsName, ListenerName, Name, Origin, ProfileName, Text},
    proxy::{client::HttpVersions, server::TlsFiles},
};

/// A socket that callers use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in the audit trail and in metrics.
    pub name: ListenerName,
    /// The address: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/gateway.sock`. Port 0 takes a free
    /// port.
    pub address: Address,
    /// The profile that its calls go to.
    pub profile: ProfileName,
    /// The name of every caller on this socket, if only one application can reach it.
    #[schemars(with = "Option<Text<Name>>")]
    pub caller: Option<Arc<str>>,
    /// Accepted values of `Host`, in addition to loopback names and the listener's own address. A final
    /// dot makes no difference. A Unix socket accepts any value, because no browser and no DNS leads to
    /// it.
    #[serde(default)]
    #[schemars(with = "Vec<Text<HostName>>")]
    pub allowed_hosts: Vec<String>,
    /// Allows a TCP address that other machines can reach without client certificates.
    #[serde(default)]
    pub allow_remote: bool,
    /// Its part of `limits.connections`. Default: an equal part of what the other listeners leave.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub connections: Option<usize>,
    /// TLS for callers; with `client_ca`, mutual TLS.
    pub tls: Option<TlsFiles>,
}

impl Listener {
    /// Whether every caller must show a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Whether a caller's certificate is looked up in revocation lists.
    pub fn checks_revocation(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.client_crl.is_empty())
    }
}

/// The admin socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether there is an admin socket.
    pub enabled: bool,
    /// The address: a loopback TCP address or `unix:/path`. The socket asks for no credentials, so
    /// other machines can never reach it.
    pub address: Address,
    /// Connections at the same time, which are no part of `limits.connections`. Over it, the oldest one
    /// is closed for a new one.
    #[schemars(with = "u32", range(min = 1))]
    pub connections: usize,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9901));
        Self { enabled: true, address: Address::Tcp(address), connections: 64 }
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
    /// Dial this `IP:port`. The TLS name and `Host` remain those of the upstream.
    #[schemars(with = "Option<Text<SocketAddr>>")]
    pub connect_to: Option<SocketAddr>,
    /// The source address of connections to the upstream, one of this machine's. Pigello can be told the
    /// source addresses of an integration.
    #[schemars(with = "Option<Text<IpAddr>>")]
    pub local_address: Option<IpAddr>,
    /// The versions of HTTP towards the upstream.
    #[serde(default)]
    pub http: HttpVersions,
    /// Allows the upstream's name to resolve to a private address (`10.0.0.0/8`, `fc00::/7` and so
    /// on). Link-local addresses and metadata services are always refused.
    #[serde(default)]
    pub allow_private: bool,
    /// Allows an `http://` upstream on a loopback address: the secret is not encrypted.
    #[serde(default)]
    pub insecure_http: bool,
}
