//! The result of a check.

use std::{fmt, path::PathBuf};

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
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
    /// The problems, in the order of the trail.
    pub problems: Vec<TrailProblem>,
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
    /// A checkpoint is signed with an unknown key.
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
    /// A gateway found at its start that the end of the trail was damaged, and moved it aside.
    Damaged {
        /// The file with the damaged bytes.
        file: String,
    },
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
            Self::OtherKey { key } => write!(f, "is signed with an unknown key ({key})"),
            Self::CutTail { to } => write!(
                f,
                "is the end, but a checkpoint vouches for records up to {to}: the end was cut off"
            ),
            Self::FoundCut { from, to } => write!(
                f,
                "records {from} to {to} were missing when a gateway started here: the end was cut off"
            ),
            Self::Damaged { file } => write!(
                f,
                "the end of the trail was damaged when a gateway started here, by a power cut or by \
                 someone; the gateway moved it into {file}"
            ),
        }
    }
}
