//! The check itself: one line after the other.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use super::{Problem, ProblemKind, Report};
use crate::audit::{
    chain::{Hash, Seal},
    checkpoint::Checkpoint,
    directory::Segment,
    keys::PublicKey,
    line::{self, Place},
};

#[derive(Debug)]
pub(super) struct Check {
    report: Report,
    key: Option<PublicKey>,
    /// Checkpoints that were kept elsewhere, by the number of their line.
    kept: BTreeMap<u64, Vec<Checkpoint>>,
    file: PathBuf,
    number: u64,
    /// The first line of this file was old, and so are those that follow.
    replaying: bool,
    /// Missing numbers: the first to the last, and the place of the problem.
    holes: BTreeMap<u64, (u64, usize)>,
    /// The last lines, by number.
    recent: VecDeque<(u64, Hash)>,
    last_hash: Option<Hash>,
    /// Where the trail begins, if not at 1: the hash it follows from.
    begins_after: Option<(u64, Hash, PathBuf)>,
    /// Up to where the rules of retention deleted lines, and the last one's hash.
    retained: Vec<(u64, String)>,
    stopped: bool,
}

impl Check {
    pub(super) fn new(key: Option<PublicKey>, checkpoints: Vec<Checkpoint>) -> Self {
        let mut kept: BTreeMap<u64, Vec<Checkpoint>> = BTreeMap::new();
        for checkpoint in checkpoints {
            kept.entry(checkpoint.seq).or_default().push(checkpoint);
        }
        Self {
            report: Report::default(),
            key,
            kept,
            file: PathBuf::new(),
            number: 0,
            replaying: false,
            holes: BTreeMap::new(),
            recent: VecDeque::with_capacity(RECENT),
            last_hash: None,
            begins_after: None,
            retained: Vec::new(),
            stopped: false,
        }
    }

    pub(super) fn file(&mut self, segment: &Segment) {
        self.report.files += 1;
        self.file.clone_from(&segment.path);
        self.number = 0;
        self.replaying = false;
    }

    pub(super) fn line(&mut self, bytes: &[u8]) {
        self.number += 1;
        self.report.lines += 1;
        let (Some(seal), Some(place)) = (Seal::read(bytes), line::place(bytes)) else {
            self.problem(None, ProblemKind::NotALine);
            return;
        };
        if !seal.holds() {
            self.problem(Some(place.seq), ProblemKind::Changed);
        }
        if self.in_place(&seal, place.seq) {
            self.meaning(&seal, &place, bytes);
        }
    }

    /// Whether the line is the next of the trail, as far as anyone can tell.
    fn in_place(&mut self, seal: &Seal, seq: u64) -> bool {
        let Some(last) = self.report.last_seq else {
            self.report.first_seq = Some(seq);
            if seq > 1 {
                self.begins_after = Some((seq - 1, seal.prev, self.file.clone()));
            }
            self.step(seal, seq);
            return true;
        };
        if seq <= last {
            self.late(seal, seq);
            return false;
        }
        self.replaying = false;
        if seq > last + 1 {
            let (from, to) = (last + 1, seq - 1);
            self.holes.insert(from, (to, self.report.problems.len()));
            self.problem(Some(seq), ProblemKind::Removed { from, to });
        } else if self.last_hash.is_some_and(|hash| hash != seal.prev) {
            self.problem(Some(seq), ProblemKind::Replaced);
        }
        self.step(seal, seq);
        true
    }

