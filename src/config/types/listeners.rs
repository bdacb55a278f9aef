//! `[[listeners]]`, `[admin]`, `[metrics]` and `[profiles.…]`: the gateway's sockets, and where calls go.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Access, access};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::HostName;
use crate::{
    domain::{
        Address, CredentialsName, ListenerName, Name, Origin, ProfileName, ProxyChoice, Span, Text,
    },
    fleet::{BudgetSettings, KeySource},
    outbound::{ForwardProxySettings, RevocationPolicy, RevocationSettings},
    proxy::{client::HttpVersions, server::TlsFiles},
};

/// A socket that callers use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in the audit trail and in metrics.
    pub name: ListenerName,
    /// The address: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/gateway.sock`. Port 0 takes a free
    /// port. A relative path of a socket is relative to this file.
    pub address: Address,
    /// The profile that its calls go to. Without it, the caller's entry, the host or the field
    /// `Pigello-Gateway-Profile` of each request names one.
    pub profile: Option<ProfileName>,
    /// The name of every caller on this socket, if only one application can reach it.
    #[schemars(with = "Option<Text<Name>>")]
    pub caller: Option<Arc<str>>,
    /// Accepted values of `Host`, in addition to loopback names and the listener's own address. A final
    /// dot makes no difference. A Unix socket accepts any value, because no browser and no DNS leads to
    /// it. In a name, `{profile}` stands for the name of a profile: `{profile}.pigello.internal`.
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
    /// The address: `unix:/path`, or a loopback TCP address. Default: `admin.sock` in
    /// `/run/pigello-gateway` if this user may write there, else in `pigello-gateway` of
    /// `$XDG_RUNTIME_DIR` if that is a folder, else in `audit.directory`; a socket that is there already comes
    /// first. The Unix socket has mode 0600, and whoever may open it may do everything. On TCP, what is not
    /// health, metrics or the texts of errors needs a token.
    pub address: Option<Address>,
    /// Gives the Unix socket to this group, by name or number, with mode 0660: its members may do everything
    /// too. They must be able to enter the socket's folder.
    pub socket_group: Option<String>,
    /// A file of tokens, one a line: `read TOKEN` (the state and the page) or `operate TOKEN` (purge, refresh
    /// and verify as well). A token has at least 32 characters. The file has mode 0600 and is no link, or it
    /// is a Secret that Kubernetes mounts with `defaultMode: 0440`. It is read at the start and at each reload.
    /// Programs send `Authorization: Bearer TOKEN`.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub token_file: Option<PathBuf>,
    /// Connections at the same time, which are no part of `limits.connections`. Over it, the oldest one
    /// is closed for a new one.
    #[schemars(with = "u32", range(min = 1))]
    pub connections: usize,
}

impl Default for Admin {
    fn default() -> Self {
        let (address, socket_group, token_file) = (None, None, None);
        Self { enabled: true, address, socket_group, token_file, connections: 64 }
    }
}

impl Admin {
    /// Fills in the address, from `$XDG_RUNTIME_DIR` and the folder of the audit trail.
    pub(in crate::config) fn derive_address(&mut self, runtime: Option<&Path>, audit: &Path) {
        self.address.get_or_insert_with(|| Address::Unix(usual_socket(runtime, audit)));
    }
}

/// The socket in the folder that systemd makes for a service, in one of the user's session, or beside the
/// trail, whose folder every gateway has: the first that is there and that this user may open, so that commands
/// find a gateway; else the first whose folder can be used.
fn usual_socket(runtime: Option<&Path>, audit: &Path) -> PathBuf {
    const SERVICE: &str = "/run/pigello-gateway";
    let runtime = runtime.filter(|folder| folder.is_absolute() && folder.is_dir());
    let of_service = Path::new(SERVICE).join(SOCKET);
    let of_session = runtime.map(|folder| folder.join("pigello-gateway").join(SOCKET));
    let of_trail = std::path::absolute(audit).unwrap_or_else(|_| audit.to_owned()).join(SOCKET);

    let all = [Some(&of_service), of_session.as_ref(), Some(&of_trail)];
    let there = all.into_iter().flatten().find(|path| access(*path, Access::WRITE_OK).is_ok());
    if let Some(path) = there {
        return path.clone();
    }
    if access(SERVICE, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return of_service;
    }
    of_session.unwrap_or(of_trail)
}

/// The name of the admin socket.
const SOCKET: &str = "admin.sock";

