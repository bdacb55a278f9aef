//! Where the seven values come from, and how the vault is reached. No secret is among it.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    credentials::ValueName,
    domain::{CredentialsName, Origin},
};

/// A credential set.
#[derive(Clone, Debug)]
pub struct CredentialsSettings {
    /// Its name.
    pub name: CredentialsName,
    /// Identifiers that the configuration itself gives, over those of the source. Never the secret.
    pub fixed: FixedValues,
    /// Where the rest comes from.
    pub source: SourceSettings,
    /// How often the source is read again.
    pub refresh: Duration,
    /// How long a set may be used after its source was last read; `None` is without end.
    pub max_stale: Option<Duration>,
    /// How long a set is used after it was taken away at its source.
    pub withdrawal_grace: Duration,
    /// How long calls are sent on that Pigello answers with 401.
    pub rejection_limit: Duration,
    /// How long the version before is kept after a rotation.
    pub overlap: Duration,
}

/// Identifiers that stand in the configuration. Each is exactly one header value.
#[derive(Clone, Default)]
pub struct FixedValues(pub Vec<(ValueName, String)>);

impl fmt::Debug for FixedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name.key())).finish()
    }
}

/// Where a credential set comes from.
#[derive(Clone, Debug)]
pub enum SourceSettings {
    /// One file a value.
    Directory {
        /// The folder.
        path: PathBuf,
    },
    /// Environment variables.
    Environment {
        /// What stands before the value's name in upper case.
        prefix: String,
    },
    /// The sealed store.
    Sealed {
        /// The encrypted file.
        file: PathBuf,
        /// The key.
        key_file: PathBuf,
    },
    /// The vault.
    Vault {
        /// Where the key-value engine is mounted.
        mount: String,
        /// The secret's path below it.
        path: String,
        /// 1 or 2.
        kv_version: u8,
    },
}

/// The vault. What is `None` is for the environment to say (`VAULT_ADDR` and its kin).
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Scheme, host and port.
    pub address: Option<Origin>,
    /// Roots to trust instead of the platform's, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The client certificate and its key, PEM files.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How to log in.
    pub auth: Option<VaultAuth>,
}

/// A login.
#[derive(Clone, Debug)]
pub struct VaultAuth {
    /// Where the auth method is mounted.
    pub mount: String,
    /// The method.
    pub method: VaultLogin,
}

/// How to log in to the vault.
#[derive(Clone)]
pub enum VaultLogin {
    /// With a token.
    Token {
        /// The file that holds it.
        file: PathBuf,
    },
    /// With a role id and a secret id.
    AppRole {
        /// The role id.
        role_id: String,
        /// The file that holds the secret id.
        secret_id_file: PathBuf,
        /// Whether the file holds a wrapping token instead.
        wrapped: bool,
    },
    /// With a pod's service account.
    Kubernetes {
        /// The role.
        role: String,
        /// The file that holds the service account's token.
        jwt_file: PathBuf,
    },
    /// With the client certificate of [`VaultSettings`].
    Cert {
        /// The role; `None` lets the vault choose.
        role: Option<String>,
    },
    /// With a signed token.
    Jwt {
        /// The role.
        role: String,
        /// The file that holds the token.
        jwt_file: PathBuf,
    },
}

impl VaultLogin {
    /// The method's name, which is also its default mount.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Token { .. } => "token",
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Cert { .. } => "cert",
            Self::Jwt { .. } => "jwt",
        }
    }
}

impl fmt::Debug for VaultLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
