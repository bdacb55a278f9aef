//! The way to one vault, which all secrets that are read over it share: a client, a login and its renewal.
//!
//! A login or a renewal runs once for all that wait for it, and a login that fails is not repeated by each of
//! them. Secrets are read at the same time, a few at once.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::{
    sync::Semaphore,
    time::{self, Instant},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    auth::{self, Renewal, Session, Wrapped},
    client::VaultClient,
    error::VaultError,
    kv::{self, KvRead, Secret},
};
use crate::{
    credentials::{
        settings::{VaultAuth, VaultServer, VaultSettings},
        sources::reason::RefreshReason,
    },
    error::Chain,
    outbound::Observed,
};

/// How many secrets are read at once. A vault answers a read in milliseconds.
pub(super) const READS_AT_ONCE: usize = 8;
/// How many tokens one read tries. A token with few uses may be used up by other reads.
const TOKENS_PER_READ: usize = 3;
/// How long a failed login counts for those who did not wait for it.
const FAILURE_LASTS: Duration = Duration::from_secs(5);
/// The time between two looks at certificate files that may be to blame for failures.
const FILES_GAP: Duration = Duration::from_secs(1);

/// The vaults of all sets.
#[derive(Default)]
pub(in crate::credentials::sources) struct Vaults {
    connections: Mutex<Vec<Weak<VaultConnection>>>,
    /// The secret ids that came wrapped in a file, which a wrapping token gives once. They outlive connections.
    wrapped: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<Wrapped>>>>,
}

impl Vaults {
    /// The connection to that vault.
    pub(in crate::credentials::sources) fn connection(
        &self,
        server: &Arc<VaultServer>,
    ) -> Arc<VaultConnection> {
        let mut known = self.connections.lock();
        known.retain(|known| known.strong_count() > 0);
        let found = known.iter().filter_map(Weak::upgrade).find(|known| known.server == *server);
        found.unwrap_or_else(|| {
            let new = Arc::new(VaultConnection::new(Arc::clone(server), self.wrapped(server)));
            known.push(Arc::downgrade(&new));
            new
        })
    }

    fn wrapped(&self, server: &VaultServer) -> Arc<tokio::sync::Mutex<Wrapped>> {
        match &server.auth {
            Some(VaultAuth::AppRole { secret_id_file, wrapped: true, .. }) => {
                Arc::clone(self.wrapped.lock().entry(secret_id_file.clone()).or_default())
            }
            _ => Arc::default(),
        }
    }
}

/// The connection to one vault, as long as secrets are read over it.
pub(in crate::credentials::sources) struct VaultConnection {
    server: Arc<VaultServer>,
    /// Locked during a login and a renewal.
    state: tokio::sync::Mutex<ConnectionState>,
    reads: Semaphore,
    wrapped: Arc<tokio::sync::Mutex<Wrapped>>,
    observed: Arc<Observed>,
}

#[derive(Default)]
struct ConnectionState {
    client: Option<Arc<VaultClient>>,
    /// When the certificate files were last read again.
    files_reread: Option<Instant>,
    session: Option<Session>,
    /// Counts the logins.
    logins: u64,
    /// The method and status of the last login, if the vault refused it.
    login_refused: Option<(&'static str, StatusCode)>,
    /// The last attempt that gave no session.
    failed: Option<FailedAttempt>,
    /// Counts such attempts.
    failures: u64,
    renewal: Option<AbortOnDropHandle<()>>,
}

struct FailedAttempt {
    at: Instant,
    error: Arc<VaultError>,
}

/// The failed attempts that one source has been told of. It causes another one only after it was told of the last,
/// so that a thousand sources do not log in a thousand times.
#[derive(Debug, Default)]
pub(in crate::credentials::sources) struct ToldFailures(AtomicU64);

/// What a read calls the vault with.
struct Access {
    client: Arc<VaultClient>,
    token: HeaderValue,
    /// The number of the login that gave the token.
    login: u64,
}

impl VaultConnection {
    fn new(server: Arc<VaultServer>, wrapped: Arc<tokio::sync::Mutex<Wrapped>>) -> Self {
        Self {
            server,
            state: tokio::sync::Mutex::default(),
            reads: Semaphore::new(READS_AT_ONCE),
            wrapped,
            observed: Arc::default(),
        }
    }

    /// What the vault has shown of itself.
    pub(super) fn observed(&self) -> &Arc<Observed> {
        &self.observed
    }

