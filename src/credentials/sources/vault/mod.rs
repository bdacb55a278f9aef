//! Source `vault`: a key-value secret in HashiCorp Vault or OpenBao.
//!
//! The vault is called in the background. All secrets of one vault share its [`connection`], which logs in
//! once. These rules hold: no redirect is followed, and every body and every wait has a bound. A 403 counts
//! as a withdrawal only if the vault still accepts the token. The source never goes back to an older version
//! on its own, and never quotes an answer of the vault.

mod auth;
mod client;
mod connection;
mod error;
mod kv;
mod messages;

pub(super) use client::check_files;
pub(super) use connection::{ToldFailures, VaultConnection, Vaults};
pub use error::VaultError;
pub(super) use kv::{Secret, name as secret_name};

use std::{collections::BTreeSet, fmt, sync::Arc};

use parking_lot::Mutex;

use self::client::VaultClient;
use super::{member_place::Place, reason::RefreshReason};
use crate::{
    credentials::{
        set::{CredentialSet, Identifiers, SetVersion, ValueName, ValuesFromJson},
        settings::{VaultAuth, VaultServer, VaultSettings},
    },
    domain::ProfileName,
    outbound::Observed,
};

/// Reads the seven values from a vault.
pub(super) struct VaultSource {
    secret: VaultSettings,
    connection: Arc<VaultConnection>,
    told: ToldFailures,
    /// The highest version that made a set.
    newest: Mutex<Option<u64>>,
}

impl VaultSource {
    pub(super) fn new(secret: VaultSettings, vaults: &Vaults) -> Self {
        let connection = vaults.connection(&secret.server);
        Self { secret, connection, told: ToldFailures::default(), newest: Mutex::default() }
    }

    /// What the vault has shown of itself.
    pub(super) fn observed(&self) -> &Arc<Observed> {
        self.connection.observed()
    }

    /// A set of that version was in use before this process began, so an older one is not taken.
    pub(super) fn remember(&self, version: &SetVersion) {
        let mut newest = self.newest.lock();
        *newest = (*newest).max(version.as_str().parse().ok());
    }

    /// Reads all seven values.
    pub(super) async fn read(
        &self,
        fixed: &Identifiers,
        reason: RefreshReason,
    ) -> Result<CredentialSet, Arc<VaultError>> {
        let found = self.connection.read(&self.secret, None, &self.told, reason).await?;
        Ok(self.set(found, fixed, reason)?)
    }

    fn set(
        &self,
        secret: Secret<ValuesFromJson>,
        fixed: &Identifiers,
        reason: RefreshReason,
    ) -> Result<CredentialSet, VaultError> {
        let name = kv::name(&self.secret);
        let mut newest = self.newest.lock();
        let Secret { values, version, .. } = secret;
        // A standby that lags behind, or a secret that was created again, must not bring back an older
        // version.
        if let (Some(seen), Some(offered)) = (*newest, version)
            && offered < seen
            && reason != RefreshReason::AcceptOlder
        {
            return Err(VaultError::WentBack { secret: name, seen, offered });
        }
        let number = SetVersion::new(version.map(|number| number.to_string()).unwrap_or_default());
        let mut set = values
            .builder
            .into_set(number, fixed)
            .map_err(|problems| VaultError::Values { secret: name.clone(), problems })?;
        if version.is_none() {
            let digest = digest(&set, &name);
            set = set.with_version(digest);
        }
        *newest = version;
        Ok(set)
    }
}

/// The names of members for which the vault has a secret, or a folder where the rest of the path may be.
pub(super) async fn members(
    template: &VaultSettings,
    vaults: &Vaults,
) -> Result<BTreeSet<ProfileName>, Arc<VaultError>> {
    let Some(place) = Place::of(template.path.trim_start_matches('/')) else {
        return Ok(BTreeSet::new());
    };
    if matches!(template.server.auth(), Ok(VaultAuth::AppRole { wrapped: true, .. })) {
        return Err(VaultError::LeftWrapped.into());
    }
    let entries = vaults.connection(&template.server).list(template, place.parent).await?;
    let names = entries.iter().map(|entry| entry.trim_end_matches('/'));
    Ok(names.filter_map(|entry| place.member(entry)).collect())
}

/// Whether the secret id of a login can still be unwrapped, without using it up; `None` if it is not wrapped.
pub(super) async fn look_up_wrapping(server: &VaultServer) -> Option<Result<(), VaultError>> {
    let Ok(VaultAuth::AppRole { secret_id_file, wrapped: true, .. }) = &server.auth() else {
        return None;
    };
    Some(match VaultClient::new(server, &Arc::default()) {
        Ok(client) => auth::look_up_wrapping(&client, secret_id_file).await,
        Err(error) => Err(error),
    })
}

/// A version for the engine that has none: a digest of the secret's name and its values.
fn digest(set: &CredentialSet, name: &str) -> SetVersion {
    let mut key = name.to_owned();
    for name in ValueName::ALL {
        key = set.value(name).fingerprint(key.as_bytes()).to_string();
    }
    SetVersion::new(format!("digest-{key}"))
}

impl fmt::Debug for VaultSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultSource").field("secret", &self.secret).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
