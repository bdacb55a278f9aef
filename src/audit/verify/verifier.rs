//! The check, line by line.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    doubt::{TrailDoubt, TrailDoubtKind},
    evidence::Evidence,
    file_name::FileName,
    heads::{Heads, Left, Source, Witnessed},
    report::{TrailProblem, TrailProblemKind, VerifyReport},
    unsigned::{Promise, Unsigned, is_of_recovery},
};
use crate::audit::{
    chain::{ChainFields, Hash},
    checkpoint::Checkpoint,
    coverage::CLOCK_CORRECTION,
    directory::TrailSegment,
    line::{self, LineHead, MarkerFields},
};
use crate::domain::VerifierKey;

#[derive(Debug)]
pub(super) struct Verifier {
    report: VerifyReport,
    evidence: Evidence,
    heads: Heads,
    /// The witnesses that must have signed.
    witnesses: Vec<VerifierKey>,
    /// The current file; the directory before the first one.
    file: PathBuf,
    /// The name of the current file, which its lines must fit.
    name: Option<FileName>,
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
    deletions: Vec<Deletion>,
    /// The `seq` of the last checkpoint that the key has signed.
    last_checkpoint: Option<u64>,
    /// How many of the given keys are newer than the one that signed it.
    newer_keys: Option<usize>,
    /// The lines since then.
    unsigned: Unsigned,
    promise: Option<Promise>,
    /// What gateways found at their starts: the last checkpoint before, and the doubt.
    found: Vec<(u64, TrailDoubt)>,
    /// The last marker that counts is a `stop`.
    stopped: bool,
    /// The latest time since the clock last went back.
    latest: String,
    origin: Origin,
}

/// Where the lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The trail's directory.
    Directory,
    /// A store, without the trail's directory.
    Store,
    /// The middle of a trail: nothing is known of what comes before and after them.
    Part,
}

/// What a `retention` line announces.
#[derive(Debug)]
struct Deletion {
    /// The `seq` of the line.
    announced: u64,
    /// The last deleted line.
    to: u64,
    /// That line's hash.
    last_hash: String,
}

impl Verifier {
    pub(super) fn new(
        directory: &Path,
        evidence: Evidence,
        heads: Heads,
        witnesses: Vec<VerifierKey>,
    ) -> Self {
        Self {
            report: VerifyReport::default(),
            evidence,
            heads,
            witnesses,
            file: directory.to_owned(),
            name: None,
            line_number: 0,
            replaying: false,
            holes: BTreeMap::new(),
            recent: VecDeque::with_capacity(RECENT),
            last_hash: None,
            begins_after: None,
            deletions: Vec::new(),
            last_checkpoint: None,
            newer_keys: None,
            unsigned: Unsigned::default(),
            promise: None,
            found: Vec::new(),
            stopped: false,
            latest: String::new(),
            origin: Origin::Directory,
        }
    }

    /// The check of one chain's lines from a store.
    pub(super) fn of_store(self) -> Self {
        Self { origin: Origin::Store, ..self }
    }

    /// The check of lines from the middle of a trail.
    pub(super) fn of_part(self) -> Self {
        Self { origin: Origin::Part, ..self }
    }

    /// Whether so much is wrong that no further problem is kept.
    pub(super) fn is_full(&self) -> bool {
        self.report.problems.len() >= MAX_PROBLEMS
    }

    pub(super) fn file(&mut self, segment: &TrailSegment) {
        self.end_file();
        self.report.files += 1;
        self.name = Some(FileName::of(segment, self.name.take()));
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
        if let Some(name) = &mut self.name {
            name.line(head.time);
            // A line that does not follow is a problem of its own.
            let follows = self.report.last_seq.is_none_or(|last| head.seq == last + 1);
            if self.line_number == 1 && follows && head.seq != name.first_seq {
                self.problem(Some(head.seq), TrailProblemKind::Renamed);
            }
        }
        if !fields.is_intact() {
            self.problem(Some(head.seq), TrailProblemKind::Changed);
        }
        // A store gives the lines of one chain; they may have followed those of another.
        let begins_chain = self.origin == Origin::Store && begins_chain(&head, bytes);
        if self.is_next(&fields, head.seq, begins_chain) {
            self.content(&fields, &head, bytes);
        }
    }

    /// The rest of the current file cannot be read.
    pub(super) fn damaged(&mut self) {
        self.problem(None, TrailProblemKind::Damaged);
    }

