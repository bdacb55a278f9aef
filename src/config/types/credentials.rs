//! `[credentials.…]` and `[vault]`: where the seven values come from.
//!
//! There is deliberately no key for a secret. A configuration may hold identifiers; of a secret it
//! only names the file or the vault.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Identifier;
use crate::{
    credentials::RefreshSettings,
    domain::{Origin, ProxyChoice, Span, Text},
    outbound::{ForwardProxySettings, RevocationPolicy, RevocationSettings},
};

/// Where one credential set comes from.
///
/// The seven values are one set. The six identifiers may be set here instead of in the source;
/// `client_secret` may not.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["source"]))]
pub struct Credentials {
    /// Where the values come from.
    #[schemars(required)]
    pub source: Option<SourceKind>,
    /// `X-PIGELLO-CUSTOMER-ID`: which customer of Pigello is called.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub customer_id: Option<String>,
    /// `X-PIGELLO-APPLICATION-ID`: the registered application.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub application_id: Option<String>,
    /// `X-PIGELLO-SERVICE-ID`: the service below the application.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub service_id: Option<String>,
    /// `X-PIGELLO-SERVICE-VERSION-ID`: the version of the service that the customer activated.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub service_version_id: Option<String>,
    /// `X-PIGELLO-CLIENT-CT`: the content type of the object the integration is activated on.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub client_ct: Option<String>,
    /// `X-PIGELLO-CLIENT-ENTITY`: the identifier of that object.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub client_object_id: Option<String>,
    /// With `source = "directory"`: the folder with one file for each value, named like the keys here.
    /// With `source = "vault"`: the path of the secret below its mount.
    pub path: Option<String>,
    /// With `source = "environment"`: the prefix of the variables. Default: `PIGELLO_`, as in
    /// `PIGELLO_CUSTOMER_ID`.
    pub prefix: Option<String>,
    /// With `source = "sealed"`: the encrypted store, made by `credentials init`.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub file: Option<PathBuf>,
    /// With `source = "sealed"`: the key that opens the store, a file that nobody else can read. With
    /// `keep`: the key of that file, made if it is not there.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub key_file: Option<PathBuf>,
    /// With `source = "vault"`: where the key-value engine is mounted. Default: `secret`.
    pub mount: Option<String>,
    /// With `source = "vault"`: the version of the key-value engine, 1 or 2. Default: 2.
    #[schemars(range(min = 1, max = 2))]
    pub kv_version: Option<u8>,
    /// With `source = "vault"` or `"directory"`: a file that keeps the last set, encrypted with the key in
    /// `key_file`, for a restart while the source cannot be read. The set is used for up to `max_stale`
    /// from when its source last confirmed it. Without it, nothing is kept.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub keep: Option<PathBuf>,
    /// How often the source is read again.
    pub refresh: Span,
    /// How long a set may be used after its source was last read. Without it, there is no limit.
    pub max_stale: Option<Span>,
    /// How long a set is still used after its source deleted it or forbade to read it; `0s` stops at
    /// once.
    pub withdrawal_grace: Span,
    /// How long calls are still sent while Pigello answers all of them with 401 and the source has no
    /// newer version. Then they get a 503.
    pub rejection_limit: Span,
    /// How long the previous version is kept after a rotation, from the first call that Pigello
    /// accepted with the new one.
    pub overlap: Span,
    /// When a new version is used. `proven` needs `[fleet]`.
    pub adopt: Adopt,
    /// With `adopt = "proven"`: the part of the gateways that try a new version, 0 to 1. At least one does.
    #[schemars(range(min = 0, max = 1))]
    pub canary: f64,
    /// With `adopt = "proven"`: how long a gateway waits for another one's word on a new version. If it has heard nothing
    /// by then, it uses it.
    pub adopt_after: Span,
}

/// When a new version of a credential set is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Adopt {
    /// As soon as it is read.
    #[default]
    AtOnce,
    /// As soon as Pigello has accepted a call with it, from a few gateways of the fleet that try it. A wrong secret is then
    /// tried by those alone, and no call fails because of it.
    Proven,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            source: None,
            customer_id: None,
            application_id: None,
            service_id: None,
            service_version_id: None,
            client_ct: None,
            client_object_id: None,
            path: None,
            prefix: None,
            file: None,
            key_file: None,
            keep: None,
            mount: None,
            kv_version: None,
            refresh: Span(RefreshSettings::INTERVAL),
            max_stale: None,
            withdrawal_grace: Span(RefreshSettings::WITHDRAWAL_GRACE),
            rejection_limit: Span(RefreshSettings::REJECTION_LIMIT),
            overlap: Span(RefreshSettings::OVERLAP),
            adopt: Adopt::default(),
            canary: 0.01,
            adopt_after: Span(Duration::from_mins(10)),
        }
    }
}

impl Credentials {
    /// Fills in the defaults that depend on the source.
    pub(super) fn derive_defaults(&mut self) {
        match self.source {
            Some(SourceKind::Environment) => {
                self.prefix.get_or_insert_with(|| "PIGELLO_".to_owned());
            }
            Some(SourceKind::Vault) => {
                self.mount.get_or_insert_with(|| "secret".to_owned());
                self.kv_version.get_or_insert(2);
            }
            Some(SourceKind::Sealed | SourceKind::Directory) | None => {}
        }
    }
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// HashiCorp Vault or OpenBao, see `[vault]`.
    Vault,
    /// The gateway's own encrypted file, in the age format.
    Sealed,
    /// A folder with one file for each value: a Kubernetes mount, systemd credentials, an agent's
    /// output.
    Directory,
    /// Environment variables. For development: a change needs a restart.
    Environment,
}

