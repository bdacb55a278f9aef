//! The records of the members: who is there, and what each of them runs.
//!
//! A member writes its record every ten seconds, and sooner when something changes, into a sorted set of the store, in
//! place of the one before. The score is the store's time in microseconds, so members' clocks are not compared. A record
//! of more than thirty seconds ago is of a member that is gone, and the next one that writes removes it.
//!
//! A member that ends removes its record. If its audit trail was closed properly, its last record goes into a second set,
//! where it is for a day: so a hub knows those that ended from those that were killed.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    connect::Asker,
    error::StoreError,
    record::{InUse, Record},
    sealed::FleetKeys,
    settings::key_of,
};
use crate::domain::ProfileName;

/// The members that are there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    /// By name.
    pub members: Vec<Seen>,
    /// Records that cannot be read: sealed with another key, or of another form.
    pub unreadable: u64,
}

/// A member, as its last record has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Identifies the process.
    pub process: Uuid,
    /// Whether it is this one.
    pub is_self: bool,
    /// How old the record is, in seconds.
    pub seen_seconds: u64,
    /// When it was written, in microseconds of the store's time.
    #[serde(skip)]
    pub written: u64,
    /// In what it differs from most members: `version`, `configuration`, `event_log`, `credentials`.
    pub differs: Vec<String>,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
}

/// What more than half of the members have.
struct Usual<'a> {
    version: Option<&'a str>,
    configuration: Option<&'a str>,
    event_log: Option<&'a str>,
    /// The version of each profile's credentials, among those that have the profile.
    credentials: BTreeMap<&'a ProfileName, Option<&'a Option<String>>>,
}

impl<'a> Usual<'a> {
    fn of(records: &'a [Record]) -> Self {
        let mut credentials: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for used in records.iter().flat_map(|record| &record.credentials) {
            credentials.entry(&used.profile).or_default().push(&used.version);
        }
        let credentials = credentials.into_iter();
        Self {
            version: usual(records.iter().map(|record| &*record.version)),
            configuration: usual(records.iter().map(|record| &*record.configuration)),
            event_log: usual(records.iter().map(|record| &*record.event_log)),
            credentials: credentials.map(|(profile, all)| (profile, usual(all))).collect(),
        }
    }

    fn differences(&self, record: &Record) -> Vec<String> {
        let is_usual = |used: &InUse| {
            self.credentials.get(&used.profile).copied().flatten() == Some(&used.version)
        };
        let differences = [
            ("version", self.version != Some(&record.version)),
            ("configuration", self.configuration != Some(&record.configuration)),
            ("event_log", self.event_log != Some(&record.event_log)),
            ("credentials", !record.credentials.iter().all(is_usual)),
        ];
        let differing = differences.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(what, _)| what.to_owned()).collect()
    }
}

/// The value that more than half of them have, if there is one.
fn usual<T: Eq + Hash>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let (mut counts, mut all) = (HashMap::new(), 0_usize);
    for value in values {
        all = all.saturating_add(1);
        let count: &mut usize = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    counts.into_iter().find_map(|(value, count)| (count > all / 2).then_some(value))
}

/// Where the records are.
#[derive(Debug)]
pub(super) struct Register {
    key: String,
    /// The last records of those that ended.
    ended: String,
    keys: FleetKeys,
}

/// Records as they were found.
#[derive(Debug, Default)]
struct Found {
    /// With when each was written, by process: a member that writes while pages are read is in two of them.
    records: BTreeMap<Uuid, (u64, Record)>,
    unreadable: u64,
    /// When the last one was written.
    last: u64,
}

impl Register {
    pub(super) fn new(fleet: &str, keys: FleetKeys) -> Self {
        Self { key: key_of(fleet, "members"), ended: key_of(fleet, "ended"), keys }
    }

