//! From a `[credentials.…]` table, and `[vault]`, to the settings of a keeper.

use crate::{
    config::settings::{CredentialsSettings, SourceSettings, VaultSettings},
    credentials::{self, KvVersion, TokenSource, VaultAuth, VaultVariables},
};

/// The settings of one credential set. What `[vault]` leaves open, the variables of the vault's own
/// tools may say.
pub fn settings(
    set: &CredentialsSettings,
    vault: Option<&VaultSettings>,
) -> Result<credentials::Settings, SourceError> {
    let source = match &set.source {
        SourceSettings::Directory { path } => {
            credentials::SourceSettings::Directory { path: path.clone() }
        }
        SourceSettings::Environment { prefix } => {
            credentials::SourceSettings::Environment { prefix: prefix.clone() }
        }
        SourceSettings::Sealed { file, key_file } => {
            credentials::SourceSettings::Sealed { file: file.clone(), key_file: key_file.clone() }
        }
        SourceSettings::Vault { mount, path, kv_version } => {
            let place = Place { mount, path, kv_version: *kv_version };
            let settings = vault_settings(&place, vault, VaultVariables::read())?;
            credentials::SourceSettings::Vault(Box::new(settings))
        }
    };
    Ok(credentials::Settings {
        name: set.name.clone(),
        source,
        fixed: set.fixed.clone(),
        refresh: set.refresh,
    })
}

/// Where a secret lies in the vault.
struct Place<'a> {
    mount: &'a str,
    path: &'a str,
    kv_version: u8,
}

fn vault_settings(
    place: &Place<'_>,
    vault: Option<&VaultSettings>,
    variables: VaultVariables,
) -> Result<credentials::VaultSettings, SourceError> {
    let address = match (vault.and_then(|vault| vault.address.clone()), variables.address) {
        (Some(address), _) => address,
        (None, Some(text)) => text.parse().map_err(|_| SourceError::VariableAddress)?,
        (None, None) => return Err(SourceError::NoAddress),
    };
    let auth = match vault.and_then(|vault| vault.auth.clone()) {
        Some(auth) => auth,
        None if variables.has_token => VaultAuth::Token(TokenSource::Environment),
        None => return Err(SourceError::NoLogin),
    };
    Ok(credentials::VaultSettings {
        address,
        ca_file: vault.and_then(|vault| vault.ca_file.clone()).or(variables.ca_file),
        client_certificate: vault.and_then(|vault| vault.client_certificate.clone()),
        namespace: vault.and_then(|vault| vault.namespace.clone()).or(variables.namespace),
        auth,
        mount: place.mount.to_owned(),
        path: place.path.to_owned(),
        kv_version: if place.kv_version == 1 { KvVersion::V1 } else { KvVersion::V2 },
    })
}

/// Why a credential set of the configuration cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody says where the vault is.
    #[error("no vault is named: set `vault.address`, or the variable VAULT_ADDR or BAO_ADDR")]
    NoAddress,
    /// The variable is no address.
    #[error("the variable BAO_ADDR or VAULT_ADDR is not a URL with scheme and host")]
    VariableAddress,
    /// Nobody says how to log in.
    #[error("no login to the vault: set `vault.auth`, or the variable VAULT_TOKEN or BAO_TOKEN")]
    NoLogin,
}
