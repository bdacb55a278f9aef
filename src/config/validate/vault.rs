//! Checks `[vault]`: it is reached over TLS, and the login has the keys that its method needs.

use std::sync::Arc;

use super::{checker::Checker, keys::asks_vault};
use crate::{
    config::{
        key::KeyPath,
        problem::listed,
        types::{Credentials, Vault, VaultLogin, VaultMethod},
    },
    credentials::{
        ClientCertificate, KvVersion, TokenSource, UnusedVariable, VaultAuth, VaultServer,
        VaultSettings, unused_vault_variables, vault_address,
    },
};

impl Checker<'_> {
    /// Checks the section, and returns the login.
    pub(super) fn vault(&mut self) -> Option<VaultAuth> {
        let config = self.config;
        self.unused_variables();
        let vault = config.vault.as_ref()?;
        let table = KeyPath::root().key("vault");
        if !asks_vault(config) {
            self.warning(
                &table,
                "no credentials have `source = \"vault\"`, so the vault is never asked",
                "remove [vault], or change the source",
            );
        }
        if let Some(address) = &vault.address
            && !address.is_tls()
            && !address.is_loopback()
        {
            self.problem(
                &table.key("address"),
                "plain `http://` leads to another machine, so token and secret would travel in clear",
                "write `https://`",
            );
        }
        let address = vault.address.clone().or_else(vault_address);
        self.forward_proxy(&table, &vault.forward_proxy(), address.as_ref());
        self.server_revocation(
            &table,
            vault.crl_policy,
            vault.crl_file.as_deref(),
            address.as_ref(),
        );
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
        self.vault_auth(&table.key("auth"), vault.auth.as_ref()?, vault)
    }

    /// Where the secret of a credential set lies, and how to reach it.
    pub(super) fn vault_secret(
        &mut self,
        key: &KeyPath,
        set: &Credentials,
        auth: Option<&VaultAuth>,
    ) -> Option<VaultSettings> {
        let path = self.needed(key, "path", "vault", set.path.as_ref())?;
        self.secret_path(key, path);
        Some(VaultSettings {
            server: self.vault_server(auth),
            mount: set.mount.as_ref()?.trim_matches('/').to_owned(),
            path: path.trim_matches('/').to_owned(),
            kv_version: if set.kv_version? == 1 { KvVersion::V1 } else { KvVersion::V2 },
        })
    }

    /// Checks the path of a secret.
    pub(super) fn secret_path(&mut self, key: &KeyPath, path: &str) {
        if path.trim_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
            let hint = "like `pigello/production`; the vault's address stands in [vault]";
            self.problem(&key.key("path"), "is not a path of a secret below its mount", hint);
        }
    }

    /// How to reach the vault, and how to log in.
    pub(super) fn vault_server(&self, auth: Option<&VaultAuth>) -> Arc<VaultServer> {
        let vault = self.config.vault.clone().unwrap_or_default();
        let (proxy, revocation) = (vault.forward_proxy(), vault.revocation());
        let certificate = vault.certificate.zip(vault.private_key);
        Arc::new(VaultServer {
            address: vault.address,
            ca_file: vault.ca_file,
            proxy,
            revocation,
            client_certificate: certificate
                .map(|(certificate, private_key)| ClientCertificate { certificate, private_key }),
            namespace: vault.namespace,
            login_namespace: vault.auth.and_then(|auth| auth.namespace),
            auth: auth.cloned(),
        })
    }

    /// Variables that people set for the vault's own tools, in the belief that they count here.
    fn unused_variables(&mut self) {
        if !asks_vault(self.config) {
            return;
        }
        for UnusedVariable { name, instead } in unused_vault_variables() {
            let key = KeyPath::root().key("vault");
            self.warning(&key, format!("the variable {name} is set and not used"), instead);
        }
    }

    fn vault_auth(&mut self, key: &KeyPath, auth: &VaultLogin, vault: &Vault) -> Option<VaultAuth> {
        let method = auth.method?;
        self.foreign_auth_keys(key, method, auth);
        let mount = auth.mount.as_ref()?.trim_matches('/').to_owned();
        Some(match method {
            VaultMethod::Token => {
                // A token in place of its file has been refused, with what to do.
                if self.locations.is_set(&key.key("token")) {
                    return None;
                }
                let file = self.needed(key, "token_file", "token", auth.token_file.as_ref())?;
                VaultAuth::Token(TokenSource::File(file.clone()))
            }
            VaultMethod::AppRole => {
                let role_id = self.needed(key, "role_id", "approle", auth.role_id.as_ref());
                let file = auth.secret_id_file.as_ref();
                let secret_id = self.needed(key, "secret_id_file", "approle", file);
                VaultAuth::AppRole {
                    mount,
                    role_id: role_id?.clone(),
                    secret_id_file: secret_id?.clone(),
                    wrapped: auth.secret_id_wrapped.unwrap_or(false),
                }
            }
            VaultMethod::Kubernetes => VaultAuth::Kubernetes {
                mount,
                role: self.needed(key, "role", "kubernetes", auth.role.as_ref())?.clone(),
                token_file: auth.jwt_file.clone()?,
            },
            VaultMethod::Cert => {
                let table = KeyPath::root().key("vault");
                self.needed(&table, "certificate", "cert", vault.certificate.as_ref());
                self.needed(&table, "private_key", "cert", vault.private_key.as_ref());
                VaultAuth::Cert { mount, role: auth.role.clone() }
            }
            VaultMethod::Jwt => {
                let role = self.needed(key, "role", "jwt", auth.role.as_ref());
                let file = self.needed(key, "jwt_file", "jwt", auth.jwt_file.as_ref());
                VaultAuth::Jwt { mount, role: role?.clone(), token_file: file?.clone() }
            }
        })
    }

    fn foreign_auth_keys(&mut self, key: &KeyPath, method: VaultMethod, auth: &VaultLogin) {
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
