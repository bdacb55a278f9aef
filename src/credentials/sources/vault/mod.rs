//! Source `vault`: a key-value secret in HashiCorp Vault or OpenBao.
//!
//! The vault is called in the background, one call at a time. The source keeps these rules: it follows no
//! redirect, and bounds every body and every wait. It takes a 403 for a withdrawal only if the vault
//! still accepts the token. It never goes back to an older version on its own, and never quotes an
//! answer of the vault.

mod auth;
mod client;
mod error;
mod kv;
mod messages;

pub(super) use client::check_files;
pub use error::VaultError;

use std::{collections::BTreeSet, fmt, sync::Arc};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    auth::{Renewal, Session, Wrapped},
    client::VaultClient,
    kv::{KvRead, Secret},
};
use super::{members::Place, reason::RefreshReason};
use crate::{
    credentials::{
        set::{CredentialSet, Identifiers, SetVersion, ValueName},
        settings::{VaultAuth, VaultSettings},
    },
    domain::ProfileName,
    error::Chain,
    outbound::Observed,
};

/// Reads the seven values from a vault.
pub(super) struct VaultSource {
    settings: VaultSettings,
    state: tokio::sync::Mutex<VaultState>,
    /// A source that takes this one's place also has it: a wrapping token works once.
    wrapped: Arc<tokio::sync::Mutex<Wrapped>>,
    wake_at: Mutex<Option<Instant>>,
    observed: Arc<Observed>,
}

/// The state that is kept from one read to the next.
#[derive(Default)]
struct VaultState {
    client: Option<VaultClient>,
    /// Whether other certificate files could have prevented the last failure.
    are_files_suspect: bool,
    session: Option<Session>,
    /// The method and status of the last login, if the vault refused it.
    login_refused: Option<(&'static str, StatusCode)>,
    /// The highest version that made a set.
    newest: Option<u64>,
}

impl VaultSource {
    pub(super) fn new(settings: VaultSettings) -> Self {
        Self {
            settings,
            state: tokio::sync::Mutex::default(),
            wrapped: Arc::default(),
            wake_at: Mutex::default(),
            observed: Arc::default(),
        }
    }

    /// A source that takes the place of another one.
    pub(super) fn after(settings: VaultSettings, previous: &Self) -> Self {
        Self { wrapped: Arc::clone(&previous.wrapped), ..Self::new(settings) }
    }

    /// Whether the secret id of the login can still be unwrapped, without using it up; `None` if it is not
    /// wrapped.
    pub(super) async fn look_up_wrapping(&self) -> Option<Result<(), VaultError>> {
        let Ok(VaultAuth::AppRole { secret_id_file, wrapped: true, .. }) = &self.settings.auth()
        else {
            return None;
        };
        Some(match VaultClient::new(&self.settings, &self.observed) {
            Ok(client) => auth::look_up_wrapping(&client, secret_id_file).await,
            Err(error) => Err(error),
        })
    }

    /// What the vault has shown of itself.
    pub(super) fn observed(&self) -> &Arc<Observed> {
        &self.observed
    }

    /// The latest time for the next read, which renews the token.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        *self.wake_at.lock()
    }

    /// A set of that version was in use before this process began, so an older one is not taken.
    pub(super) async fn remember(&self, version: &SetVersion) {
        let mut state = self.state.lock().await;
        state.newest = state.newest.max(version.as_str().parse().ok());
    }

    /// Renews the token if it is due, and reads all seven values.
    pub(super) async fn read(
        &self,
        fixed: &Identifiers,
        reason: RefreshReason,
    ) -> Result<CredentialSet, VaultError> {
        let mut state = self.state.lock().await;
        let mut wrapped = self.wrapped.lock().await;
        let outcome = self.read_with(&mut state, &mut wrapped, fixed, reason).await;
        drop(wrapped);
        // Then the next attempt reads them again, because one may have expired.
        state.are_files_suspect = outcome.as_ref().is_err_and(VaultError::may_be_of_certificates);
        *self.wake_at.lock() = state.session.as_ref().and_then(Session::renew_at);
        outcome
    }

