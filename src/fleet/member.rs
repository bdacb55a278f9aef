//! This gateway as a member of the fleet: it stays connected to the store, tells what changes here, and hears what
//! changes elsewhere.
//!
//! Nothing waits for the connection. Attempts come after random pauses, so that a store that comes back does not
//! meet all members at once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Role,
    breaker::Breaker,
    budget::{BudgetSettings, Budgets, Purse},
    bus::Bus,
    change::Change,
    connect::{Asker, Connection, Connector, Server},
    error::StoreError,
    exchange::{Break, Exchange, Hearing},
    horizon::Position,
    keys::{KeyError, KeyRing, KeyStatus},
    lease::Leases,
    members::{Members, Register, Seen},
    record::Describe,
    sealed::FleetKeys,
    settings::Settings,
    tier::Tier,
};
use crate::{domain::ProfileName, error::Chain, outbound::Backoff};

/// This gateway as a member.
#[derive(Debug)]
pub struct Member {
    settings: Settings,
    connector: Connector,
    bus: tokio::sync::Mutex<Bus>,
    exchange: Exchange,
    breaker: Breaker,
    link: Mutex<Link>,
    process: Uuid,
    key: Arc<KeyRing>,
    register: Register,
    tier: Arc<Tier>,
    leases: Leases,
    budgets: Budgets,
    /// The members as they were read the last time.
    members: tokio::sync::Mutex<Option<(Instant, Arc<Members>)>>,
}

/// The state of the connection.
#[derive(Debug)]
struct Link {
    since: Timestamp,
    /// The server, while there is a connection.
    server: Option<Server>,
    /// Asks it, while there is a connection.
    asker: Option<Asker>,
    /// Why there is none, or why the last one ended.
    error: Option<String>,
    /// The connections that were made.
    connections: u64,
}

/// A member as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetStatus {
    /// The name of the fleet.
    pub name: String,
    /// What this gateway is in it.
    pub role: &'static str,
    /// The addresses of the store, or of its sentinels.
    pub store: Vec<String>,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// Since when there is one, or none.
    pub since: Timestamp,
    /// The name and the version of the server, while there is a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Why there is none, or why the last one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The connections that were made since the start.
    pub connections: u64,
    /// Whether every change that other members tell is heard.
    pub hearing: bool,
    /// Changes that wait to be told.
    pub waiting: u64,
    /// Messages with changes that were told.
    pub messages: u64,
    /// Changes of other members that were heard.
    pub heard: u64,
    /// The members that are there, this one among them, as of its last record; 0 while there is no connection.
    pub members: u64,
    /// The key of the notices.
    pub key: KeyStatus,
    /// How often changes may have been missed, for each reason.
    pub breaks: Vec<BreakCount>,
}

/// How often changes may have been missed for a reason.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BreakCount {
    /// `position`, `gap` or `unreadable`.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

impl Member {
    /// Reads the files, and does not connect: a store that is away must not prevent a start, nor a key that has yet to
    /// be read.
    pub fn open(settings: Settings, key: Arc<KeyRing>) -> Result<Arc<Self>, StoreError> {
        let connector = Connector::new(settings.store.clone());
        connector.check_files()?;
        let keys = FleetKeys::new(Arc::clone(&key), &settings.name);
        let bus = Bus::new(&settings.name, &keys).ok_or(StoreError::Seal)?;
        let (since, process) = (Timestamp::now(), bus.process());
        let link = Link { since, server: None, asker: None, error: None, connections: 0 };
        let budgets = Budgets::new(&settings.name, keys.clone(), process);
        Ok(Arc::new(Self {
            register: Register::new(&settings.name, keys.clone()),
            exchange: Exchange::new(Arc::clone(budgets.feed())),
            budgets,
            tier: Tier::new(&settings.store),
            key,
            leases: Leases::new(&settings.name, keys, process),
            process,
            members: tokio::sync::Mutex::default(),
            settings,
            connector,
            bus: tokio::sync::Mutex::new(bus),
            breaker: Breaker::default(),
            link: Mutex::new(link),
        }))
    }

    /// What this gateway is in the fleet.
    pub fn role(&self) -> Role {
        self.settings.role
    }

    /// Leads to the store of a model.
    #[cfg(test)]
    pub(crate) fn lead_to(&self, model: super::testing::Way) {
        drop(self.connector.model.set(model));
    }

