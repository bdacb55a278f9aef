//! What a trail is held against: the key, `checkpoint.json`, and checkpoints that were kept elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    doubt::TrailDoubtKind,
    report::{KeptReport, VouchingKey},
};
use crate::audit::{
    chain::Hash,
    checkpoint::{Checkpoint, Latest},
    keys::PublicKey,
};

#[derive(Debug)]
pub(super) struct Evidence {
    /// The key and whether it is from the trail's directory, or why there is none.
    pub(super) key: Result<(PublicKey, bool), TrailDoubtKind>,
    /// Why `checkpoint.json` cannot tell where the trail ends, if so.
    latest: Option<TrailDoubtKind>,
    /// The checkpoints, by `seq`, until the trail has reached that line.
    ahead: BTreeMap<u64, Vec<Known>>,
    kept: Option<KeptReport>,
    /// A kept checkpoint is about a line of the trail.
    was_compared: bool,
    /// The kept checkpoints that the trail agrees with.
    agreed: BTreeSet<u64>,
}

#[derive(Debug)]
struct Known {
    prev: String,
    is_kept: bool,
}

impl Evidence {
    pub(super) fn new(
        key: Result<(PublicKey, bool), TrailDoubtKind>,
        latest: Option<Latest>,
        kept: Option<Vec<Checkpoint>>,
    ) -> Self {
        let mut evidence = Self {
            key,
            latest: None,
            ahead: BTreeMap::new(),
            kept: None,
            was_compared: false,
            agreed: BTreeSet::new(),
        };
        match latest {
            // There is no such file where the lines come from.
            None => {}
            Some(Latest::Missing) => evidence.latest = Some(TrailDoubtKind::LatestMissing),
            Some(Latest::Found(checkpoint)) if evidence.trusts(&checkpoint) => {
                evidence.expect(checkpoint, false);
            }
            Some(Latest::Unreadable | Latest::Found(_)) => {
                evidence.latest = Some(TrailDoubtKind::LatestUnusable);
            }
        }
        if let Some(kept) = kept {
            let mut report = KeptReport { found: kept.len() as u64, ..KeptReport::default() };
            for checkpoint in kept {
                if evidence.trusts(&checkpoint) {
                    report.signed += 1;
                    evidence.expect(checkpoint, true);
                }
            }
            evidence.kept = Some(report);
        }
        evidence
    }

    /// The key, if there is one.
    pub(super) fn key(&self) -> Option<&PublicKey> {
        self.key.as_ref().ok().map(|(key, _)| key)
    }

    /// Counts a note that was kept elsewhere.
    pub(super) fn keep_note(&mut self, is_usable: bool) {
        let kept = self.kept.get_or_insert_default();
        kept.found += 1;
        kept.signed += u64::from(is_usable);
        // Its head says itself whether it is about the trail.
        self.was_compared |= is_usable;
    }

    /// A kept note says the same as the checkpoint of this line would.
    pub(super) fn agree(&mut self, seq: u64) {
        self.agreed.insert(seq);
    }

    /// Without a key, every checkpoint from outside is trusted to show what is wrong.
    fn trusts(&self, checkpoint: &Checkpoint) -> bool {
        let Ok((key, _)) = &self.key else { return true };
        key.named(&checkpoint.key).is_some_and(|(_, key)| checkpoint.is_signed_by(key))
    }

    fn expect(&mut self, Checkpoint { seq, prev, .. }: Checkpoint, is_kept: bool) {
        self.ahead.entry(seq).or_default().push(Known { prev, is_kept });
    }

    /// Compares what is known of a line with the line. `None` if nothing is known.
    pub(super) fn reach(&mut self, seq: u64, prev: &Hash) -> Option<bool> {
        while let Some(next) = self.ahead.first_entry().filter(|next| *next.key() <= seq) {
            let (number, known) = next.remove_entry();
            if number == seq {
                let prev = prev.to_string();
                let agrees = known.iter().all(|known| known.prev == prev);
                let is_kept = known.iter().any(|known| known.is_kept);
                self.was_compared |= is_kept;
                if agrees && is_kept {
                    self.agreed.insert(seq);
                }
                return Some(agrees);
            }
        }
        None
    }

    /// The last line that is known to have existed, if the trail ends before it.
    pub(super) fn end_after(&self, last_seq: u64) -> Option<u64> {
        self.ahead.last_key_value().map(|(seq, _)| *seq).filter(|seq| *seq > last_seq)
    }

    /// Whether kept checkpoints settle what a gateway found at its start: whoever kept the last
    /// checkpoint before it and a later one also kept those that were cut off between them.
    pub(super) fn settles(&self, last_checkpoint: u64, start: u64) -> bool {
        self.agreed.contains(&last_checkpoint) && self.agreed.last() > Some(&start)
    }

    /// What the evidence cannot say of a trail with this last checkpoint.
    pub(super) fn doubts(&self, last_checkpoint: Option<u64>) -> Vec<TrailDoubtKind> {
        let mut doubts = Vec::new();
        let reaches_end = self.agreed.last().copied() >= last_checkpoint;
        if let Some(latest) =
            self.latest.clone().filter(|_| last_checkpoint.is_some() && !reaches_end)
        {
            doubts.push(latest);
        }
        match &self.kept {
            Some(KeptReport { signed: 0, found, .. }) => {
                doubts.push(TrailDoubtKind::KeptUnusable { found: *found });
            }
            Some(_) if !self.was_compared && !self.ahead.values().flatten().any(|k| k.is_kept) => {
                doubts.push(TrailDoubtKind::KeptElsewhere);
            }
            _ => {}
        }
        doubts
    }

    /// The key and the kept checkpoints, for the report.
    pub(super) fn into_report(self) -> (Option<VouchingKey>, Option<KeptReport>) {
        let key = self.key.ok();
        let key = key.map(|(key, is_of_trail)| VouchingKey {
            id: key.id().to_owned(),
            earlier: key.earlier().map(ToOwned::to_owned).collect(),
            is_of_trail,
        });
        let last_agreed = self.agreed.last().copied();
        let kept = self.kept.map(|kept| KeptReport {
            agreed: self.agreed.len() as u64,
            last_agreed,
            ..kept
        });
        (key, kept)
    }
}
