//! What looking in the shared cache has brought.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedResult {
    /// With a response.
    Hit,
    /// With a response of a fetch that was under way.
    Waited,
    /// Without one.
    Miss,
    /// With one that is too old: something that it is about has changed, or its time is over.
    Outdated,
    /// With one that cannot be opened: its key is not here, or it was altered.
    Unreadable,
    /// With the word that the response cannot be shared.
    NotShared,
    /// The store could not be asked, or did not answer in time.
    Away,
}

impl SharedResult {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Waited,
        Self::Miss,
        Self::Outdated,
        Self::Unreadable,
        Self::NotShared,
        Self::Away,
    ];

    /// The value of the label `result`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Waited => "waited",
            Self::Miss => "miss",
            Self::Outdated => "outdated",
            Self::Unreadable => "unreadable",
            Self::NotShared => "not_shared",
            Self::Away => "away",
        }
    }
}

/// Counts looks.
pub(super) struct Counts {
    results: [AtomicU64; SharedResult::ALL.len()],
    stored: AtomicU64,
    dropped: AtomicU64,
    seconds: Histogram,
}

/// The state of the shared cache, as this member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedStats {
    /// How often a look ended how.
    pub results: Vec<SharedCount>,
    /// Responses that were handed to the store.
    pub stored: u64,
    /// Responses that found no room in the queue to the store.
    pub dropped: u64,
}

impl SharedStats {
    /// How often a response was found.
    pub fn found(&self) -> u64 {
        let found =
            |it: &&SharedCount| matches!(it.result, SharedResult::Hit | SharedResult::Waited);
        self.results.iter().filter(found).map(|it| it.count).sum()
    }

    /// How often one was looked for.
    pub fn looks(&self) -> u64 {
        self.results.iter().map(|it| it.count).sum()
    }
}

/// How often a look ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SharedCount {
    /// How.
    pub result: SharedResult,
    /// How often.
    pub count: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            results: Default::default(),
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            // From an answer of the same machine to the longest wait.
            seconds: Histogram::new([
                0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0,
            ]),
        }
    }
}

impl Counts {
    pub(super) fn count(&self, result: SharedResult, took: Duration) {
        if let Some(count) = self.results.get(result as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn kept(&self, is_kept: bool) {
        let count = if is_kept { &self.stored } else { &self.dropped };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How long looks took.
    pub(super) fn seconds(&self) -> &Histogram {
        &self.seconds
    }

    pub(super) fn stats(&self) -> SharedStats {
        let count = |(result, count): (SharedResult, &AtomicU64)| SharedCount {
            result,
            count: count.load(Ordering::Relaxed),
        };
        SharedStats {
            results: SharedResult::ALL.into_iter().zip(&self.results).map(count).collect(),
            stored: self.stored.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
