//! Checks a trail: every line against its own hash, the line before it and the signed checkpoints.
//!
//! The check reads once, from the first line to the last, and keeps little: so it works on a trail
//! of any size, and on one that is being written.

mod check;

use std::{
    fmt,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{self, Checkpoint},
    directory::Segment,
    keys::{KeyError, PUBLIC_KEY, PublicKey},
    read::{self, Found, ReadError},
};
use check::Check;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// How many lines were read.
    pub lines: u64,
    /// How many of them are calls.
    pub calls: u64,
    /// How many checkpoints were signed by the known key.
    pub checkpoints: u64,
    /// The number of the last line that a known checkpoint vouches for.
    pub vouched_seq: Option<u64>,
    /// The first line's number.
    pub first_seq: Option<u64>,
    /// The last line's number.
    pub last_seq: Option<u64>,
    /// How often a gateway started without the one before having closed the trail.
    pub crashes: u64,
    /// Half lines that crashes left, closed with a marker.
    pub torn: u64,
    /// Calls that had a credential when a gateway was cut off, and nobody knows what became of them.
    pub unknown: u64,
    /// How many records the trail itself says found no room.
    pub lost: u64,
    /// How often the file was taken away while it was written, and put back.
    pub restored: u64,
    /// What is wrong, in the order of the trail.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in that file, from 1; 0 where it is not about a line.
    pub line: u64,
    /// The line's number in the trail, if it has one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is no line of a trail.
    NotALine,
    /// Its bytes are not what its hash says.
    Changed,
    /// Lines are missing before it.
    Removed {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// It stands at another place than it was written at.
    Moved,
    /// It is there twice, the same both times.
    Repeated,
    /// Its number is there twice with different content: one of the two was put in.
    Inserted,
    /// The whole file was there before, or was written before those in front of it.
    Replayed,
    /// Its number fits, but it does not follow from the line before: one of the two was replaced.
    Replaced,
    /// Its hashes fit, but not what a checkpoint signed: the trail was written anew from somewhere
    /// behind the checkpoint before.
    Rewritten {
        /// The number of the last line that is vouched for.
        after: u64,
    },
    /// A checkpoint is signed with another key than the known one.
    OtherKey {
        /// That key's name.
        key: String,
    },
    /// The trail ends before what a checkpoint vouches for.
    CutTail {
        /// The number up to which there were lines.
        to: u64,
    },
    /// A gateway found its trail shorter than its last checkpoint when it started.
    FoundCut {
        /// The first missing number.
        from: u64,
        /// The last missing number.
        to: u64,
    },
    /// The end of the trail was damaged when a gateway started, and was set aside.
    Damaged {
        /// Where it is.
        file: String,
    },
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALine => f.write_str("is not a line of an audit trail"),
            Self::Changed => f.write_str("was changed: its hash does not fit its content"),
            Self::Removed { from, to } if from == to => {
                write!(f, "record {from} before it was removed")
            }
            Self::Removed { from, to } => {
                write!(f, "records {from} to {to} before it were removed")
            }
            Self::Moved => f.write_str("was moved: it stands in another order than it was written"),
            Self::Repeated => f.write_str("was inserted: it is a copy of an earlier record"),
            Self::Inserted => f.write_str(
                "was inserted, or the record before it with the same number: they differ",
            ),
            Self::Replayed => f.write_str("belongs to an old file that was put in again"),
            Self::Replaced => f.write_str(
                "does not follow from the record before it: one of the two was replaced",
            ),
            Self::Rewritten { after } => write!(
                f,
                "is not what the checkpoint signed: the trail was rewritten after record {after}"
            ),
            Self::OtherKey { key } => {
                write!(f, "is signed with another key ({key}) than the known one")
            }
            Self::CutTail { to } => {
                write!(
                    f,
                    "is the end, but a checkpoint vouches for records up to {to}: the end was cut off"
                )
            }
            Self::FoundCut { from, to } => {
                write!(f, "records {from} to {to} had been cut off when a gateway started here")
            }
            Self::Damaged { file } => write!(
                f,
                "the end of the trail was damaged when a gateway started here, by a loss of power or \
                 by someone; it was set aside in {file}"
            ),
        }
    }
}

/// What a check is held against.
#[derive(Debug, Default)]
pub struct Against {
    /// The key that signs checkpoints. Without one it is the one beside the trail.
    pub key: Option<PublicKey>,
    /// Checkpoints that were kept elsewhere.
    pub checkpoints: Vec<Checkpoint>,
}

/// Reads a whole trail. `on_progress` is told of every file before it is read.
pub fn verify(
    directory: &Path,
    against: Against,
    mut on_progress: impl FnMut(&Segment),
) -> Result<Report, VerifyError> {
    let beside = directory.join(PUBLIC_KEY);
    let key = match against.key {
        Some(key) => Some(key),
        None if beside.exists() => Some(PublicKey::read(&beside)?),
        None => None,
    };
    let mut checkpoints = against.checkpoints;
    // Read before the files are listed: on a live trail those may only be longer.
    checkpoints.extend(checkpoint::latest(directory));
    let mut check = Check::new(key, checkpoints);
    let files = read::files(directory)?;
    read::read_through(&files, |found| {
        match found {
            Found::File(segment) => {
                on_progress(segment);
                check.file(segment);
            }
            Found::Line(line) => check.line(line),
        }
        Ok::<_, ReadError>(ControlFlow::Continue(()))
    })?;
    Ok(check.finish())
}

/// Why a trail cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests;