    /// Reads one secret, in that version or the newest. Logs in first if there is no session.
    pub(in crate::credentials::sources) async fn read<T: DeserializeOwned>(
        self: &Arc<Self>,
        secret: &VaultSettings,
        version: Option<u64>,
        told: &ToldFailures,
        reason: RefreshReason,
    ) -> Result<Secret<T>, Arc<VaultError>> {
        // It is never closed. The token is taken after it, so that few learn that a token is gone.
        let _place = self.reads.acquire().await.ok();
        let mut access = self.enter(told, reason).await?;
        for _ in 0..TOKENS_PER_READ {
            if let KvRead::Found(found) = self.get(&access, secret, version).await? {
                return Ok(found);
            }
            access = match self.enter_after_403(&access, told, reason).await? {
                Some(access) => access,
                None => return Err(VaultError::Denied { secret: kv::name(secret) }.into()),
            };
        }
        Err(VaultError::TokensUsedUp { secret: kv::name(secret) }.into())
    }

    /// Lists the names in a folder of the engine that has the secret. Logs in first if there is no session.
    pub(super) async fn list(
        self: &Arc<Self>,
        secret: &VaultSettings,
        folder: &str,
    ) -> Result<Vec<String>, Arc<VaultError>> {
        let _place = self.reads.acquire().await.ok();
        let access = self.enter(&ToldFailures::default(), RefreshReason::Scheduled).await?;
        Ok(kv::list(&access.client, &access.token, secret, folder).await?)
    }

    /// Writes the one field of a secret as its next version, if `before` is the newest one. Returns the version.
    pub(in crate::credentials::sources) async fn write(
        self: &Arc<Self>,
        secret: &VaultSettings,
        field: (&str, &str),
        before: u64,
    ) -> Result<u64, Arc<VaultError>> {
        let access = self.enter(&ToldFailures::default(), RefreshReason::Operator).await?;
        Ok(kv::write(&access.client, &access.token, secret, field, before).await?)
    }

    /// Destroys versions of a secret for good.
    pub(in crate::credentials::sources) async fn destroy(
        self: &Arc<Self>,
        secret: &VaultSettings,
        versions: Vec<u64>,
    ) -> Result<(), Arc<VaultError>> {
        let access = self.enter(&ToldFailures::default(), RefreshReason::Operator).await?;
        Ok(kv::destroy(&access.client, &access.token, secret, versions).await?)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        access: &Access,
        secret: &VaultSettings,
        version: Option<u64>,
    ) -> Result<KvRead<T>, VaultError> {
        let read = kv::read(&access.client, &access.token, secret, version).await;
        access.client.suspect_files(read.as_ref().err());
        read
    }

    /// A client, and a token that the vault accepts as far as known.
    async fn enter(
        self: &Arc<Self>,
        told: &ToldFailures,
        reason: RefreshReason,
    ) -> Result<Access, Arc<VaultError>> {
        let mut state = self.state.lock().await;
        self.enter_with(&mut state, told, reason).await
    }

    /// The same after a 403. `None` if the vault accepts the token, so that the policy forbids the read.
    async fn enter_after_403(
        self: &Arc<Self>,
        refused: &Access,
        told: &ToldFailures,
        reason: RefreshReason,
    ) -> Result<Option<Access>, Arc<VaultError>> {
        let mut state = self.state.lock().await;
        // Another read may have found it out by now, and logged in.
        if state.session.is_some() && state.logins == refused.login {
            if auth::is_accepted(&refused.client, &refused.token).await? {
                return Ok(None);
            }
            state.session = None;
        }
        self.enter_with(&mut state, told, reason).await.map(Some)
    }

    async fn enter_with(
        self: &Arc<Self>,
        state: &mut ConnectionState,
        told: &ToldFailures,
        reason: RefreshReason,
    ) -> Result<Access, Arc<VaultError>> {
        if let Some(error) = state.known_failure(told, reason) {
            return Err(error);
        }
        match self.prepare(state).await {
            Ok(access) => {
                state.failed = None;
                Ok(access)
            }
            Err(error) => {
                let error = Arc::new(error);
                state.failures += 1;
                state.failed =
                    Some(FailedAttempt { at: Instant::now(), error: Arc::clone(&error) });
                told.note(state.failures);
                Err(error)
            }
        }
    }