    /// Puts a record in place of the one before, and returns how many there are.
    pub(super) async fn write(
        &self,
        store: &mut Asker,
        before: &[u8],
        record: &[u8],
    ) -> Result<u64, StoreError> {
        let mut write = redis::cmd("EVAL");
        write.arg(WRITE).arg(1).arg(&self.key).arg(before).arg(record).arg(ALIVE.as_secs());
        store.ask(&write).await
    }

    /// Removes a record.
    pub(super) async fn remove(&self, store: &mut Asker, record: &[u8]) -> Result<(), StoreError> {
        let mut remove = redis::cmd("ZREM");
        remove.arg(&self.key).arg(record);
        store.ask(&remove).await
    }

    /// Removes a record, and puts the last one to those of members that ended.
    pub(super) async fn end(
        &self,
        store: &mut Asker,
        before: &[u8],
        last: &[u8],
    ) -> Result<(), StoreError> {
        let mut write = redis::cmd("EVAL");
        write.arg(WRITE).arg(1).arg(&self.ended).arg(b"").arg(last).arg(ENDED.as_secs());
        let _count: u64 = store.ask(&write).await?;
        self.remove(store, before).await
    }

    /// Whether that process is one of that share of those that are there.
    pub(super) async fn is_of_share(
        &self,
        store: &mut Asker,
        own: Uuid,
        share: f64,
    ) -> Result<bool, StoreError> {
        let mut processes = redis::cmd("EVAL");
        processes.arg(PROCESSES).arg(1).arg(&self.key);
        let all: Vec<Vec<u8>> = store.ask(&processes).await?;
        Ok(is_of_share(own.as_bytes(), &all, share))
    }

    /// Reads all of them. `own` is this process.
    pub(super) async fn read(&self, store: &mut Asker, own: Uuid) -> Result<Members, StoreError> {
        let (seconds, micros): (u64, u64) = store.ask(&redis::cmd("TIME")).await?;
        let now = seconds.saturating_mul(1_000_000).saturating_add(micros);
        let alive = u64::try_from(ALIVE.as_micros()).unwrap_or(u64::MAX);
        let found = self.find(store, &self.key, now.saturating_sub(alive)).await?;
        let (seen, records): (Vec<_>, Vec<_>) = found
            .records
            .into_iter()
            .map(|(process, (written, record))| ((process, written), record))
            .unzip();
        let usual = Usual::of(&records);
        let differences: Vec<_> = records.iter().map(|record| usual.differences(record)).collect();
        let mut members: Vec<_> = seen
            .into_iter()
            .zip(differences)
            .zip(records)
            .map(|(((process, written), differs), record)| Seen {
                process,
                is_self: process == own,
                seen_seconds: now.saturating_sub(written) / 1_000_000,
                written,
                differs,
                record,
            })
            .collect();
        members.sort_by(|one, other| one.record.instance.cmp(&other.record.instance));
        Ok(Members { members, unreadable: found.unreadable })
    }

    /// Reads the last records of members that ended after a time of the store, and returns the time of the last.
    pub(super) async fn read_ended(
        &self,
        store: &mut Asker,
        since: u64,
    ) -> Result<(Vec<Seen>, u64), StoreError> {
        let Found { records, last, .. } = self.find(store, &self.ended, since).await?;
        let seen = records.into_iter().map(|(process, (written, record))| Seen {
            process,
            is_self: false,
            seen_seconds: 0,
            written,
            differs: Vec::new(),
            record,
        });
        Ok((seen.collect(), last))
    }