/// The socket of scrapers and probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// The address. It serves `/metrics`, `/livez` and `/readyz`, and nothing else, so other machines may
    /// reach it: `0.0.0.0:9902`. Without it there is no such socket; the admin socket serves the same.
    pub address: Option<Address>,
    /// Connections at the same time, which are no part of `limits.connections`. Over it, the oldest one
    /// is closed for a new one.
    #[schemars(with = "u32", range(min = 1))]
    pub connections: usize,
    /// TLS for scrapers and probes. With `client_ca` each of them needs a certificate; the kubelet has none to
    /// show, so its probes then have to run `health` in the container.
    pub tls: Option<TlsFiles>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { address: None, connections: 64, tls: None }
    }
}

/// An upstream and the credentials for it.
///
/// A table whose name ends in `*`, like `[profiles."customer-*"]`, is a template: each name that begins like this is
/// a profile, its member, with credentials of its own. `{profile}` stands for its name in `path` and `keep` of
/// `[credentials.…]`; a sealed store has a set with its name. A member is loaded at its first call.
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
    /// Revocation lists (RFC 5280) of the authorities of the upstream's certificate, a PEM file with one list
    /// or several. A certificate in a list is refused. The file is read again when it changes.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub crl_file: Option<PathBuf>,
    /// What becomes of a certificate in the chain whose issuer has no list in `crl_file`, or only one whose
    /// `nextUpdate` has passed.
    #[serde(default)]
    pub crl_policy: RevocationPolicy,
    /// Dial this `IP:port`. The TLS name and `Host` remain those of the upstream.
    #[schemars(with = "Option<Text<SocketAddr>>")]
    pub connect_to: Option<SocketAddr>,
    /// The forward proxy that leads to the upstream (CONNECT): `http://proxy.internal:3128` or `https://…`, or
    /// `environment` for what `HTTPS_PROXY` and `NO_PROXY` say (never for this machine itself). TLS goes through it from end to end. Which
    /// addresses the upstream's name may have is then for the proxy to decide.
    pub proxy: Option<ProxyChoice>,
    /// A file with the proxy's credentials, one line `user:password` or the value of `Proxy-Authorization`, which
    /// nobody else may read.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub proxy_authorization_file: Option<PathBuf>,
    /// Hosts, domains and networks that are called without the proxy, like `NO_PROXY`.
    #[serde(default)]
    pub no_proxy: Vec<String>,
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
    /// The key of its responses in the shared cache (`[cache.shared]`). Members of the fleet that may have the credentials
    /// may have it, and nobody else. In a template, `{profile}` stands in `path`.
    pub cache_key: Option<KeySource>,
    /// Of a template: how long a member stays loaded without calls. Default: `1h`.
    pub unload_after: Option<Span>,
    /// Of a template: how many members are loaded at most. Beyond it, the one that was used least lately is
    /// unloaded. Default: 10000.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub max_members: Option<u64>,
    /// Of a template: how long it is remembered that its source does not have a name. Default: `30s`.
    pub negative_ttl: Option<Span>,
    /// The calls of all gateways together.
    pub budget: Option<BudgetSettings>,
}

/// The table that a profile is made of: its own, or that of the most specific template that matches its name.
pub fn table_of<'a>(
    tables: &'a BTreeMap<ProfileName, Profile>,
    name: &ProfileName,
) -> Option<(&'a ProfileName, &'a Profile)> {
    if name.template().is_some() {
        return None;
    }
    let templates = tables.iter().filter_map(|(table, profile)| {
        let pattern = table.template().filter(|pattern| pattern.matches(name))?;
        Some((pattern.specificity(), (table, profile)))
    });
    let by_template = || templates.max_by_key(|(fixed, _)| *fixed).map(|(_, found)| found);
    let by_template = || by_template().filter(|_| name.is_nameable());
    tables.get_key_value(name).or_else(by_template)
}

impl Profile {
    /// The forward proxy that leads to the upstream.
    pub fn forward_proxy(&self) -> ForwardProxySettings {
        ForwardProxySettings {
            choice: self.proxy.clone(),
            credentials: self.proxy_authorization_file.clone(),
            excluded: self.no_proxy.clone(),
        }
    }

    /// The revocation lists for the upstream's certificate.
    pub fn revocation(&self) -> Option<RevocationSettings> {
        let policy = self.crl_policy;
        self.crl_file.clone().map(|file| RevocationSettings { file, policy })
    }
}
