//! The result of a check, and its wording.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::doubt::TrailDoubt;

/// What a check says of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A signature vouches for the records, and what comes after it looks like a gateway's work.
    Ok,
    /// Nothing contradicts the trail, but nothing proves it either.
    NotProved,
    /// The trail contradicts itself or its evidence.
    Wrong,
}

impl Verdict {
    /// The worse one of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Wrong, _) | (_, Self::Wrong) => Self::Wrong,
            (Self::NotProved, _) | (_, Self::NotProved) => Self::NotProved,
            (Self::Ok, Self::Ok) => Self::Ok,
        }
    }

    /// The verdict in words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotProved => "not proved",
            Self::Wrong => "wrong",
        }
    }
}

/// The key that a trail was checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchingKey {
    /// Its fingerprint: the first 16 digits of its SHA-256 (DER).
    pub id: String,
    /// The fingerprints of the keys that it replaced, as the reader names them.
    pub earlier: Vec<String>,
    /// It is from the trail's own directory. So whoever can write there can have replaced it.
    pub is_of_trail: bool,
}

impl VouchingKey {
    /// Whether a key's file is in the directory of the trail.
    pub(super) fn is_in(directory: &Path, file: &Path) -> bool {
        match (fs::canonicalize(directory), fs::canonicalize(file)) {
            (Ok(directory), Ok(file)) => file.starts_with(directory),
            _ => false,
        }
    }
}

/// What became of the checkpoints that were kept elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptReport {
    /// How many there are.
    pub found: u64,
    /// How many the key has signed.
    pub signed: u64,
    /// How many the trail agrees with.
    pub agreed: u64,
    /// The `seq` of the last one that the trail agrees with.
    pub last_agreed: Option<u64>,
}

/// What became of the heads that a fleet log has of the trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldReport {
    /// How many the trail was compared with.
    pub compared: u64,
    /// How many it agrees with.
    pub agreed: u64,
    /// The last line under those that it agrees with.
    pub last_agreed: Option<u64>,
}

