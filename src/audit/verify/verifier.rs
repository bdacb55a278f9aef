//! The check, line by line.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use super::report::{TrailProblem, TrailProblemKind, VerifyReport};
use crate::audit::{
    chain::{ChainFields, Hash},
    checkpoint::Checkpoint,
    directory::TrailSegment,
    keys::PublicKey,
    line::{self, LineHead},
};

#[derive(Debug)]
pub(super) struct Verifier {
    report: VerifyReport,
    key: Option<PublicKey>,
    /// Checkpoints from outside the trail, by `seq`.
    external: BTreeMap<u64, Vec<Checkpoint>>,
    file: PathBuf,
    /// The number of the current line in its file, from 1.
    line_number: u64,
    /// The first line of this file was old, so the following old lines are no further problems.
    replaying: bool,
    /// Missing lines by the first `seq`: the last `seq`, and the index of the problem.
    holes: BTreeMap<u64, (u64, usize)>,
    /// The last lines: `seq` and hash.
    recent: VecDeque<(u64, Hash)>,
    last_hash: Option<Hash>,
    /// If the trail does not begin at 1: `seq` and hash of the line before, and the first file.
    begins_after: Option<(u64, Hash, PathBuf)>,
    /// Deletions that `retention` lines announce: the last deleted line's `seq` and hash.
    deletions: Vec<(u64, String)>,
    /// The last marker that counts is a `stop`.
    stopped: bool,
}

impl Verifier {
    pub(super) fn new(key: Option<PublicKey>, checkpoints: Vec<Checkpoint>) -> Self {
        let mut external: BTreeMap<u64, Vec<Checkpoint>> = BTreeMap::new();
        for checkpoint in checkpoints {
            external.entry(checkpoint.seq).or_default().push(checkpoint);
        }
        Self {
            report: VerifyReport::default(),
            key,
            external,
            file: PathBuf::new(),
            line_number: 0,
            replaying: false,
            holes: BTreeMap::new(),
            recent: VecDeque::with_capacity(RECENT),
            last_hash: None,
            begins_after: None,
            deletions: Vec::new(),
            stopped: false,
        }
    }

    pub(super) fn file(&mut self, segment: &TrailSegment) {
        self.report.files += 1;
        self.file.clone_from(&segment.path);
        self.line_number = 0;
        self.replaying = false;
    }

    pub(super) fn line(&mut self, bytes: &[u8]) {
        self.line_number += 1;
        self.report.lines += 1;
        let (Some(fields), Some(head)) = (ChainFields::read(bytes), line::line_head(bytes)) else {
            self.problem(None, TrailProblemKind::NotALine);
            return;
        };
        if !fields.is_intact() {
            self.problem(Some(head.seq), TrailProblemKind::Changed);
        }
        if self.is_next(&fields, head.seq) {
            self.content(&fields, &head, bytes);
        }
    }

    /// Whether the line belongs after the lines before it, possibly after a hole.
    fn is_next(&mut self, fields: &ChainFields, seq: u64) -> bool {
        let Some(last) = self.report.last_seq else {
            self.report.first_seq = Some(seq);
            if seq > 1 {
                self.begins_after = Some((seq - 1, fields.prev, self.file.clone()));
            }
            self.advance(fields, seq);
            return true;
        };
        if seq <= last {
            self.out_of_order(fields, seq);
            return false;
        }
        self.replaying = false;
        if seq > last + 1 {
            let (from, to) = (last + 1, seq - 1);
            self.holes.insert(from, (to, self.report.problems.len()));
            self.problem(Some(seq), TrailProblemKind::Removed { from, to });
        } else if self.last_hash.is_some_and(|hash| hash != fields.prev) {
            self.problem(Some(seq), TrailProblemKind::Replaced);
        }
        self.advance(fields, seq);
        true
    }