    /// Reads records that were written after a time of the store, a page at a time.
    async fn find(&self, store: &mut Asker, key: &str, after: u64) -> Result<Found, StoreError> {
        let mut found = Found { last: after, ..Found::default() };
        let mut count = 0_usize;
        loop {
            let mut page = redis::cmd("ZRANGE");
            page.arg(key).arg(format!("({}", found.last)).arg("+inf").arg("BYSCORE");
            page.arg("LIMIT").arg(0).arg(PAGE).arg("WITHSCORES");
            let records: Vec<(Vec<u8>, String)> = store.ask(&page).await?;
            count = count.saturating_add(records.len());
            let is_last = records.len() < PAGE || count >= MOST_MEMBERS;
            for (sealed, written) in records {
                found.last = written.parse().map_err(|_| StoreError::Form)?;
                match self.open(&sealed) {
                    Some((process, record)) => {
                        found.records.insert(process, (found.last, record));
                    }
                    None => found.unreadable = found.unreadable.saturating_add(1),
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    fn open(&self, sealed: &[u8]) -> Option<(Uuid, Record)> {
        if sealed.len() > MOST_BYTES {
            return None;
        }
        let (process, text) = self.keys.open_record(sealed).ok()?;
        Some((Uuid::from_bytes(process), serde_json::from_slice(&text).ok()?))
    }
}

/// Whether that process is among the first of them, in the order of their random ids, which are no more than that share:
/// and at least one.
fn is_of_share(own: &[u8], all: &[Vec<u8>], share: f64) -> bool {
    let count = |number: usize| u32::try_from(number).map_or(f64::MAX, f64::from);
    let before = all.iter().filter(|process| process.as_slice() < own).count();
    count(before) < (count(all.len()) * share).floor().max(1.0)
}

/// The ids of the processes, which stand in clear before each record.
pub(super) const PROCESSES: &str = "\
local processes = {}
for number, record in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  processes[number] = string.sub(record, 5, 20)
end
return processes";
/// Writes a record, and removes the one before it and those of members that are gone.
pub(super) const WRITE: &str = "\
local now = redis.call('TIME')
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', (now[1] - ARGV[3]) .. '000000')
redis.call('ZADD', KEYS[1], now[1] .. string.format('%06d', now[2]), ARGV[2])
return redis.call('ZCARD', KEYS[1])";
/// The time between two records of a member, about.
const EVERY: Duration = Duration::from_secs(10);
/// How long a record is of a member that is there: two may be late.
const ALIVE: Duration = Duration::from_secs(30);
/// How long the last record of one that ended stays: a hub may be away for so long.
const ENDED: Duration = Duration::from_hours(24);
/// The records of one reading.
const PAGE: usize = 100;
/// More are not read.
const MOST_MEMBERS: usize = 10_000;
/// A record of [`MOST_PROFILES`](super::record::MOST_PROFILES) takes half of it.
const MOST_BYTES: usize = 64 * 1024;
/// The pause before the next record. Members are not in step.
pub(super) fn pause() -> Duration {
    EVERY.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_members_is_chosen_and_at_least_one() {
        let all = |count: u8| (0..count).map(|id| vec![id; 16]).collect::<Vec<_>>();
        for (count, share, chosen) in [
            (1, 0.01, 1),
            (20, 0.01, 1),
            (200, 0.01, 2),
            (250, 0.01, 2),
            (10, 0.5, 5),
            (10, 1.0, 10),
        ] {
            let all = all(count);
            let found = all.iter().filter(|own| is_of_share(own, &all, share)).count();
            assert_eq!(found, chosen, "{share} of {count}");
        }
        // Its record is not there yet.
        assert!(is_of_share(&[0; 16], &[], 0.01) && !is_of_share(&[9; 16], &all(9), 0.01));
    }

    #[test]
    fn what_differs_from_most_members_is_named() {
        let records = [
            Record::made_up("a", &[("p", "7")]),
            Record::made_up("a", &[("p", "7"), ("alone", "1")]),
            Record::made_up("b", &[("p", "6")]),
        ];
        let usual = Usual::of(&records);
        let differences = records.each_ref().map(|record| usual.differences(record));
        assert_eq!(differences, [vec![], vec![], vec!["configuration", "credentials"]]);
        // Of two that differ, nobody knows which is the odd one.
        let usual = Usual::of(&records[1..]);
        assert_eq!(usual.differences(&records[1]), ["configuration", "credentials"]);
    }
}