impl ToldReport {
    /// Adds a head whose last line is that one.
    pub(super) fn add(&mut self, last: u64, agrees: bool) {
        self.compared += 1;
        if agrees {
            self.agreed += 1;
            self.last_agreed = self.last_agreed.max(Some(last));
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The key of the checkpoints, if there is one.
    pub key: Option<VouchingKey>,
    /// The checkpoints that were kept elsewhere, if there are any.
    pub kept: Option<KeptReport>,
    /// The heads in the fleet log, if there is one.
    pub told: Option<ToldReport>,
    /// The witnesses that had to sign, and did.
    pub witnesses: Vec<String>,
    /// How many files were read.
    pub files: u64,
    /// How many lines were read.
    pub lines: u64,
    /// How many lines are calls.
    pub calls: u64,
    /// How many checkpoints the known key has signed.
    pub checkpoints: u64,
    /// The last line that a known checkpoint vouches for.
    pub vouched_seq: Option<u64>,
    /// How many lines after the last checkpoint are only chained.
    pub chained: u64,
    /// How many lines killed gateways left without a signature. The next one signed them as it found them.
    pub adopted: u64,
    /// The trail ends with a `stop`.
    pub is_closed: bool,
    /// The first line's `seq`.
    pub first_seq: Option<u64>,
    /// The last line's `seq`.
    pub last_seq: Option<u64>,
    /// How many gateways did not close the trail.
    pub crashes: u64,
    /// How many half lines crashes have left.
    pub torn: u64,
    /// How many calls had a credential in a crash and have no record.
    pub unknown: u64,
    /// How many records were dropped, according to the trail.
    pub lost: u64,
    /// How often the current file was removed or replaced, and restored.
    pub restored: u64,
    /// How often a damaged end was moved aside.
    pub damaged: u64,
    /// How often the clock went back by more than an hour.
    pub clock_went_back: u64,
    /// What is wrong, in the order of the trail.
    pub problems: Vec<TrailProblem>,
    /// What keeps the trail from being proved.
    pub doubts: Vec<TrailDoubt>,
}

impl VerifyReport {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        if !self.problems.is_empty() {
            Verdict::Wrong
        } else if !self.doubts.is_empty() || self.vouched_seq.is_none() {
            Verdict::NotProved
        } else {
            Verdict::Ok
        }
    }

    /// The verdict's reason, in one sentence.
    pub fn statement(&self) -> String {
        match (self.verdict(), self.problems.first(), self.doubts.first()) {
            (Verdict::Wrong, Some(first), _) => {
                let more = match self.problems.len() - 1 {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                let file = first.file.file_name().unwrap_or_default().into();
                format!("{}{more}", TrailProblem { file, ..first.clone() })
            }
            (Verdict::NotProved, _, Some(doubt)) => doubt.to_string(),
            _ => {
                let (from, to) = (self.first_seq.unwrap_or(0), self.vouched_seq.unwrap_or(0));
                let chained = match self.chained {
                    0 => String::new(),
                    1 => "; 1 record after it is only chained".to_owned(),
                    count => format!("; {count} records after it are only chained"),
                };
                format!(
                    "records {from} to {to} are as they were written, signed by checkpoint {}{chained}",
                    to + 1
                )
            }
        }
    }

    /// What an *ok* does not cover.
    pub fn limits(&self) -> Vec<&'static str> {
        let mut limits = Vec::new();
        if self.key.as_ref().is_some_and(|key| key.is_of_trail) {
            limits.push(
                "the key is from the trail's own directory: whoever can write there can have replaced \
                 both; give a copy that is kept elsewhere with --public-key",
            );
        }
        if !self.is_closed {
            limits.push(
                "the trail does not end with a stop: a gateway is writing it, was killed, or the end was \
                 cut off",
            );
        }
        // The checkpoint follows the last line under a head.
        let told = self.told.as_ref().and_then(|told| told.last_agreed).map(|seq| seq + 1);
        if told.max(self.kept.as_ref().and_then(|kept| kept.last_agreed)) <= self.vouched_seq {
            limits.push(
                "an end that was cut off at a checkpoint is only seen with a later checkpoint that is \
                 kept elsewhere (--checkpoints)",
            );
        }
        limits
    }
}

impl fmt::Display for TrailDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "record {seq}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// A problem of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailProblem {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1; 0 if the problem is not about a line.
    pub line: u64,
    /// The line's `seq`, if it has one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub kind: TrailProblemKind,
}

impl fmt::Display for TrailProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(seq) = self.seq {
            write!(f, " (record {seq})")?;
        }
        write!(f, ": {}", self.kind)
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrailProblemKind {
    /// It is not a line of a trail.
    NotALine,
    /// Its content does not fit its hash.
    Changed,
    /// Lines before it are missing.
    Removed {
        /// The first missing line.
        from: u64,
        /// The last missing line.
        to: u64,
    },
    /// It is not in its original position.
    Moved,
    /// It is a copy of an earlier line.
    Repeated,
    /// An earlier line has the same number and other content: one of the two was inserted.
    Inserted,
    /// It begins an old file that was added again.
    Replayed,
    /// Its number follows the line before, but its `prev` does not: one of the two was replaced.
    Replaced,
    /// The chain is intact but differs from what a checkpoint signed: someone wrote the trail again
    /// from a line after `after`.
    Rewritten {
        /// The last line that a checkpoint vouches for.
        after: u64,
    },
    /// A checkpoint is signed with an unknown key, or with an earlier one after a later one.
    OtherKey {
        /// The name of that key.
        key: String,
    },
    /// The trail ends before a line that a checkpoint vouches for.
    CutTail {
        /// The last line that is known to have existed.
        to: u64,
    },
    /// A gateway found at its start that the trail was shorter than its last checkpoint.
    FoundCut {
        /// The first missing line.
        from: u64,
        /// The last missing line.
        to: u64,
    },
    /// A gateway found at its start that the trail was not what its last checkpoint had signed.
    FoundRewritten,
    /// The fleet log has more lines of a chain than the trail.
    Lost {
        /// The name of the chain.
        chain: String,
        /// The first lost line.
        from: u64,
        /// The last lost line that the fleet log knows of.
        to: u64,
    },
    /// The lines up to here are not those that the fleet log has a head of.
    NotAsTold {
        /// The last line that the fleet log agrees with.
        after: u64,
    },
    /// A kept note is of a chain that the trail does not have.
    OtherChain {
        /// The name of that chain.
        chain: String,
    },
    /// A cosignature is not the witness's.
    ForgedCosignature {
        /// The name of the witness.
        witness: String,
    },
    /// It follows a `stop`, after which a gateway writes nothing.
    AfterStop,
    /// The name of the file does not fit its lines.
    Renamed,
    /// A compressed file can be read up to here, and no further.
    Damaged,
}

