//! What has arrived with the values of one activation.

use serde::Serialize;

use crate::credentials::Credentials;

/// How many requests have arrived with values of one activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ActivationCounts {
    /// All of them.
    pub requests: u64,
    /// Those with seven values that were accepted together.
    pub accepted: u64,
    /// Those of the accepted ones that were over the rate limit.
    pub limited: u64,
    /// Those that were refused, and had no other activation's value: a value was missing or
    /// unknown, the secret was an old one, or the activation is revoked.
    pub wrong: u64,
    /// Those that were refused and had a value of another activation as well.
    pub mixed: u64,
}

/// How the mock took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    Wrong,
    Mixed,
}

/// The counts, and each set of seven values that has arrived.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) counts: ActivationCounts,
    pub(super) sets: Vec<(Credentials, u64)>,
}

impl Arrivals {
    /// Counts a request; `sent` is its seven values, if it had each once.
    pub(super) fn add(&mut self, outcome: Outcome, sent: Option<&Credentials>) {
        self.counts.requests += 1;
        match outcome {
            Outcome::Accepted => self.counts.accepted += 1,
            Outcome::Wrong => self.counts.wrong += 1,
            Outcome::Mixed => self.counts.mixed += 1,
        }
        let Some(sent) = sent else { return };
        if let Some((_, times)) = self.sets.iter_mut().find(|(set, _)| set == sent) {
            *times += 1;
        } else if self.sets.len() < KEPT_SETS {
            self.sets.push((sent.clone(), 1));
        }
    }
}

/// How many different sets are kept: a mock that runs for weeks must not grow.
const KEPT_SETS: usize = 64;