    /// Has that one hear of changes from here on.
    pub fn hear_for(&self, hearing: Arc<impl Hearing + 'static>) {
        self.exchange.hear_for(hearing);
    }

    /// Has that say what this member is from here on.
    pub fn describe_by(&self, describe: Describe) {
        self.exchange.describe_by(describe);
    }

    /// The members that are there. They are read once a second at most.
    pub async fn members(&self) -> Result<Arc<Members>, StoreError> {
        let mut known = self.members.lock().await;
        if let Some((read, members)) = &*known
            && read.elapsed() < MEMBERS_EVERY
        {
            return Ok(Arc::clone(members));
        }
        let asker = self.link.lock().asker.clone();
        let mut asker = asker.ok_or(StoreError::NotConnected)?;
        let members = Arc::new(self.register.read(&mut asker, self.process).await?);
        *known = Some((Instant::now(), Arc::clone(&members)));
        Ok(members)
    }

    /// The way to the entries of the shared cache.
    pub fn tier(&self) -> &Arc<Tier> {
        &self.tier
    }

    /// The name of the fleet.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The position of the last notice that was heard, while all are heard.
    pub fn position(&self) -> Option<Position> {
        self.exchange.position()
    }

    /// The last records of the members that are there, and of those that ended after `since`, a time of the store that
    /// goes on to the last of them.
    pub async fn last_records(&self, since: &mut u64) -> Result<Vec<Seen>, StoreError> {
        let asker = self.link.lock().asker.clone();
        let mut asker = asker.ok_or(StoreError::NotConnected)?;
        // In this order: one that ends in between is in both.
        let members = self.register.read(&mut asker, self.process).await?;
        let (ended, last) = self.register.read_ended(&mut asker, *since).await?;
        *since = last;
        Ok(members.members.into_iter().chain(ended).collect())
    }

    /// Whether this member is one of those that try new credentials: a hub, or one of a share of the members, and at
    /// least one. While the store cannot be asked, only a hub is.
    pub async fn is_canary(&self, share: f64) -> bool {
        if self.settings.role == Role::Hub {
            return true;
        }
        let asker = self.link.lock().asker.clone();
        let Some(mut asker) = asker else { return false };
        self.register.is_of_share(&mut asker, self.process, share).await.unwrap_or(false)
    }

    /// The purse of a profile, which the store feeds; `None` if there is no rate.
    pub fn purse(&self, profile: &ProfileName, settings: BudgetSettings) -> Option<Arc<Purse>> {
        Purse::new(profile, settings, Some(Arc::clone(self.budgets.feed())))
    }

    /// Asks the store for the calls of all purses, until it is to end.
    pub async fn feed(self: Arc<Self>, ending: CancellationToken) {
        let asker = || self.link.lock().asker.clone();
        ending.run_until_cancelled(self.budgets.run(asker)).await;
    }

    /// Whether every change that other members tell is heard now.
    pub fn is_hearing(&self) -> bool {
        self.exchange.is_joined()
    }

    /// Tells the fleet of a change, as soon as the store can be reached.
    pub fn tell(&self, change: Change) {
        self.exchange.outbox.put(change);
    }

    /// What it is called.
    pub fn instance(&self) -> &str {
        self.settings.instance.as_deref().unwrap_or_default()
    }

    /// Whether it is a hub.
    pub fn is_hub(&self) -> bool {
        self.settings.role == Role::Hub
    }

    /// Wants to read the event logs of these profiles for the fleet, and of no others.
    pub fn want_to_read(&self, profiles: impl Iterator<Item = ProfileName>) {
        self.leases.want(profiles);
    }

    /// Whether it reads the event log of a profile for the fleet.
    pub fn reads(&self, profile: &ProfileName) -> bool {
        self.leases.has(profile)
    }

    /// Leaves the event log of a profile to others for that time.
    pub fn leave_to_others(&self, profile: &ProfileName, rest: Duration) {
        self.leases.rest(profile, rest);
    }

