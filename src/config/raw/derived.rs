//! Defaults that depend on other keys, filled in once, so that `config show` shows what takes
//! effect and the checks meet one form only.

use super::{Config, FilePath, SourceKind, Unidentified, VaultMethod};

/// Where Kubernetes puts a pod's own token.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Config {
    /// Fills them in.
    pub(in crate::config) fn derive_defaults(&mut self) {
        let named = !self.callers.is_empty();
        let unidentified = if named { Unidentified::Deny } else { Unidentified::Allow };
        self.policy.unidentified.get_or_insert(unidentified);
        for set in self.credentials.values_mut() {
            match set.source {
                Some(SourceKind::Environment) => {
                    set.prefix.get_or_insert_with(|| "PIGELLO_".to_owned());
                }
                Some(SourceKind::Vault) => {
                    set.mount.get_or_insert_with(|| "secret".to_owned());
                    set.kv_version.get_or_insert(2);
                }
                Some(SourceKind::Sealed | SourceKind::Directory) | None => {}
            }
        }
        if let Some(auth) = self.vault.as_mut().and_then(|vault| vault.auth.as_mut())
            && let Some(method) = auth.method
        {
            auth.mount.get_or_insert_with(|| method.word().to_owned());
            if method == VaultMethod::Kubernetes {
                auth.jwt_file.get_or_insert_with(|| FilePath(SERVICE_ACCOUNT_TOKEN.into()));
            }
        }
    }
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