    async fn prepare(self: &Arc<Self>, state: &mut ConnectionState) -> Result<Access, VaultError> {
        let client = self.client(state)?;
        client.reread_lists().await;
        self.keep_alive(&client, state).await;
        let session = match &state.session {
            Some(session) => session,
            None => self.log_in(&client, state).await?,
        };
        let token = session.token().clone();
        Ok(Access { client, token, login: state.logins })
    }

    /// The client. If the last failure may be due to its certificate files, they are read again: one may have
    /// expired.
    fn client(&self, state: &mut ConnectionState) -> Result<Arc<VaultClient>, VaultError> {
        let old = state.client.take();
        if let Some(old) = &old {
            let is_early = state.files_reread.is_some_and(|last| last.elapsed() < FILES_GAP);
            if is_early || !old.are_files_suspect() {
                return Ok(Arc::clone(state.client.insert(Arc::clone(old))));
            }
            state.files_reread = Some(Instant::now());
        }
        let client = match (VaultClient::new(&self.server, &self.observed), old) {
            // The old lists stay, and reading them again tells the reason.
            (Err(VaultError::Revocation(_)), Some(old)) => old,
            (new, _) => Arc::new(new?),
        };
        Ok(Arc::clone(state.client.insert(client)))
    }

    /// Logs in.
    async fn log_in<'s>(
        self: &Arc<Self>,
        client: &VaultClient,
        state: &'s mut ConnectionState,
    ) -> Result<&'s Session, VaultError> {
        let auth = self.server.auth()?;
        let mut wrapped = self.wrapped.lock().await;
        let outcome = auth::login(client, &auth, &mut wrapped).await;
        client.suspect_files(outcome.as_ref().err());
        state.login_refused = match &outcome {
            Err(VaultError::LoginRefused { method, status }) => Some((method, *status)),
            _ => None,
        };
        let session = state.session.insert(outcome?);
        state.logins += 1;
        state.renewal = self.renewal(session);
        Ok(session)
    }

    /// Renews the token if it is due, or logs in again if it can no longer be renewed.
    async fn keep_alive(self: &Arc<Self>, client: &VaultClient, state: &mut ConnectionState) {
        let now = Instant::now();
        if state.session.as_ref().is_some_and(|session| session.is_expired(now)) {
            state.session = None;
        }
        let Some(held) = state.session.as_mut().filter(|session| session.is_due(now)) else {
            return;
        };
        let renewed = match held.renew(client).await {
            Ok(Renewal::Renewed) => Ok(()),
            Ok(Renewal::Exhausted) => self.log_in(client, state).await.map(drop),
            Err(error) => Err(error),
        };
        let Some(held) = &mut state.session else { return };
        if let Err(error) = renewed {
            // The token is still valid for a while.
            tracing::warn!(
                reason = %Chain(&error), "the vault token could not be renewed yet"
            );
            held.postpone(now);
        }
        state.renewal = self.renewal(held);
    }

    /// Renews the token when it is due, so that nobody has to read a secret for that.
    fn renewal(self: &Arc<Self>, session: &Session) -> Option<AbortOnDropHandle<()>> {
        let due = session.renew_at()?;
        let connection = Arc::downgrade(self);
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            time::sleep_until(due).await;
            if let Some(connection) = connection.upgrade() {
                connection.renew().await;
            }
        })))
    }

    async fn renew(self: &Arc<Self>) {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.clone() {
            self.keep_alive(&client, &mut state).await;
        }
    }
}

impl ConnectionState {
    /// Why a source gets no session now, if that is known without another attempt.
    fn known_failure(&self, told: &ToldFailures, reason: RefreshReason) -> Option<Arc<VaultError>> {
        if self.client.is_some() && self.session.is_some() {
            return None;
        }
        let failed = self.failed.as_ref().filter(|failed| failed.at.elapsed() < FAILURE_LASTS);
        if let Some(failed) = failed
            && told.note(self.failures)
        {
            return Some(Arc::clone(&failed.error));
        }
        // Only scheduled reads, which pause longer after each failure, repeat a login that the vault refused,
        // because a vault locks out clients that fail too often.
        let (method, status) = self.login_refused.filter(|_| reason != RefreshReason::Scheduled)?;
        Some(Arc::new(VaultError::LoginRefused { method, status }))
    }
}

impl ToldFailures {
    /// Notes that the source was told of that one. False if it had been.
    fn note(&self, number: u64) -> bool {
        self.0.swap(number, Ordering::Relaxed) != number
    }
}

impl fmt::Debug for Vaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vaults").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl fmt::Debug for VaultConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConnection").field("server", &self.server).finish_non_exhaustive()
    }
}
