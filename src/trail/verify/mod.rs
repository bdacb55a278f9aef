//! Checks a trail: every line against its own hash and against the line before it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    chain::{Hash, Seal},
    line,
    read::{self, Lines, ReadError},
};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// How many lines were read.
    pub lines: u64,
    /// How many of them are calls.
    pub calls: u64,
    /// The first line's number.
    pub first_seq: Option<u64>,
    /// The last line's number.
    pub last_seq: Option<u64>,
    /// How often a gateway started without the one before having closed the trail.
    pub crashes: u64,
    /// How many records the trail itself says are lost.
    pub lost: u64,
    /// What is wrong, in the order it was found.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line in that file, from 1.
    pub line: u64,
    /// The line's number in the trail, if it has one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Its number was there already, or stands after a later one.
    OutOfOrder,
    /// Its number fits, but it does not follow from the line before: one of the two was replaced.
    Replaced,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALine => f.write_str("is not a line of an audit trail"),
            Self::Changed => f.write_str("was changed: its hash does not fit its content"),
            Self::Removed { from, to } if from == to => {
                write!(f, "record {from} before it is missing")
            }
            Self::Removed { from, to } => write!(f, "records {from} to {to} before it are missing"),
            Self::OutOfOrder => f.write_str("is out of order: inserted, repeated or moved"),
            Self::Replaced => {
                f.write_str("does not follow from the record before it: one was replaced")
            }
        }
    }
}

/// Reads a whole trail.
pub fn verify(directory: &Path) -> Result<Report, ReadError> {
    let mut check = Check::default();
    for segment in read::list(directory)? {
        check.report.files += 1;
        let mut lines = Lines::open(&segment.path, 0)?;
        let mut number = 0;
        while let Some(line) = lines.next()? {
            number += 1;
            check.line(&segment.path, number, line);
        }
    }
    Ok(check.report)
}

#[derive(Debug, Default)]
struct Check {
    report: Report,
    last: Option<Hash>,
    stopped: bool,
}

impl Check {
    fn line(&mut self, file: &Path, number: u64, bytes: &[u8]) {
        self.report.lines += 1;
        let mut problem = |seq, kind| {
            self.report.problems.push(Problem { file: file.to_owned(), line: number, seq, kind });
        };
        let (Some(seal), Some(place)) = (Seal::read(bytes), line::place(bytes)) else {
            problem(None, ProblemKind::NotALine);
            return;
        };
        let seq = Some(place.seq);
        if !seal.holds() {
            problem(seq, ProblemKind::Changed);
        }
        match (self.report.last_seq, self.last) {
            (Some(last), _) if place.seq > last + 1 => {
                problem(seq, ProblemKind::Removed { from: last + 1, to: place.seq - 1 });
            }
            (Some(last), _) if place.seq <= last => {
                problem(seq, ProblemKind::OutOfOrder);
                return;
            }
            (Some(_), Some(hash)) if seal.prev != hash => problem(seq, ProblemKind::Replaced),
            (None, None) if place.seq > 1 => {
                problem(seq, ProblemKind::Removed { from: 1, to: place.seq - 1 });
            }
            _ => {}
        }
        match &*place.kind {
            "call" => self.report.calls += 1,
            "start" if self.report.last_seq.is_some() && !self.stopped => self.report.crashes += 1,
            "gap" => self.report.lost += line::lost(bytes),
            _ => {}
        }
        self.stopped = place.kind == "stop";
        self.report.first_seq.get_or_insert(place.seq);
        self.report.last_seq = seq;
        // What the line says of itself, so that one changed line is one problem and not two.
        self.last = Some(seal.stated);
    }
}

#[cfg(test)]
mod tests;
