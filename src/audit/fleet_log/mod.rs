//! The fleet log of a hub: the heads of all members' trails, in a log of the same form as a trail.
//!
//! A member's record carries the head of its trail ([`TrailHead`](crate::fleet::TrailHead)). A hub reads the records every few seconds, judges
//! each head by the one before, and appends it to a log in the folder `fleet-log` of its audit directory. That log is a
//! trail: its lines are chained, stand under a tree, are signed with the same key, and are cosigned by the witnesses.
//! So whoever holds it can say of every trail up to which line it was, also when its host is gone.
//!
//! | kind of line | content |
//! | --- | --- |
//! | `head` | `chain`, `instance`, `size` (lines of the chain), `last_seq` (the last of them), `ended`, `started` (when the gateway did), `interval_ms`, `key` and `note` (C2SP signed-note, tlog-checkpoint) |
//! | `finding` | `chain`, `instance`, `finding`, `size` and `last_seq` that there were, `told_size` that there is, `since` |
//! | `acknowledged` | `chain`, whose findings an operator has acknowledged |
//!
//! The log is also the state: a hub that starts reads it.

mod chains;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use self::chains::Chains;
use super::{
    entry::{Entry, Finding},
    handle::{Trail, TrailOpenError, TrailStats},
    lines::TrailReadError,
    queue::Unwritable,
    read::{ReadItem, files, read_through},
    settings::{Durability, ListIds, LogKind, ObjectIds, OnFailure, Settings},
    tlog::WitnessStats,
};
use crate::fleet::Seen;

/// The open fleet log.
#[derive(Debug)]
pub struct FleetLog {
    trail: Trail,
    chains: Mutex<Chains>,
}

/// A fleet log as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetLogStatus {
    /// The chain of its own lines.
    pub chain: Option<String>,
    /// Its last line.
    pub last_seq: u64,
    /// Whether the last write and the last sync succeeded.
    pub writable: bool,
    /// How many chains of members it knows.
    pub chains: u64,
    /// How the witnesses stand.
    pub witnesses: Vec<WitnessStats>,
    /// What is wrong with trails of members.
    pub findings: Vec<Finding>,
}

impl FleetLog {
    /// Opens the log of a hub with those settings of its trail, or begins one.
    pub fn open(trail: &Settings) -> Result<Self, TrailOpenError> {
        let settings = Settings {
            directory: Self::folder(&trail.directory),
            signing_key: Some(trail.signing_key_path()),
            origin: trail.origin.of_fleet(),
            log: LogKind::Fleet,
            // No call waits for it, and none is refused because of it.
            durability: Durability::Batched,
            on_failure: OnFailure::Continue,
            export_to: None,
            object_ids: ObjectIds::Plain,
            list_ids: ListIds::None,
            queue_records: QUEUE,
            batch_delay: BATCH,
            ..trail.clone()
        };
        Ok(Self { trail: Trail::open(&settings)?, chains: Mutex::default() })
    }

    /// Where the log of a hub is whose trail is in that directory.
    pub fn folder(trail: &Path) -> PathBuf {
        trail.join(FOLDER)
    }

    /// Takes up what the log has from before. Reads all of it.
    pub fn read_back(&self) -> Result<(), TrailReadError> {
        let mut chains = Chains::default();
        read_through(&files(self.trail.directory())?, |item| {
            if let ReadItem::Line(line) = item
                && let Some(entry) = Entry::parse(line)
            {
                chains.take_up(entry);
            }
            Ok::<_, TrailReadError>(ControlFlow::Continue(()))
        })?;
        *self.chains.lock() = chains;
        Ok(())
    }

    /// Takes the records of members as they are now, that time after the last ones. Time in which they could not be read
    /// is nobody's silence.
    pub fn observe(&self, seen: &[Seen], passed: Duration) {
        let entries = self.chains.lock().observe(seen, passed, Timestamp::now());
        for entry in entries {
            self.trail.enter(entry);
        }
    }

    /// An operator knows of what is wrong with a chain. Returns how many findings there were.
    pub fn acknowledge(&self, chain: &str) -> usize {
        let known = self.chains.lock().acknowledge(chain);
        if known > 0 {
            self.trail.enter(Entry::Acknowledged { chain: chain.to_owned() });
        }
        known
    }

    /// What is wrong with trails of members.
    pub fn findings(&self) -> Vec<Finding> {
        self.chains.lock().findings().cloned().collect()
    }

    /// Whether the last write and the last sync succeeded.
    pub fn is_writable(&self) -> bool {
        self.trail.stats().writable
    }

    /// Its state.
    pub fn status(&self) -> FleetLogStatus {
        let TrailStats { chain, last_seq, writable, witnesses, .. } = self.trail.stats();
        let chains = self.chains.lock();
        let (findings, chains) = (chains.findings().cloned().collect(), chains.len() as u64);
        FleetLogStatus { chain, last_seq, writable, chains, witnesses, findings }
    }

    /// Writes the last heads, and closes it. Blocks.
    pub fn close(&self) -> Result<u64, Unwritable> {
        let last = self.chains.lock().last_heads();
        for entry in last {
            self.trail.enter(entry);
        }
        self.trail.clone().close()
    }
}

/// In the directory of the hub's trail.
const FOLDER: &str = "fleet-log";
/// The lines that may wait for the disk: the last heads of a large fleet.
const QUEUE: usize = 16_384;
/// Heads that come together are written together.
const BATCH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
