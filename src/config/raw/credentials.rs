//! `[credentials.…]` and `[vault]` as written.
//!
//! There is no key for a secret, on purpose: identifiers may stand in a configuration, and every
//! secret is named by the file or the vault it lives in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FilePath, Identifier, Written};
use crate::{
    credentials::RefreshSettings,
    domain::{Origin, Span},
};

/// Where one credential set comes from.
///
/// The seven values are one set. The six identifiers may stand here, which spares the source from
/// holding them; `client_secret` never may.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["source"]))]
pub struct Credentials {
    /// Where the values come from.
    #[schemars(required)]
    pub source: Option<SourceKind>,
    /// `X-PIGELLO-CUSTOMER-ID`: which customer of Pigello is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<Identifier>,
    /// `X-PIGELLO-APPLICATION-ID`: the registered application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_id: Option<Identifier>,
    /// `X-PIGELLO-SERVICE-ID`: the service below the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_id: Option<Identifier>,
    /// `X-PIGELLO-SERVICE-VERSION-ID`: the version of the service that the customer activated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_version_id: Option<Identifier>,
    /// `X-PIGELLO-CLIENT-CT`: the content type of the object the integration is activated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ct: Option<Identifier>,
    /// `X-PIGELLO-CLIENT-ENTITY`: the identifier of that object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_object_id: Option<Identifier>,
    /// With `source = "directory"`: the folder with one file a value, named like the keys here.
    /// With `source = "vault"`: the path of the secret below its mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// With `source = "environment"`: what stands before the values' names in upper case. Default:
    /// `PIGELLO_`, as in `PIGELLO_CUSTOMER_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// With `source = "sealed"`: the encrypted store, as `credentials init` made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// With `source = "sealed"`: the key that opens the store, a file that nobody else can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<FilePath>,
    /// With `source = "vault"`: where the key-value engine is mounted. Default: `secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// With `source = "vault"`: the version of the key-value engine, 1 or 2. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2))]
    pub kv_version: Option<u8>,
    /// How often the source is read again.
    pub refresh: Written<Span>,
    /// How long a set may be used after its source was last read. Without it: for as long as the
    /// source cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<Written<Span>>,
    /// How long a set is used on after it was deleted at its source, or reading it was forbidden
    /// there; `0s` is not at all.
    pub withdrawal_grace: Written<Span>,
    /// How long calls are still sent while Pigello answers every one of them with 401 and the source
    /// has nothing newer. After it they get a 503.
    pub rejection_limit: Written<Span>,
    /// How long the version before is kept after a rotation, from the first call that Pigello took
    /// with the new one.
    pub overlap: Written<Span>,
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
            mount: None,
            kv_version: None,
            refresh: Written(Span(RefreshSettings::INTERVAL)),
            max_stale: None,
            withdrawal_grace: Written(Span(RefreshSettings::WITHDRAWAL_GRACE)),
            rejection_limit: Written(Span(RefreshSettings::REJECTION_LIMIT)),
            overlap: Written(Span(RefreshSettings::OVERLAP)),
        }
    }
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// HashiCorp Vault or OpenBao, see `[vault]`.
    Vault,
    /// An encrypted file of the gateway's own, in the age format.
    Sealed,
    /// A folder with one file a value: a Kubernetes mount, systemd credentials, an agent's output.
    Directory,
    /// Environment variables. For development: they stay as they were at start.
    Environment,
}

/// The vault.
///
/// What is absent is taken from `VAULT_ADDR`, `VAULT_CACERT` and `VAULT_NAMESPACE`, or their `BAO_`
/// twins.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vault {
    /// Scheme, host and port. `http://` only to a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Written<Origin>>,
    /// Trust the roots in this PEM file instead of the platform's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<FilePath>,
    /// The namespace, where the vault has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A client certificate for the vault, a PEM file. With `auth.method = "cert"` it is the login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<FilePath>,
    /// The private key of that certificate, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<FilePath>,
    /// How the gateway logs in. Without it: the token in `VAULT_TOKEN` or `BAO_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
}

/// How the gateway logs in to the vault.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["method"]))]
pub struct VaultAuth {
    /// The auth method.
    #[schemars(required)]
    pub method: Option<VaultMethod>,
    /// Where the auth method is mounted. Default: the method's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// With `method = "token"`: the file that holds the token, read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<FilePath>,
    /// With `method = "approle"`: the role id, which is an identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_id: Option<Identifier>,
    /// With `method = "approle"`: the file that holds the secret id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id_file: Option<FilePath>,
    /// With `method = "approle"`: the file holds a wrapping token instead, which is unwrapped once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_id_wrapped: Option<bool>,
    /// With `method = "kubernetes"`, `"jwt"` or `"cert"`: the role to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// With `method = "kubernetes"` or `"jwt"`: the file that holds the token of the workload.
    /// Default for `kubernetes`: the service account's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_file: Option<FilePath>,
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
