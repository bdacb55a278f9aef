//! This gateway as a member of the fleet: it stays connected to the store.
//!
//! Nothing waits for the connection. Attempts come after random pauses, so that a store that comes back does not
//! meet all members at once.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    connect::{Connection, Connector, Server},
    error::StoreError,
    settings::Settings,
};
use crate::{error::Chain, outbound::Backoff};

/// This gateway as a member.
#[derive(Debug)]
pub struct Member {
    settings: Settings,
    connector: Connector,
    link: Mutex<Link>,
}

/// The state of the connection.
#[derive(Debug)]
struct Link {
    since: Timestamp,
    /// The server, while there is a connection.
    server: Option<Server>,
    /// Why there is none, or why the last one ended.
    error: Option<String>,
    /// The connections that were made.
    connections: u64,
}

/// A member as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetStatus {
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
}

impl Member {
    /// Reads the files, and does not connect: a store that is away must not prevent a start.
    pub fn open(settings: Settings) -> Result<Arc<Self>, StoreError> {
        let connector = Connector::new(settings.store.clone());
        connector.check_files()?;
        let link = Link { since: Timestamp::now(), server: None, error: None, connections: 0 };
        Ok(Arc::new(Self { settings, connector, link: Mutex::new(link) }))
    }

    /// Stays connected until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_PAUSE, *self.settings.store.reconnect);
        loop {
            let began = Instant::now();
            let error = match self.connector.connect().await {
                Ok(connection) => self.stay(connection).await,
                Err(error) => error,
            };
            self.lost(&error);
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Looks whether the server still answers, until it does not.
    async fn stay(&self, mut connection: Connection) -> StoreError {
        self.connected(&connection);
        let mut asked_sentinels = Instant::now();
        loop {
            sleep(LOOK).await;
            if let Err(error) = connection.ask::<()>(&redis::cmd("PING")).await {
                return error;
            }
            if asked_sentinels.elapsed() > SENTINEL_LOOK {
                if let Err(error) = self.connector.check_primary(&connection).await {
                    return error;
                }
                asked_sentinels = Instant::now();
            }
        }
    }

    fn connected(&self, connection: &Connection) {
        let Connection { server, place, .. } = connection;
        tracing::info!(%server, %place, "connected to the fleet's store");
        let mut link = self.link.lock();
        link.connections = link.connections.saturating_add(1);
        link.server = Some(server.clone());
        link.since = Timestamp::now();
    }

    fn lost(&self, error: &StoreError) {
        let error = Chain(error).to_string();
        let mut link = self.link.lock();
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
        FleetStatus {
            store: self.settings.store.addresses().map(ToString::to_string).collect(),
            connected: link.server.is_some(),
            since: link.since,
            server: link.server.as_ref().map(ToString::to_string),
            last_error: link.error.clone(),
            connections: link.connections,
        }
    }
}

/// The first pause is as long as this at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted longer was a good one: the next pause is a first one.
const STABLE: Duration = Duration::from_secs(10);
/// The time between two looks whether the server answers.
const LOOK: Duration = Duration::from_secs(1);
/// The time between two questions to the sentinels: a primary that they have left may not know.
const SENTINEL_LOOK: Duration = Duration::from_secs(10);
