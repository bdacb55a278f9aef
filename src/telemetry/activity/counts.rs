//! Counters of a group of calls.

use http::StatusCode;

use super::Times;
use crate::audit::{CacheResult, Outcome, Record};

/// Counters of a group of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered by Pigello.
    pub forwarded: u64,
    /// Answered by the cache.
    pub cached: u64,
    /// Refused by the gateway.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Responses of 500 and above, and calls that failed without a response.
    pub errors: u64,
    /// Cache lookups.
    pub cacheable: u64,
    /// Cache hits among them.
    pub from_memory: u64,
    /// Durations of calls that were answered, to the last byte of the response. A refusal takes no time, and a
    /// failure as long as a limit says.
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
        self.errors += u64::from(record.is_error());
        match record.cache {
            None | Some(CacheResult::Bypass) => {}
            Some(
                CacheResult::Hit
                | CacheResult::Stale
                | CacheResult::Collapsed
                | CacheResult::Shared,
            ) => {
                self.cacheable += 1;
                self.from_memory += 1;
            }
            Some(CacheResult::Miss | CacheResult::Revalidated) => self.cacheable += 1,
        }
        if matches!(record.outcome, Outcome::Forwarded | Outcome::Cached) {
            self.times.add(record.duration);
        }
    }

    /// Adds other counters.
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

    /// The total.
    pub fn calls(&self) -> u64 {
        self.forwarded + self.cached + self.refused + self.failed
    }
}

/// Counters of an upstream's responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Calls that were sent, each counted once whatever the number of attempts.
    pub calls: u64,
    /// Calls with more than one attempt.
    pub repeated: u64,
    /// Calls without a response, or with one of 500 and above.
    pub failed: u64,
    /// Calls answered 429.
    pub limited: u64,
    /// Time to the head of the response.
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