impl SourceKind {
    /// The word for it in a file.
    pub(in crate::config) const fn word(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Sealed => "sealed",
            Self::Directory => "directory",
            Self::Environment => "environment",
        }
    }
}

/// The vault.
///
/// Absent keys are taken from `VAULT_ADDR`, `VAULT_CACERT`, `VAULT_CLIENT_CERT`, `VAULT_CLIENT_KEY` and
/// `VAULT_NAMESPACE`, or from the same names with `BAO_`. `check` names the other variables of the vault's
/// tools that are set and not used.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// Scheme, host and port. `http://` is allowed only on a loopback address.
    pub address: Option<Origin>,
    /// Trust the roots in this PEM file instead of the platform's.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub ca_file: Option<PathBuf>,
    /// Revocation lists (RFC 5280) of the authorities of the vault's certificate, a PEM file with one list or
    /// several. A certificate in a list is refused. The file is read again when it changes.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub crl_file: Option<PathBuf>,
    /// What becomes of a certificate in the chain whose issuer has no list in `crl_file`, or only one whose
    /// `nextUpdate` has passed.
    pub crl_policy: RevocationPolicy,
    /// The forward proxy that leads to the vault, with the values of a profile's `proxy`.
    pub proxy: Option<ProxyChoice>,
    /// A file with the proxy's credentials, one line `user:password` or the value of `Proxy-Authorization`, which
    /// nobody else may read.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub proxy_authorization_file: Option<PathBuf>,
    /// Hosts, domains and networks that are called without the proxy, like `NO_PROXY`.
    pub no_proxy: Vec<String>,
    /// The namespace, if the vault has namespaces.
    pub namespace: Option<String>,
    /// A client certificate for the vault, a PEM file. The login of `auth.method = "cert"` uses it.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub certificate: Option<PathBuf>,
    /// The private key of that certificate, a PEM file.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub private_key: Option<PathBuf>,
    /// How the gateway logs in. Without it: the token in `VAULT_TOKEN` or `BAO_TOKEN`.
    pub auth: Option<VaultLogin>,
}

impl Vault {
    /// The forward proxy that leads to the vault.
    pub fn forward_proxy(&self) -> ForwardProxySettings {
        ForwardProxySettings {
            choice: self.proxy.clone(),
            credentials: self.proxy_authorization_file.clone(),
            excluded: self.no_proxy.clone(),
        }
    }

    /// The revocation lists for the vault's certificate.
    pub fn revocation(&self) -> Option<RevocationSettings> {
        let policy = self.crl_policy;
        self.crl_file.clone().map(|file| RevocationSettings { file, policy })
    }

    /// Fills in the defaults that depend on the login.
    pub(super) fn derive_defaults(&mut self) {
        if let Some(auth) = &mut self.auth
            && let Some(method) = auth.method
        {
            auth.mount.get_or_insert_with(|| method.word().to_owned());
            if method == VaultMethod::Kubernetes {
                auth.jwt_file.get_or_insert_with(|| SERVICE_ACCOUNT_TOKEN.into());
            }
        }
    }
}

/// Where Kubernetes mounts the token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How the gateway logs in to the vault.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "VaultAuth", extend("required" = ["method"]))]
pub struct VaultLogin {
    /// The auth method.
    #[schemars(required)]
    pub method: Option<VaultMethod>,
    /// Where the auth method is mounted. Default: the method's name.
    pub mount: Option<String>,
    /// The namespace of the login, if it is not that of the secret; `""` for the root namespace. Default:
    /// `vault.namespace`.
    pub namespace: Option<String>,
    /// With `method = "token"`: the file with the token. It is read again when it changes.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub token_file: Option<PathBuf>,
    /// With `method = "approle"`: the role id, which is an identifier.
    #[schemars(with = "Option<Text<Identifier>>")]
    pub role_id: Option<String>,
    /// With `method = "approle"`: the file with the secret id.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub secret_id_file: Option<PathBuf>,
    /// With `method = "approle"`: whether the file has a wrapping token instead, to be unwrapped once.
    pub secret_id_wrapped: Option<bool>,
    /// With `method = "kubernetes"`, `"jwt"` or `"cert"`: the role to log in as.
    pub role: Option<String>,
    /// With `method = "kubernetes"` or `"jwt"`: the file with the workload's token. Default for
    /// `kubernetes`: the token of the service account.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub jwt_file: Option<PathBuf>,
}

/// The auth methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VaultMethod {
    /// A token in a file.
    Token,
    /// A role id and a secret id.
    AppRole,
    /// The service account of a Kubernetes pod.
    Kubernetes,
    /// A client certificate.
    Cert,
    /// A JWT in a file, signed by an issuer that the vault trusts.
    Jwt,
}

impl VaultMethod {
    /// The word for it in a file.
    pub(in crate::config) const fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::AppRole => "approle",
            Self::Kubernetes => "kubernetes",
            Self::Cert => "cert",
            Self::Jwt => "jwt",
        }
    }
}
