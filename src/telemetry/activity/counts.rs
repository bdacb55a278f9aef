//! What is counted of calls that have something in common.

use http::StatusCode;

use super::Times;
use crate::audit::{CacheResult, Outcome, Record};

/// Calls that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pigello answered.
    pub forwarded: u64,
    /// Memory answered.
    pub cached: u64,
    /// The gateway said no.
    pub refused: u64,
    /// It was tried and failed.
    pub failed: u64,
    /// Answers of 500 and above, and calls that failed without an answer.
    pub errors: u64,
    /// Calls that the cache was asked for.
    pub cacheable: u64,
    /// Of those, the ones that memory answered.
    pub from_memory: u64,
    /// How long they took, to the last byte of the answer.
    pub times: Times,
}

impl Counts {
    pub(super) fn add(&mut self, record: &Record) {
        let count = match record.outcome {
            Outcome::Forwarded => &mut self.forwarded,
            Outcome::Cached => &mut self.cached,
            Outcome::Refused => &mut self.refused,
            Outcome::Failed => &mut self.failed,
        };
        *count += 1;
        let failed = record.outcome == Outcome::Failed
            || record.status.is_some_and(|status| status.is_server_error());
        self.errors += u64::from(failed);
        match record.cache {
            None | Some(CacheResult::Bypass) => {}
            Some(CacheResult::Hit | CacheResult::Stale | CacheResult::Collapsed) => {
                self.cacheable += 1;
                self.from_memory += 1;
            }
            Some(CacheResult::Miss | CacheResult::Revalidated) => self.cacheable += 1,
        }
        self.times.add(record.duration);
    }

    /// Adds calls to these.
    pub fn merge(&mut self, other: &Self) {
        self.forwarded += other.forwarded;
        self.cached += other.cached;
        self.refused += other.refused;
        self.failed += other.failed;
        self.errors += other.errors;
        self.cacheable += other.cacheable;
        self.from_memory += other.from_memory;
        self.times.merge(&other.times);
    }

    /// All of them.
    pub fn calls(&self) -> u64 {
        self.forwarded + self.cached + self.refused + self.failed
    }
}

/// What an upstream answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Calls that were sent, each counted once however often it was.
    pub calls: u64,
    /// Calls that had to be sent more than once.
    pub repeated: u64,
    /// Of all, those that it did not answer, or with 500 and above.
    pub failed: u64,
    /// Of all, those that it refused to take now (429).
    pub limited: u64,
    /// Until the head of its answer.
    pub times: Times,
}

impl Answers {
    pub(super) fn add(&mut self, record: &Record) {
        self.calls += 1;
        self.repeated += u64::from(record.attempts > 1);
        let failed = record
            .upstream_status
            .map_or(record.outcome == Outcome::Failed, |status| status.is_server_error());
        self.failed += u64::from(failed);
        let limited = record.upstream_status == Some(StatusCode::TOO_MANY_REQUESTS);
        self.limited += u64::from(limited);
        if let Some(time) = record.upstream_time {
            self.times.add(time);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.repeated += other.repeated;
        self.failed += other.failed;
        self.limited += other.limited;
        self.times.merge(&other.times);
    }
}