impl TrailProblemKind {
    /// A short name for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotALine => "not_a_line",
            Self::Changed => "changed",
            Self::Removed { .. } => "removed",
            Self::Moved => "moved",
            Self::Repeated => "repeated",
            Self::Inserted => "inserted",
            Self::Replayed => "replayed",
            Self::Replaced => "replaced",
            Self::Rewritten { .. } => "rewritten",
            Self::OtherKey { .. } => "other_key",
            Self::CutTail { .. } => "cut_tail",
            Self::FoundCut { .. } => "found_cut",
            Self::FoundRewritten => "found_rewritten",
            Self::Lost { .. } => "lost",
            Self::NotAsTold { .. } => "not_as_told",
            Self::OtherChain { .. } => "other_chain",
            Self::ForgedCosignature { .. } => "forged_cosignature",
            Self::AfterStop => "after_stop",
            Self::Renamed => "renamed",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for TrailProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALine => f.write_str("is not a line of an audit trail"),
            Self::Changed => f.write_str("was changed: its content does not fit its hash"),
            Self::Removed { from, to } if from == to => {
                write!(f, "record {from} before it was removed")
            }
            Self::Removed { from, to } => {
                write!(f, "records {from} to {to} before it were removed")
            }
            Self::Moved => f.write_str("was moved: it is not in its original position"),
            Self::Repeated => f.write_str("was inserted: it is a copy of an earlier record"),
            Self::Inserted => f.write_str(
                "was inserted, or the record before it with the same number: they differ",
            ),
            Self::Replayed => f.write_str("belongs to an old file that was added again"),
            Self::Replaced => f.write_str(
                "does not follow from the record before it: one of the two was replaced",
            ),
            Self::Rewritten { after } => write!(
                f,
                "is not what the checkpoint signed: the trail was rewritten after record {after}"
            ),
            Self::OtherKey { key } => {
                write!(f, "is signed with a key that does not belong there ({key})")
            }
            Self::CutTail { to } => write!(
                f,
                "is the end, but a checkpoint vouches for records up to {to}: the end was cut off"
            ),
            Self::FoundCut { from, to } => write!(
                f,
                "records {from} to {to} were missing when a gateway started here: the end was cut off"
            ),
            Self::FoundRewritten => f.write_str(
                "the records before were not those of the last checkpoint when a gateway started here: \
                 they were rewritten",
            ),
            Self::AfterStop => {
                f.write_str("was inserted: it follows a stop, after which no gateway writes records")
            }
            Self::Damaged => f.write_str("the compressed file is damaged: what follows in it cannot be read"),
            Self::Renamed => f.write_str(
                "was renamed: number or time in the name of the file are not those of its records",
            ),
            Self::Lost { chain, from, to } if from == to => write!(
                f,
                "the fleet log has record {to} of the chain {chain}, and the trail does not: it is lost"
            ),
            Self::Lost { chain, from, to } => write!(
                f,
                "the fleet log has the chain {chain} up to record {to}: records {from} to {to} are lost"
            ),
            Self::NotAsTold { after } => write!(
                f,
                "is not what the fleet log has a head of: the trail was rewritten after record {after}"
            ),
            Self::OtherChain { chain } => {
                write!(f, "a signed note is of the chain {chain}, which the trail does not have")
            }
            Self::ForgedCosignature { witness } => {
                write!(f, "the note's signature of {witness} is not that witness's")
            }
        }
    }
}
