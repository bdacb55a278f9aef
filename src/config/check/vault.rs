//! The vault: reached over TLS, and the login has what its method needs.

use super::{Checker, to_path};
use crate::config::{
    key::KeyPath,
    problem::listed,
    raw::{self, SourceKind, VaultMethod},
    settings::{VaultAuth, VaultLogin, VaultSettings},
};

impl Checker<'_> {
    pub(super) fn vault(&mut self) -> Option<VaultSettings> {
        let raw = self.raw;
        let vault = raw.vault.as_ref()?;
        let table = KeyPath::root().key("vault");
        if !raw.credentials.values().any(|set| set.source == Some(SourceKind::Vault)) {
            self.warning(
                &table,
                "no credentials have `source = \"vault\"`, so the vault is never asked",
                "remove [vault], or change the source",
            );
        }
        if let Some(address) = &vault.address
            && !address.0.is_tls()
            && !address.0.is_loopback()
        {
            self.problem(
                &table.key("address"),
                "plain `http://` leads to another machine, so token and secret would travel in clear",
                "write `https://`",
            );
        }
        if vault.certificate.is_some() != vault.private_key.is_some() {
            let (there, missing) = match vault.certificate {
                Some(_) => ("certificate", "private_key"),
                None => ("private_key", "certificate"),
            };
            self.problem(
                &table.key(there),
                format!("is of no use without `{missing}`"),
                format!("add `{missing} = …` to [vault]"),
            );
        }
        let auth = match &vault.auth {
            Some(auth) => Some(self.vault_auth(&table.key("auth"), auth, vault)?),
            None => None,
        };
        Some(VaultSettings {
            address: vault.address.clone().map(|written| written.0),
            ca_file: vault.ca_file.as_ref().map(to_path),
            namespace: vault.namespace.clone(),
            client_certificate: vault
                .certificate
                .as_ref()
                .map(to_path)
                .zip(vault.private_key.as_ref().map(to_path)),
            auth,
        })
    }

    fn vault_auth(
        &mut self,
        key: &KeyPath,
        auth: &raw::VaultAuth,
        vault: &raw::Vault,
    ) -> Option<VaultAuth> {
        let method = auth.method?;
        self.foreign_auth_keys(key, method, auth);
        let method = match method {
            VaultMethod::Token => {
                // A token that stood here itself has been refused, with what to do.
                if self.places.is_set(&key.key("token")) {
                    return None;
                }
                let file = self.needed(key, "token_file", "token", auth.token_file.as_ref())?;
                VaultLogin::Token { file: to_path(file) }
            }
            VaultMethod::AppRole => {
                let role_id = self.needed(key, "role_id", "approle", auth.role_id.as_ref());
                let secret_id =
                    self.needed(key, "secret_id_file", "approle", auth.secret_id_file.as_ref());
                VaultLogin::AppRole {
                    role_id: role_id?.as_str().to_owned(),
                    secret_id_file: to_path(secret_id?),
                    wrapped: auth.secret_id_wrapped.unwrap_or(false),
                }
            }
            VaultMethod::Kubernetes => VaultLogin::Kubernetes {
                role: self.needed(key, "role", "kubernetes", auth.role.as_ref())?.clone(),
                jwt_file: to_path(auth.jwt_file.as_ref()?),
            },
            VaultMethod::Cert => {
                let vault_key = KeyPath::root().key("vault");
                self.needed(&vault_key, "certificate", "cert", vault.certificate.as_ref());
                self.needed(&vault_key, "private_key", "cert", vault.private_key.as_ref());
                VaultLogin::Cert { role: auth.role.clone() }
            }
            VaultMethod::Jwt => {
                let role = self.needed(key, "role", "jwt", auth.role.as_ref());
                let file = self.needed(key, "jwt_file", "jwt", auth.jwt_file.as_ref());
                VaultLogin::Jwt { role: role?.clone(), jwt_file: to_path(file?) }
            }
        };
        let mount = auth.mount.as_ref()?.trim_matches('/').to_owned();
        Some(VaultAuth { mount, method })
    }

    fn foreign_auth_keys(&mut self, key: &KeyPath, method: VaultMethod, auth: &raw::VaultAuth) {
        use VaultMethod::{AppRole, Cert, Jwt, Kubernetes, Token};
        let keys: [(&str, bool, &[VaultMethod]); 6] = [
            ("token_file", auth.token_file.is_some(), &[Token]),
            ("role_id", auth.role_id.is_some(), &[AppRole]),
            ("secret_id_file", auth.secret_id_file.is_some(), &[AppRole]),
            ("secret_id_wrapped", auth.secret_id_wrapped.is_some(), &[AppRole]),
            ("role", auth.role.is_some(), &[Kubernetes, Cert, Jwt]),
            ("jwt_file", auth.jwt_file.is_some(), &[Kubernetes, Jwt]),
        ];
        for (name, there, methods) in keys {
            if there && !methods.contains(&method) {
                let words: Vec<_> = methods.iter().map(|method| method.word()).collect();
                self.problem(
                    &key.key(name),
                    format!(
                        "is a key of method {}, and the method is `{}`",
                        listed(&words),
                        method.word()
                    ),
                    "remove it, or choose the method it belongs to",
                );
            }
        }
    }
}