    /// Judges the time in the name of the file that ends.
    fn end_file(&mut self) {
        if self.name.as_ref().is_some_and(|name| !name.fits_times()) {
            self.line_number = 0;
            self.problem(None, TrailProblemKind::Renamed);
        }
    }

    /// Whether the line belongs after the lines before it, possibly after a hole.
    fn is_next(&mut self, fields: &ChainFields, seq: u64, begins_chain: bool) -> bool {
        let Some(last) = self.report.last_seq else {
            self.report.first_seq = Some(seq);
            if seq > 1 && !begins_chain && self.origin != Origin::Part {
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
        match self.evidence.reach(seq, &fields.prev) {
            Some(true) => self.vouch(seq),
            Some(false) => self.rewritten(seq),
            None => {}
        }
        self.unsigned.add(head);
        self.watch_clock(head.time);
        match head.kind {
            "call" => self.report.calls += 1,
            "start" => {
                let marker = line::marker(bytes);
                self.heads.start(seq, &marker);
                self.start(head, &marker);
            }
            "gap" => self.report.lost += line::marker(bytes).lost,
            "torn" => self.report.torn += 1,
            "unknown" => self.report.unknown += 1,
            "restored" => self.report.restored += 1,
            "damaged" => {
                self.report.damaged += 1;
                let MarkerFields { records, file, .. } = line::marker(bytes);
                if records > 0 {
                    self.doubt(Some(seq), TrailDoubtKind::RecordsDamaged { records, file });
                }
            }
            "doubt" => self.found(seq, line::marker(bytes).reason),
            "cut" => {
                let marker = line::marker(bytes);
                let kind = TrailProblemKind::FoundCut { from: marker.from, to: marker.to };
                self.problem(Some(seq), kind);
            }
            // It explains the beginning.
            "retention" if self.begins_after.is_some() => {
                let MarkerFields { to, last_hash, .. } = line::marker(bytes);
                self.deletions.push(Deletion { announced: seq, to, last_hash });
            }
            "checkpoint" => self.checkpoint(fields, head, bytes),
            _ => {}
        }
        for compared in self.heads.line(seq, &fields.stated) {
            match (compared.source, compared.agrees) {
                // The hub has signed that the head was told, and not the lines.
                (Source::FleetLog, true) => {}
                (Source::FleetLog, false) => self.not_as_told(compared.seq - 1),
                (_, false) => self.rewritten(seq),
                (Source::Kept, true) => {
                    self.evidence.agree(compared.seq);
                    self.vouch(compared.seq);
                }
                (Source::Trail, true) => self.vouch(compared.seq),
            }
        }
        // A checkpoint follows a stop, and the markers of a recovery come before the start.
        if !matches!(head.kind, "checkpoint" | "restored") && !is_of_recovery(head.kind) {
            if self.stopped && head.kind != "start" {
                self.problem(Some(seq), TrailProblemKind::AfterStop);
            }
            self.stopped = head.kind == "stop";
        }
    }

    /// Counts how often the clock went back by more than the correction of a clock, or the length of a call.
    fn watch_clock(&mut self, time: &str) {
        let is_later = *time >= *self.latest;
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let is_far_back = || {
            let back = at(&self.latest)?.duration_since(at(time)?);
            (back > CLOCK_CORRECTION).then_some(())
        };
        let went_back = !is_later && is_far_back().is_some();
        self.report.clock_went_back += u64::from(went_back);
        if is_later || went_back {
            self.latest.clear();
            self.latest.push_str(time);
        }
    }

    /// A gateway started: it signs from here on, and nobody will sign for the one before it.
    fn start(&mut self, head: &LineHead<'_>, marker: &MarkerFields) {
        let is_first = self.report.first_seq == Some(head.seq);
        self.report.crashes += u64::from(!is_first && !self.stopped);
        // This start's gateway knows that a signing one began the trail; a part lacks the start before.
        let begun_signed = marker.last_checkpoint == Some(0);
        let promise = Promise::of_start(marker);
        let is_part = self.origin == Origin::Part;
        self.end_unsigned(self.promise.or(promise.filter(|_| begun_signed || is_part)));
        self.promise = promise.or(self.promise);
        self.report.adopted +=
            std::mem::replace(&mut self.unsigned, Unsigned::after_start(head)).lines;
    }

    /// Judges the lines that their own gateway did not sign.
    fn end_unsigned(&mut self, promise: Option<Promise>) {
        if self.evidence.key.is_err() {
            return;
        }
        for TrailDoubt { seq, kind } in self.unsigned.doubts(promise) {
            self.doubt(seq, kind);
        }
    }

    /// A gateway found at its start that the last checkpoint did not fit.
    fn found(&mut self, seq: u64, reason: String) {
        // The gateway did not know the key that it replaced; who reads with both keys does.
        let is_replaced = reason == "other_key" && self.newer_keys > Some(0);
        if is_replaced {
            return;
        }
        if reason == "rewritten" {
            self.problem(Some(seq), TrailProblemKind::FoundRewritten);
        } else if self.found.len() < MAX_PROBLEMS {
            let doubt =
                TrailDoubt { seq: Some(seq), kind: TrailDoubtKind::FoundMismatch { reason } };
            self.found.push((self.last_checkpoint.unwrap_or(0), doubt));
        }
    }

    fn checkpoint(&mut self, fields: &ChainFields, head: &LineHead<'_>, bytes: &[u8]) {
        let marker = line::marker(bytes);
        let signer = self.evidence.key().and_then(|key| key.named(&marker.key));
        let of_tree = signer.and_then(|(_, key)| self.heads.checkpoint(&marker, key));
        let checkpoint = Checkpoint {
            seq: head.seq,
            time: head.time.to_owned(),
            prev: fields.prev.to_string(),
            chain: marker.chain,
            instance: marker.instance,
            note: marker.note,
            key: marker.key,
            signature: marker.signature,
            previous: None,
        };
        if self.evidence.key.is_err() {
            return;
        }
        let seq = checkpoint.seq;
        // A key that was replaced signs nothing any more.
        let signer = signer.filter(|(newer, _)| self.newer_keys.is_none_or(|last| *newer <= last));
        let Some((newer, key)) = signer else {
            self.problem(Some(seq), TrailProblemKind::OtherKey { key: checkpoint.key });
            return;
        };
        if checkpoint.is_signed_by(key) && of_tree != Some(false) {
            self.report.checkpoints += 1;
            self.newer_keys = Some(newer);
            self.vouch(seq);
            self.last_checkpoint = Some(seq);
            self.unsigned = Unsigned::after_checkpoint(head.time);
        } else {
            self.rewritten(seq);
        }
    }

    /// A checkpoint at this line vouches for the lines before it.
    fn vouch(&mut self, seq: u64) {
        if self.evidence.key.is_ok() {
            self.report.vouched_seq = self.report.vouched_seq.max(seq.checked_sub(1));
        }
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

    /// The lines up to this one are not those that the fleet log has a head of.
    fn not_as_told(&mut self, seq: u64) {
        let after = self.heads.told_report().and_then(|told| told.last_agreed).unwrap_or(0);
        let kind = TrailProblemKind::NotAsTold { after };
        // One rewrite breaks every later head.
        if !self.report.problems.iter().any(|problem| problem.kind == kind) {
            self.problem(Some(seq), kind);
        }
    }

    fn problem(&mut self, seq: Option<u64>, kind: TrailProblemKind) {
        if self.report.problems.len() < MAX_PROBLEMS {
            let file = self.file.clone();
            self.report.problems.push(TrailProblem { file, line: self.line_number, seq, kind });
        }
    }

    fn doubt(&mut self, seq: Option<u64>, kind: TrailDoubtKind) {
        if self.report.doubts.len() < MAX_PROBLEMS {
            self.report.doubts.push(TrailDoubt { seq, kind });
        }
    }

    pub(super) fn finish(mut self) -> VerifyReport {
        self.end_file();
        self.check_beginning();
        let known_end = self.evidence.end_after(self.report.last_seq.unwrap_or(0));
        let noted_end = self.check_notes();
        if let Some(to) = known_end.max(noted_end).filter(|_| self.origin != Origin::Part) {
            self.problem(self.report.last_seq, TrailProblemKind::CutTail { to });
        }
        self.check_proof();
        self.report.is_closed = self.stopped;
        let after = self.last_checkpoint.max(self.report.vouched_seq.map(|seq| seq + 1));
        self.report.chained =
            self.report.last_seq.zip(after).map_or(0, |(last, after)| last.saturating_sub(after));
        self.report.told = self.heads.told_report();
        (self.report.key, self.report.kept) = self.evidence.into_report();
        self.report
    }

    /// Judges the notes that the trail never reached, and what witnesses must have signed. Returns the last line
    /// that a note knows of, if the trail ends before it.
    fn check_notes(&mut self) -> Option<u64> {
        let mut end = None;
        let first_seq = self.report.first_seq.unwrap_or(1);
        let of_fleet_log = self.heads.left_of_fleet_log(first_seq);
        for left in self.heads.left(first_seq).into_iter().chain(of_fleet_log) {
            match left {
                Left::Cut { to } => end = end.max(Some(to)),
                Left::Lost { chain, from, to } => {
                    let last = self.report.last_seq;
                    self.problem(last, TrailProblemKind::Lost { chain, from, to });
                }
                Left::NotCompared { chain, to } => {
                    self.doubt(None, TrailDoubtKind::ToldNotCompared { chain, to });
                }
                Left::Untold => self.doubt(None, TrailDoubtKind::Untold),
                Left::OtherChain { chain } => {
                    self.problem(None, TrailProblemKind::OtherChain { chain });
                }
                Left::Deleted { chain } => {
                    self.doubt(None, TrailDoubtKind::NoteNotCompared { chain });
                }
            }
        }
        for witness in std::mem::take(&mut self.witnesses) {
            let name = witness.name().to_owned();
            match self.heads.witnessed(&witness) {
                Witnessed::Yes => self.report.witnesses.push(name),
                Witnessed::No => self.doubt(None, TrailDoubtKind::NotCosigned { witness: name }),
                Witnessed::Forged => {
                    self.problem(None, TrailProblemKind::ForgedCosignature { witness: name });
                }
            }
        }
        end
    }

    /// A trail that does not begin at 1 needs a `retention` line.
    fn check_beginning(&mut self) {
        let Some((to, hash, file)) = self.begins_after.take() else { return };
        let hash = hash.to_string();
        // The deletion of announced files may be in progress, so the announced end may be later.
        let explains = |announced: &&Deletion| {
            announced.to > to || (announced.to == to && announced.last_hash == hash)
        };
        let mut explaining = self.deletions.iter().filter(explains).map(|line| line.announced);
        if let Some(first) = explaining.next() {
            if self.evidence.key.is_ok() && self.report.vouched_seq < Some(first) {
                self.doubt(Some(first), TrailDoubtKind::RetentionUnsigned { to });
            }
            return;
        }
        let explained = self.deletions.iter().map(|line| line.to).filter(|upto| *upto < to).max();
        let kind = TrailProblemKind::Removed { from: explained.unwrap_or(0) + 1, to };
        self.report.problems.insert(0, TrailProblem { file, line: 1, seq: Some(to + 1), kind });
    }

    /// Collects what keeps the trail from being proved.
    fn check_proof(&mut self) {
        let missing = match &self.evidence.key {
            _ if self.report.lines == 0 => Some(TrailDoubtKind::Empty),
            Err(why) => Some(why.clone()),
            Ok(_) if self.report.vouched_seq.is_none() => Some(TrailDoubtKind::NoCheckpoint),
            Ok(_) => None,
        };
        if let Some(kind) = missing {
            self.report.doubts.insert(0, TrailDoubt { seq: None, kind });
        }
        if self.origin == Origin::Directory
            && self.newer_keys > Some(0)
            && let Some((_, key)) =
                self.evidence.key().and_then(|key| key.all().enumerate().nth(self.newer_keys?))
        {
            let key = key.id().to_owned();
            self.doubt(None, TrailDoubtKind::EarlierKey { key });
        }
        for kind in self.evidence.doubts(self.last_checkpoint) {
            self.doubt(None, kind);
        }
        let found = std::mem::take(&mut self.found);
        let unsettled = found.into_iter().filter(|(last, doubt)| {
            !doubt.seq.is_some_and(|start| self.evidence.settles(*last, start))
        });
        self.report.doubts.extend(unsettled.map(|(_, doubt)| doubt));
        self.end_unsigned(self.promise);
    }
}

/// Whether a line is the first one of a chain.
fn begins_chain(head: &LineHead<'_>, bytes: &[u8]) -> bool {
    head.kind == "start" && line::marker(bytes).chain_first_seq == Some(head.seq)
}

/// How many lines are remembered to recognise a copy.
const RECENT: usize = 4096;
/// A file of garbage would make millions of problems.
const MAX_PROBLEMS: usize = 1000;
