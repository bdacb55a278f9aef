//! The checked configuration of a vault.

use std::path::PathBuf;

use crate::{domain::Origin, outbound::ClientCertificate};

/// A credential set in a vault, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The server.
    pub address: Origin,
    /// The roots to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate; the `cert` method needs one.
    pub client_certificate: Option<ClientCertificate>,
    /// The namespace, sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: VaultAuth,
    /// Where the key-value engine is mounted: `secret`.
    pub mount: String,
    /// The secret below it: `pigello/production`.
    pub path: String,
    /// The key-value engine that is mounted there. It is never guessed, because a secret of the first
    /// engine may look like one of the second.
    pub kv_version: KvVersion,
}

/// A key-value engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// The first, without versions.
    V1,
    /// The second, with versions.
    V2,
}

/// A login method. `mount` is its path below `auth/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultAuth {
    /// A token that another program provides and renews.
    Token(TokenSource),
    /// A role and a secret id.
    AppRole {
        /// `approle`, by default.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
        /// Whether the file holds a wrapping token instead.
        wrapped: bool,
    },
    /// The service account of a Kubernetes pod.
    Kubernetes {
        /// `kubernetes`, by default.
        mount: String,
        /// The role.
        role: String,
        /// The projected token.
        token_file: PathBuf,
    },
    /// A signed token in a file.
    Jwt {
        /// `jwt`, by default.
        mount: String,
        /// The role.
        role: String,
        /// The file, read again for every login.
        token_file: PathBuf,
    },
    /// The client certificate of the connection.
    Cert {
        /// `cert`, by default.
        mount: String,
        /// The role; without it the server tries all that match.
        role: Option<String>,
    },
}

/// The source of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read again when the server no longer accepts the token.
    File(PathBuf),
    /// `VAULT_TOKEN` or `BAO_TOKEN` of this process.
    Environment,
}
