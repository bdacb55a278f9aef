//! Source `vault`: a key-value secret in HashiCorp Vault or OpenBao.
//!
//! A thin client of our own over the HTTP stack that is here anyway. It is called from the
//! background alone, one call at a time, and never for a request. The rules it keeps: no redirect
//! is followed, every body and every wait is bounded, a 403 is believed only after the vault was
//! asked about the token, a version never goes back by itself, and nothing that the vault says is
//! quoted.

mod auth;
mod client;
mod error;
mod kv;
mod settings;
mod variables;

pub use error::VaultError;
pub use settings::{IncompleteVault, KvVersion, TokenSource, VaultAuth, VaultSettings};

use std::fmt;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    auth::{Renewal, Session, Wrapped},
    client::Client,
    kv::{Read, Secret},
};
use super::{CredentialSet, Identifiers, SetVersion, ValueName, source::Asked};

/// Reads the seven from a vault.
pub(super) struct Vault {
    settings: VaultSettings,
    state: tokio::sync::Mutex<State>,
    wake_at: Mutex<Option<Instant>>,
}

/// What is kept from one read to the next.
#[derive(Default)]
struct State {
    client: Option<Client>,
    session: Option<Session>,
    wrapped: Wrapped,
    /// The vault refused the last login: the method, and what it answered.
    refused: Option<(&'static str, StatusCode)>,
    /// The highest version that made a set.
    seen: Option<u64>,
}

impl Vault {
    pub(super) fn new(settings: VaultSettings) -> Self {
        Self { settings, state: tokio::sync::Mutex::default(), wake_at: Mutex::default() }
    }

    /// When it wants to be read again at the latest, to keep its token alive.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        *self.wake_at.lock()
    }

    /// Reads all seven, and keeps the login alive on the way.
    pub(super) async fn read(
        &self,
        fixed: &Identifiers,
        asked: Asked,
    ) -> Result<CredentialSet, VaultError> {
        let mut state = self.state.lock().await;
        let outcome = self.read_with(&mut state, fixed, asked).await;
        if outcome.as_ref().is_err_and(VaultError::is_of_certificates) {
            // The certificate files are read again for the next attempt: one may have expired.
            state.client = None;
        }
        *self.wake_at.lock() = state.session.as_ref().and_then(Session::renew_at);
        outcome
    }

    async fn read_with(
        &self,
        state: &mut State,
        fixed: &Identifiers,
        asked: Asked,
    ) -> Result<CredentialSet, VaultError> {
        let client = match &mut state.client {
            Some(client) => client,
            none => none.insert(Client::new(&self.settings)?),
        };
        let mut fresh =
            keep_alive(client, &self.settings, &mut state.session, &mut state.wrapped).await?;
        let secret = loop {
            let session = if let Some(session) = &state.session {
                session
            } else {
                fresh = true;
                let session = self.log_in(client, &mut state.wrapped, &mut state.refused, asked);
                state.session.insert(session.await?)
            };
            match kv::read(client, session, &self.settings).await? {
                Read::Found(secret) => break secret,
                Read::Forbidden if fresh || auth::is_taken(client, session.token()).await? => {
                    return Err(VaultError::Denied { secret: kv::place(&self.settings) });
                }
                // The token is dead: once more, with a new one.
                Read::Forbidden => state.session = None,
            }
        };
        self.set(secret, &mut state.seen, fixed, asked)
    }

    /// Logs in, unless the vault has just refused that to somebody in a hurry: vaults lock out who
    /// fails too often, so only reads that are paced, or that a person asks for, try it again.
    async fn log_in(
        &self,
        client: &Client,
        wrapped: &mut Wrapped,
        refused: &mut Option<(&'static str, StatusCode)>,
        asked: Asked,
    ) -> Result<Session, VaultError> {
        if let (Asked::InAHurry, Some((method, status))) = (asked, *refused) {
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
        seen: &mut Option<u64>,
        fixed: &Identifiers,
        asked: Asked,
    ) -> Result<CredentialSet, VaultError> {
        let place = kv::place(&self.settings);
        let Secret { values, version } = secret;
        // A standby that lags behind, or a secret that was made anew, must not bring back what
        // was rotated away.
        if let (Some(seen), Some(offered)) = (*seen, version)
            && offered < seen
            && asked != Asked::ByOperator
        {
            return Err(VaultError::WentBack { secret: place, seen, offered });
        }
        let name = SetVersion::new(version.map(|number| number.to_string()).unwrap_or_default());
        let mut set = values
            .into_set(name, fixed)
            .map_err(|problems| VaultError::Values { secret: place.clone(), problems })?;
        if version.is_none() {
            let version = digest(&set, &place);
            set = set.with_version(version);
        }
        *seen = version;
        Ok(set)
    }
}

/// Renews the token if it is due, or logs in again if that gives out. True if the login is new.
async fn keep_alive(
    client: &Client,
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
        // The token is good for a while yet.
        Err(error) => {
            tracing::warn!(
                reason = %crate::error::Chain(&error), "the vault token could not be renewed yet"
            );
            held.postpone(now);
            Ok(false)
        }
    }
}

/// A version for an engine that has none: a digest, the same on every host that reads the same.
fn digest(set: &CredentialSet, place: &str) -> SetVersion {
    let mut key = place.to_owned();
    for name in ValueName::ALL {
        key = set.value(name).fingerprint(key.as_bytes()).to_string();
    }
    SetVersion::new(format!("digest-{key}"))
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