    fn step(&mut self, seal: &Seal, seq: u64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, seal.stated));
        self.report.last_seq = Some(seq);
        // What the line says of itself, so that one changed line is one problem and not two.
        self.last_hash = Some(seal.stated);
    }

    /// A line whose number is not after the last one's.
    fn late(&mut self, seal: &Seal, seq: u64) {
        let hole = self.holes.range(..=seq).next_back().map(|(from, (to, at))| (*from, *to, *at));
        if let Some((from, to, at)) = hole.filter(|(_, to, _)| *to >= seq) {
            self.fill(from, to, at, seq);
            self.problem(Some(seq), ProblemKind::Moved);
            return;
        }
        if self.replaying || self.number == 1 {
            if !std::mem::replace(&mut self.replaying, true) {
                self.problem(Some(seq), ProblemKind::Replayed);
            }
            return;
        }
        let same = |(number, hash): &(u64, Hash)| *number == seq && *hash == seal.stated;
        let kind = if self.recent.iter().rev().any(same) {
            ProblemKind::Repeated
        } else {
            ProblemKind::Inserted
        };
        self.problem(Some(seq), kind);
    }

    /// One of the missing lines has turned up.
    fn fill(&mut self, from: u64, to: u64, at: usize, seq: u64) {
        self.holes.remove(&from);
        if seq > from {
            self.holes.insert(from, (seq - 1, at));
        }
        if seq < to {
            self.holes.insert(seq + 1, (to, at));
        }
        let left = self.holes.values().filter(|(_, problem)| *problem == at).count();
        if let (0, Some(problem)) = (left, self.report.problems.get_mut(at)) {
            // Nothing is missing there: what stood too early was moved.
            problem.kind = ProblemKind::Moved;
        }
    }

    /// What the line says about the trail.
    fn meaning(&mut self, seal: &Seal, place: &Place<'_>, bytes: &[u8]) {
        let seq = place.seq;
        if let Some(kept) = self.kept.remove(&seq) {
            for checkpoint in kept {
                self.kept_checkpoint(&checkpoint, seal, seq);
            }
        }
        match place.kind {
            "call" => self.report.calls += 1,
            "start" => {
                self.report.crashes += u64::from(seq > 1 && !self.stopped);
            }
            "gap" => self.report.lost += line::marker(bytes).lost,
            "torn" => self.report.torn += 1,
            "unknown" => self.report.unknown += 1,
            "restored" => self.report.restored += 1,
            "damaged" => {
                let file = line::marker(bytes).file;
                self.problem(Some(seq), ProblemKind::Damaged { file });
            }
            "cut" => {
                let marker = line::marker(bytes);
                let kind = ProblemKind::FoundCut { from: marker.from, to: marker.to };
                self.problem(Some(seq), kind);
            }
            "retention" => {
                let marker = line::marker(bytes);
                self.retained.push((marker.to, marker.last_hash));
            }
            "checkpoint" => self.checkpoint(seal, place, bytes),
            _ => {}
        }
        // A checkpoint follows the stop, and what a start found follows before the start.
        if !matches!(place.kind, "checkpoint" | "torn" | "damaged" | "cut" | "unknown") {
            self.stopped = place.kind == "stop";
        }
    }

    fn checkpoint(&mut self, seal: &Seal, place: &Place<'_>, bytes: &[u8]) {
        let marker = line::marker(bytes);
        let checkpoint = Checkpoint {
            seq: place.seq,
            time: place.time.to_owned(),
            prev: seal.prev.to_string(),
            key: marker.key,
            signature: marker.signature,
        };
        self.signature(&checkpoint);
    }

    /// Whether a checkpoint's signature is the known key's, and what follows from it.
    fn signature(&mut self, checkpoint: &Checkpoint) -> bool {
        let Some(key) = &self.key else { return true };
        let seq = checkpoint.seq;
        if checkpoint.key != key.id() {
            let kind = ProblemKind::OtherKey { key: checkpoint.key.clone() };
            self.problem(Some(seq), kind);
            return false;
        }
        if !checkpoint.is_signed_by(key) {
            self.rewritten(seq);
            return false;
        }
        self.report.checkpoints += 1;
        self.report.vouched_seq = self.report.vouched_seq.max(Some(seq - 1));
        true
    }

    /// A checkpoint from elsewhere: signed, and about the line that is here.
    fn kept_checkpoint(&mut self, checkpoint: &Checkpoint, seal: &Seal, seq: u64) {
        let vouches = self.key.as_ref().is_none_or(|key| checkpoint.is_signed_by(key));
        if vouches && checkpoint.prev != seal.prev.to_string() {
            self.rewritten(seq);
        }
    }

    fn rewritten(&mut self, seq: u64) {
        let after = self.report.vouched_seq.unwrap_or(0);
        let kind = ProblemKind::Rewritten { after };
        let known = |problem: &Problem| problem.kind == kind;
        // One rewriting breaks every checkpoint after it.
        if !self.report.problems.iter().rev().take(8).any(known) {
            self.problem(Some(seq), kind);
        }
    }

    fn problem(&mut self, seq: Option<u64>, kind: ProblemKind) {
        if self.report.problems.len() < MOST_PROBLEMS {
            let file = self.file.clone();
            self.report.problems.push(Problem { file, line: self.number, seq, kind });
        }
    }

    pub(super) fn finish(mut self) -> Report {
        self.check_beginning();
        self.check_end();
        self.report
    }

    /// A trail that begins in the middle must say why.
    fn check_beginning(&mut self) {
        let Some((to, hash, file)) = self.begins_after.take() else { return };
        let hash = hash.to_string();
        // Announced files may still be on their way out, so a later end is as good as this one.
        let announced = |(upto, last): &(u64, String)| *upto > to || (*upto == to && *last == hash);
        if self.retained.iter().any(announced) {
            return;
        }
        let kind = ProblemKind::Removed { from: 1, to };
        self.report.problems.insert(0, Problem { file, line: 1, seq: Some(to + 1), kind });
    }

    /// A trail that ends before a checkpoint was cut.
    fn check_end(&mut self) {
        let last = self.report.last_seq.unwrap_or(0);
        let beyond = std::mem::take(&mut self.kept).into_values().flatten().filter(|checkpoint| {
            checkpoint.seq > last
                && self.key.as_ref().is_none_or(|key| checkpoint.is_signed_by(key))
        });
        if let Some(to) = beyond.map(|checkpoint| checkpoint.seq).max() {
            self.problem(self.report.last_seq, ProblemKind::CutTail { to });
        }
    }
}

/// How many lines are remembered, to tell a copy from a forgery.
const RECENT: usize = 4096;
/// One cut makes one problem, but a file of rubbish would make millions.
const MOST_PROBLEMS: usize = 1000;