    /// How many changes of each kind were told, and heard.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        self.exchange.kinds()
    }

    /// Whether its key could not be read the last time.
    pub fn is_key_unread(&self) -> bool {
        self.key.is_unread()
    }

    /// How long ago everything that was in the store was heard.
    pub fn lag(&self) -> Duration {
        self.exchange.lag()
    }

    /// Waits until the store is told of all changes so far: no longer than `wait`, and not at all while it is away or
    /// slow.
    pub async fn told(&self) {
        if self.is_hearing() && self.breaker.may_wait() {
            let is_told = self.is_told_within(*self.settings.store.wait).await;
            self.breaker.note(!is_told);
        }
    }

    /// Whether the store is told of all changes so far, or is in that time.
    pub async fn is_told_within(&self, limit: Duration) -> bool {
        timeout(limit, self.exchange.outbox.emptied()).await.is_ok()
    }

    /// Stays connected until it is to end.
    pub async fn run(self: Arc<Self>, ending: CancellationToken) {
        tokio::join!(self.attend(&ending), self.tier.run(&ending));
    }

    async fn attend(&self, ending: &CancellationToken) {
        let mut bus = self.bus.lock().await;
        let mut backoff = Backoff::new(FIRST_PAUSE, *self.settings.store.reconnect);
        while !ending.is_cancelled() {
            let began = Instant::now();
            let Err(error) = self.connect(&mut bus, ending).await else { return };
            self.exchange.leave();
            self.lost(&error);
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            ending.run_until_cancelled(sleep(backoff.pause())).await;
        }
    }

    /// Connects, and stays connected until the connection fails, or it is to end: then its record goes.
    async fn connect(&self, bus: &mut Bus, ending: &CancellationToken) -> Result<(), StoreError> {
        if self.key.keys().is_empty() {
            self.lost(&self.no_key());
            if ending.run_until_cancelled(self.key.filled()).await.is_none() {
                return Ok(());
            }
        }
        let connecting = ending.run_until_cancelled(self.connector.connect());
        let Some(connection) = connecting.await else { return Ok(()) };
        let mut connection = connection?;
        self.connected(&connection);
        let place = connection.place.clone();
        let (exchange, register) = (&self.exchange, &self.register);
        let leases = self.leases.keep(connection.asker.clone(), &exchange.outbox);
        tokio::select! {
            Err(error) = bus.attend(&mut connection, exchange, register) => return Err(error),
            Err(error) = leases => return Err(error),
            error = self.connector.moved(&place) => return Err(error),
            () = self.key.emptied() => return Err(self.no_key()),
            () = ending.cancelled() => {}
        }
        self.leases.leave(connection.asker.clone()).await?;
        bus.leave(&mut connection, exchange, register).await
    }

    fn no_key(&self) -> StoreError {
        StoreError::Key(self.key.error().map_or(KeyError::NotRead, KeyError::Unread))
    }

    fn connected(&self, connection: &Connection) {
        let Connection { server, place, asker, .. } = connection;
        tracing::info!(%server, %place, "connected to the fleet's store");
        let mut link = self.link.lock();
        link.connections = link.connections.saturating_add(1);
        link.server = Some(server.clone());
        link.asker = Some(asker.clone());
        link.since = Timestamp::now();
    }

    fn lost(&self, error: &StoreError) {
        let error = Chain(error).to_string();
        let mut link = self.link.lock();
        link.asker = None;
        if link.server.take().is_some() {
            link.since = Timestamp::now();
            tracing::warn!(%error, "the fleet's store is lost; calls go on without it");
        } else if link.error.as_ref() != Some(&error) {
            tracing::warn!(%error, "no connection to the fleet's store; calls go on without it");
        }
        link.error = Some(error);
    }

    /// Its state.
    pub fn status(&self) -> FleetStatus {
        let link = self.link.lock();
        let reason = |(reason, count): (Break, u64)| BreakCount { reason: reason.label(), count };
        FleetStatus {
            name: self.settings.name.clone(),
            role: self.settings.role.label(),
            store: self.settings.store.addresses().map(ToString::to_string).collect(),
            connected: link.server.is_some(),
            since: link.since,
            server: link.server.as_ref().map(ToString::to_string),
            last_error: link.error.clone(),
            connections: link.connections,
            hearing: self.is_hearing(),
            waiting: self.exchange.outbox.len() as u64,
            messages: self.exchange.messages.load(Ordering::Relaxed),
            heard: self.exchange.heard(),
            members: self.exchange.members(),
            key: self.key.status(),
            breaks: self.exchange.breaks().map(reason).collect(),
        }
    }
}

/// The first pause is as long as this at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often the members are read at most, whoever asks.
const MEMBERS_EVERY: Duration = Duration::from_secs(1);
/// A connection that lasted longer was a good one: the next pause is a first one.
const STABLE: Duration = Duration::from_secs(10);