    fn advance(&mut self, fields: &ChainFields, seq: u64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, fields.stated));
        self.report.last_seq = Some(seq);
        // The stated hash, so that a changed line does not make a problem of the next line too.
        self.last_hash = Some(fields.stated);
    }

    /// Reports a line whose `seq` is not above the last one's.
    fn out_of_order(&mut self, fields: &ChainFields, seq: u64) {
        let hole = self.holes.range(..=seq).next_back().map(|(from, (to, at))| (*from, *to, *at));
        if let Some((from, to, at)) = hole.filter(|(_, to, _)| *to >= seq) {
            self.fill_hole(from, to, at, seq);
            self.problem(Some(seq), TrailProblemKind::Moved);
            return;
        }
        if self.replaying || self.line_number == 1 {
            if !std::mem::replace(&mut self.replaying, true) {
                self.problem(Some(seq), TrailProblemKind::Replayed);
            }
            return;
        }
        let same = |(number, hash): &(u64, Hash)| *number == seq && *hash == fields.stated;
        let kind = if self.recent.iter().rev().any(same) {
            TrailProblemKind::Repeated
        } else {
            TrailProblemKind::Inserted
        };
        self.problem(Some(seq), kind);
    }

    /// A missing line has been found.
    fn fill_hole(&mut self, from: u64, to: u64, at: usize, seq: u64) {
        self.holes.remove(&from);
        if seq > from {
            self.holes.insert(from, (seq - 1, at));
        }
        if seq < to {
            self.holes.insert(seq + 1, (to, at));
        }
        let left = self.holes.values().filter(|(_, problem)| *problem == at).count();
        if let (0, Some(problem)) = (left, self.report.problems.get_mut(at)) {
            // Nothing is missing: the line after the hole came too early.
            problem.kind = TrailProblemKind::Moved;
        }
    }

    /// Evaluates the content of a line.
    fn content(&mut self, fields: &ChainFields, head: &LineHead<'_>, bytes: &[u8]) {
        let seq = head.seq;
        for checkpoint in self.external.remove(&seq).into_iter().flatten() {
            self.external_checkpoint(&checkpoint, fields, seq);
        }
        match head.kind {
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
                self.problem(Some(seq), TrailProblemKind::Damaged { file });
            }
            "cut" => {
                let marker = line::marker(bytes);
                let kind = TrailProblemKind::FoundCut { from: marker.from, to: marker.to };
                self.problem(Some(seq), kind);
            }
            "retention" => {
                let marker = line::marker(bytes);
                self.deletions.push((marker.to, marker.last_hash));
            }
            "checkpoint" => self.checkpoint(fields, head, bytes),
            _ => {}
        }
        // A checkpoint follows a stop, and the markers of a recovery come before the start.
        if !matches!(head.kind, "checkpoint" | "torn" | "damaged" | "cut" | "unknown") {
            self.stopped = head.kind == "stop";
        }
    }

    fn checkpoint(&mut self, fields: &ChainFields, head: &LineHead<'_>, bytes: &[u8]) {
        let marker = line::marker(bytes);
        let checkpoint = Checkpoint {
            seq: head.seq,
            time: head.time.to_owned(),
            prev: fields.prev.to_string(),
            chain: marker.chain,
            instance: marker.instance,
            note: marker.note,
            key: marker.key,
            signature: marker.signature,
        };
        let Some(key) = &self.key else { return };
        let seq = checkpoint.seq;
        if checkpoint.key != key.id() {
            self.problem(Some(seq), TrailProblemKind::OtherKey { key: checkpoint.key });
        } else if checkpoint.is_signed_by(key) {
            self.report.checkpoints += 1;
            self.report.vouched_seq = self.report.vouched_seq.max(Some(seq - 1));
        } else {
            self.rewritten(seq);
        }
    }

    /// Compares a checkpoint from outside with the line of the same `seq`.
    fn external_checkpoint(&mut self, checkpoint: &Checkpoint, fields: &ChainFields, seq: u64) {
        if self.trusts(checkpoint) && checkpoint.prev != fields.prev.to_string() {
            self.rewritten(seq);
        }
    }

    /// Without a key, every checkpoint from outside is trusted.
    fn trusts(&self, checkpoint: &Checkpoint) -> bool {
        self.key.as_ref().is_none_or(|key| checkpoint.is_signed_by(key))
    }

    fn rewritten(&mut self, seq: u64) {
        let after = self.report.vouched_seq.unwrap_or(0);
        let kind = TrailProblemKind::Rewritten { after };
        let known = |problem: &TrailProblem| problem.kind == kind;
        // One rewrite breaks every later checkpoint.
        if !self.report.problems.iter().rev().take(8).any(known) {
            self.problem(Some(seq), kind);
        }
    }

    fn problem(&mut self, seq: Option<u64>, kind: TrailProblemKind) {
        if self.report.problems.len() < MAX_PROBLEMS {
            let file = self.file.clone();
            self.report.problems.push(TrailProblem { file, line: self.line_number, seq, kind });
        }
    }

    pub(super) fn finish(mut self) -> VerifyReport {
        self.check_beginning();
        self.check_end();
        self.report
    }

    /// A trail that does not begin at 1 needs a `retention` line.
    fn check_beginning(&mut self) {
        let Some((to, hash, file)) = self.begins_after.take() else { return };
        let hash = hash.to_string();
        // The deletion of announced files may be in progress, so the announced end may be later.
        let announced = |(upto, last): &(u64, String)| *upto > to || (*upto == to && *last == hash);
        if self.deletions.iter().any(announced) {
            return;
        }
        let kind = TrailProblemKind::Removed { from: 1, to };
        self.report.problems.insert(0, TrailProblem { file, line: 1, seq: Some(to + 1), kind });
    }

    /// A trail that ends before a trusted checkpoint was cut.
    fn check_end(&mut self) {
        let last = self.report.last_seq.unwrap_or(0);
        let missing = self.external.values().flatten();
        let missing = missing.filter(|missing| missing.seq > last && self.trusts(missing));
        if let Some(to) = missing.map(|checkpoint| checkpoint.seq).max() {
            self.problem(self.report.last_seq, TrailProblemKind::CutTail { to });
        }
    }
}

/// How many lines are remembered to recognise a copy.
const RECENT: usize = 4096;
/// A file of garbage would make millions of problems.
const MAX_PROBLEMS: usize = 1000;