    async fn read_with(
        &self,
        state: &mut VaultState,
        wrapped: &mut Wrapped,
        fixed: &Identifiers,
        reason: RefreshReason,
    ) -> Result<CredentialSet, VaultError> {
        let client = match state.client.take() {
            Some(client) if !state.are_files_suspect => client,
            old => match (VaultClient::new(&self.settings, &self.observed), old) {
                // The old lists stay, and reading them again tells the reason.
                (Err(VaultError::Revocation(_)), Some(old)) => old,
                (new, _) => new?,
            },
        };
        let client = &*state.client.insert(client);
        client.reread_lists().await;
        let mut is_new_login =
            keep_alive(client, &self.settings, &mut state.session, wrapped).await?;
        let secret = loop {
            let session = if let Some(session) = &state.session {
                session
            } else {
                is_new_login = true;
                let session = self.log_in(client, wrapped, &mut state.login_refused, reason);
                state.session.insert(session.await?)
            };
            match kv::read(client, session, &self.settings).await? {
                KvRead::Found(secret) => break secret,
                KvRead::Forbidden
                    if is_new_login || auth::is_accepted(client, session.token()).await? =>
                {
                    return Err(VaultError::Denied { secret: kv::name(&self.settings) });
                }
                // The token is no longer valid: read again with a new one.
                KvRead::Forbidden => state.session = None,
            }
        };
        self.set(secret, &mut state.newest, fixed, reason)
    }

    /// Logs in. Only scheduled reads, which pause longer after each failure, repeat a login that the vault
    /// refused, because a vault locks out clients that fail too often.
    async fn log_in(
        &self,
        client: &VaultClient,
        wrapped: &mut Wrapped,
        refused: &mut Option<(&'static str, StatusCode)>,
        reason: RefreshReason,
    ) -> Result<Session, VaultError> {
        if reason != RefreshReason::Scheduled
            && let Some((method, status)) = *refused
        {
            return Err(VaultError::LoginRefused { method, status });
        }
        let outcome = auth::login(client, &self.settings.auth()?, wrapped).await;
        *refused = match &outcome {
            Err(VaultError::LoginRefused { method, status }) => Some((method, *status)),
            _ => None,
        };
        outcome
    }

    fn set(
        &self,
        secret: Secret,
        newest: &mut Option<u64>,
        fixed: &Identifiers,
        reason: RefreshReason,
    ) -> Result<CredentialSet, VaultError> {
        let name = kv::name(&self.settings);
        let Secret { values, version } = secret;
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

/// The names of members for which the vault has a secret, or a folder where the rest of the path may be. Logs in
/// once.
pub(super) async fn members(settings: &VaultSettings) -> Result<BTreeSet<ProfileName>, VaultError> {
    let Some(place) = Place::of(settings.path.trim_start_matches('/')) else {
        return Ok(BTreeSet::new());
    };
    let auth = settings.auth()?;
    if matches!(auth, VaultAuth::AppRole { wrapped: true, .. }) {
        return Err(VaultError::LeftWrapped);
    }
    let client = VaultClient::new(settings, &Arc::default())?;
    let session = auth::login(&client, &auth, &mut Wrapped::default()).await?;
    let entries = kv::list(&client, &session, settings, place.parent).await?;
    let names = entries.iter().map(|entry| entry.trim_end_matches('/'));
    Ok(names.filter_map(|entry| place.member(entry)).collect())
}

/// Renews the token if it is due, or logs in again if it can no longer be renewed. True if it logged in.
async fn keep_alive(
    client: &VaultClient,
    settings: &VaultSettings,
    session: &mut Option<Session>,
    wrapped: &mut Wrapped,
) -> Result<bool, VaultError> {
    let now = Instant::now();
    if session.as_ref().is_some_and(|session| session.is_expired(now)) {
        *session = None;
    }
    let Some(held) = session.as_mut().filter(|session| session.is_due(now)) else {
        return Ok(false);
    };
    let renewed = match held.renew(client).await {
        Ok(Renewal::Renewed) => return Ok(false),
        Ok(Renewal::Exhausted) => auth::login(client, &settings.auth()?, wrapped).await,
        Err(error) => Err(error),
    };
    match renewed {
        Ok(new) => {
            *session = Some(new);
            Ok(true)
        }
        // The token is still valid for a while.
        Err(error) => {
            tracing::warn!(
                reason = %Chain(&error), "the vault token could not be renewed yet"
            );
            held.postpone(now);
            Ok(false)
        }
    }
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
        f.debug_struct("Vault").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
