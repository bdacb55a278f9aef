//! The checked configuration of a vault. The variables of the vault's own tools are its defaults.

use std::{fmt, path::PathBuf, sync::Arc};

use super::variables::VaultVariables;
use crate::{
    domain::Origin,
    outbound::{ClientCertificate, ForwardProxySettings, RevocationSettings},
};

/// A credential set in a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The vault. Sets that name the same one share its connections and its login.
    pub server: Arc<VaultServer>,
    /// Where the key-value engine is mounted: `secret`.
    pub mount: String,
    /// The secret below it: `pigello/production`.
    pub path: String,
    /// The key-value engine that is mounted there. It is never guessed, because a secret of the first
    /// engine may look like one of the second.
    pub kv_version: KvVersion,
}

impl VaultSettings {
    /// Names the secret and its vault.
    pub(super) fn identity(&self) -> String {
        let Self { server, mount, path, kv_version } = self;
        let address =
            server.address().map_or_else(|_| String::new(), |address| address.to_string());
        let namespace = server.namespace().unwrap_or_default();
        format!("vault {address} {namespace} {mount} {path} {kv_version}")
    }
}

/// A vault, how to reach it and how to log in. A variable may stand in for a field that is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultServer {
    /// The server.
    pub address: Option<Origin>,
    /// The roots to trust instead of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The revocation lists for the server's certificate.
    pub revocation: Option<RevocationSettings>,
    /// The forward proxy that leads to it.
    pub proxy: ForwardProxySettings,
    /// The client certificate; the `cert` method needs one.
    pub client_certificate: Option<ClientCertificate>,
    /// The namespace, sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// The namespace of the login, if it is another one; empty for the root namespace.
    pub login_namespace: Option<String>,
    /// How to log in.
    pub auth: Option<VaultAuth>,
}

impl VaultServer {
    /// Checks that the configuration or a variable gives the address and the login.
    pub fn check(&self) -> Result<(), IncompleteVault> {
        self.address()?;
        self.auth()?;
        Ok(())
    }

    /// The forward proxy that leads to the vault, if one does.
    pub fn proxy_in_use(&self) -> Option<Origin> {
        self.proxy.proxy_to(&self.address().ok()?)
    }

    pub(in crate::credentials) fn address(&self) -> Result<Origin, IncompleteVault> {
        match (&self.address, VaultVariables::read().address) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some((name, text))) => match text.parse() {
                Ok(address) => Ok(address),
                Err(_) => Err(IncompleteVault::address(name, &text)),
            },
            (None, None) => Err(IncompleteVault::NoAddress),
        }
    }

    pub(in crate::credentials) fn auth(&self) -> Result<VaultAuth, IncompleteVault> {
        match &self.auth {
            Some(auth) => Ok(auth.clone()),
            None if VaultVariables::read().has_token => {
                Ok(VaultAuth::Token(TokenSource::Environment))
            }
            None => Err(IncompleteVault::NoLogin),
        }
    }

    /// The roots to trust, from the configuration or a variable.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.ca_file.clone().or_else(|| VaultVariables::read().ca_file)
    }

    pub(in crate::credentials) fn namespace(&self) -> Option<String> {
        self.namespace.clone().or_else(|| VaultVariables::read().namespace)
    }

    /// The namespace of the login and of its token.
    pub(in crate::credentials) fn login_namespace(&self) -> Option<String> {
        let own = self.login_namespace.clone();
        own.or_else(|| self.namespace()).filter(|namespace| !namespace.is_empty())
    }

    /// The client certificate, from the configuration or variables.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        self.client_certificate.clone().or_else(|| VaultVariables::read().client_certificate)
    }
}

/// Neither the configuration nor a variable gives what a vault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteVault {
    /// There is no address.
    #[error("no vault is named: set `vault.address`, or the variable VAULT_ADDR or BAO_ADDR")]
    NoAddress,
    /// The variable's address leads to a Unix socket.
    #[error(
        "the variable {name} names a Unix socket, and the gateway reaches a vault over TCP: set `vault.address` \
         to its URL"
    )]
    VariableSocket {
        /// The variable.
        name: &'static str,
    },
    /// The variable's address has a path.
    #[error(
        "the variable {name} has a path behind the host, and the vault's API is expected at `/v1/`: set \
         `vault.address` to scheme, host and port of the vault itself"
    )]
    VariablePath {
        /// The variable.
        name: &'static str,
    },
    /// The variable's address is not one.
    #[error(
        "the variable {name} is not scheme, host and port, like `https://vault.internal:8200`: correct it, or \
         set `vault.address`"
    )]
    VariableAddress {
        /// The variable.
        name: &'static str,
    },
    /// There is no login.
    #[error("no login to the vault: set `vault.auth`, or the variable VAULT_TOKEN or BAO_TOKEN")]
    NoLogin,
}

impl IncompleteVault {
    /// Whether something is not set, rather than wrong.
    pub fn is_absent(self) -> bool {
        matches!(self, Self::NoAddress | Self::NoLogin)
    }

    /// Says what is wrong with an address.
    fn address(name: &'static str, text: &str) -> Self {
        let host_and_path = text.split_once("://").map(|(_, rest)| rest.trim_end_matches('/'));
        if text.starts_with("unix:") {
            Self::VariableSocket { name }
        } else if host_and_path.is_some_and(|rest| rest.contains('/')) {
            Self::VariablePath { name }
        } else {
            Self::VariableAddress { name }
        }
    }
}

/// A key-value engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// The first, without versions.
    V1,
    /// The second, with versions.
    V2,
}

impl fmt::Display for KvVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1",
            Self::V2 => "2",
        })
    }
}

/// A login method. `mount` is its path below `auth/`.
#[derive(Clone, PartialEq, Eq)]
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

/// The source of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read again when the server no longer accepts the token.
    File(PathBuf),
    /// `VAULT_TOKEN` or `BAO_TOKEN` of this process.
    Environment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        for (text, said) in [
            ("http://127.0.0.1:8200/vault", "VAULT_ADDR has a path behind the host"),
            ("http://127.0.0.1:8200/vault/", "VAULT_ADDR has a path behind the host"),
            ("unix:///run/vault.sock", "VAULT_ADDR names a Unix socket"),
            ("127.0.0.1:8200", "VAULT_ADDR is not scheme, host and port"),
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
            let error = IncompleteVault::address("VAULT_ADDR", text);
            assert!(error.to_string().contains(said) && !error.is_absent(), "{error}");
        }
    }
}
