//! What a configuration says about a vault, checked.

use std::{fmt, path::PathBuf};

use crate::domain::Origin;

/// Where a credential set lies in a vault, and how to get at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The server.
    pub address: Origin,
    /// Roots to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The certificate shown to the server; the `cert` method needs one.
    pub client_certificate: Option<ClientCertificate>,
    /// The namespace, sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: VaultAuth,
    /// Where the key-value engine is mounted: `secret`.
    pub mount: String,
    /// The secret below it: `pigello/production`.
    pub path: String,
    /// Which key-value engine is mounted there. It is never guessed, because a version 1 secret
    /// may look like a version 2 one.
    pub kv_version: KvVersion,
}

/// The two key-value engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// Without versions.
    V1,
    /// With versions.
    V2,
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// How to log in. `mount` is where the method is mounted below `auth/`.
#[derive(Clone, PartialEq, Eq)]
pub enum VaultAuth {
    /// A token that somebody else provides and renews.
    Token(TokenSource),
    /// A role and a secret id.
    AppRole {
        /// `approle`, if nobody chose another.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
        /// Whether the file holds a wrapping token instead, to be unwrapped once.
        wrapped: bool,
    },
    /// The service account of a Kubernetes pod.
    Kubernetes {
        /// `kubernetes`, if nobody chose another.
        mount: String,
        /// The role.
        role: String,
        /// The projected token.
        token_file: PathBuf,
    },
    /// A signed token in a file.
    Jwt {
        /// `jwt`, if nobody chose another.
        mount: String,
        /// The role.
        role: String,
        /// The file, read again for every login.
        token_file: PathBuf,
    },
    /// The client certificate of the connection.
    Cert {
        /// `cert`, if nobody chose another.
        mount: String,
        /// The role; without it the server looks for one that fits.
        role: Option<String>,
    },
}

impl VaultAuth {
    /// The method's name, which is also its default mount.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Jwt { .. } => "jwt",
            Self::Cert { .. } => "cert",
        }
    }
}

// A role's id is confidential.
impl fmt::Debug for VaultAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a ready token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read again whenever the server no longer takes the token.
    File(PathBuf),
    /// `VAULT_TOKEN` or `BAO_TOKEN` of this process.
    Environment,
}
