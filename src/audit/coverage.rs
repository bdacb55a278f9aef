//! What a trail answers for: from when to when it has records, and which of them are missing.
//!
//! A search that finds nothing proves something only for a time that the trail covers. So every command that
//! reads a trail for people says its [`Coverage`].

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::{
    beginning::Beginning,
    directory::TrailSegment,
    line::{LineHead, line_head, marker},
    lines::{Lines, TrailReadError},
    read::files,
};

/// The records of a trail, and what is known to be missing from it.
///
/// [`Coverage::of`] reads the ends of the trail. What is missing in between is found while its lines are
/// read: every file and line that is read goes through [`Coverage::file`] and [`Coverage::line`].
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// The trail's directory.
    #[serde(serialize_with = "as_text")]
    pub directory: PathBuf,
    /// What the gateway is called, by the last `start` or `checkpoint`.
    pub instance: Option<String>,
    /// The first record.
    pub first: Option<RecordPoint>,
    /// The last record when the reading began.
    pub last: Option<RecordPoint>,
    /// The earliest time that the trail shows. It is the first record's, if no clock was set back.
    pub since: Option<Timestamp>,
    /// What is missing, in the order of the trail.
    pub missing: Vec<Missing>,
    /// Files that show an earlier time than the file before: a clock was set back.
    pub clock_set_back: Vec<String>,
    /// The files in their order, when the reading began.
    #[serde(skip)]
    files: Vec<TrailSegment>,
    /// The file that is being read.
    #[serde(skip)]
    current: Option<usize>,
    /// The last line, if the lines before it were read.
    #[serde(skip)]
    previous: Option<RecordPoint>,
    /// The last line of a gateway at work, so before what its successor says of its end.
    #[serde(skip)]
    last_at_work: Option<Timestamp>,
}

/// Number and time of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordPoint {
    /// Its `seq`.
    pub seq: u64,
    /// Its `time`.
    pub time: Timestamp,
}

impl RecordPoint {
    fn of(head: &LineHead<'_>) -> Option<Self> {
        Some(Self { seq: head.seq, time: head.time.parse().ok()? })
    }
}

/// Records that are missing from a trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Why.
    pub cause: MissingCause,
    /// The numbers of the first and the last one, if they had any.
    pub records: Option<(u64, u64)>,
    /// How many, if it is known.
    pub count: Option<u64>,
    /// They are of this time or later; `None` for the beginning of the trail.
    pub after: Option<Timestamp>,
    /// They are of this time or earlier.
    pub before: Timestamp,
    /// When the trail says that they are missing, if it does.
    pub told: Option<Timestamp>,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingCause {
    /// The retention deleted them (`retention`).
    Retention,
    /// They were dropped while the trail could not be written (`gap`).
    Gap,
    /// A gateway found at its start that the end had been cut off (`cut`).
    Cut,
    /// A gateway found at its start that the end was damaged, and moved it aside (`damaged`).
    Damaged,
    /// A crash left half a record (`torn`).
    Torn,
    /// Calls were in progress in a crash (`unknown`).
    Unknown,
    /// Nothing on the trail accounts for it: files were removed.
    Removed,
}

impl Missing {
    /// Whether they can be of a period. Without a beginning, the period begins with the trail.
    pub fn is_in(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        let begins_before = match (self.after, until) {
            (Some(after), Some(until)) => after < until,
            _ => true,
        };
        match since {
            Some(since) => begins_before && self.before >= since,
            None => begins_before && self.after.is_some(),
        }
    }
}

impl Coverage {
    /// Reads the first and the last record, and looks for what accounts for a missing beginning.
    pub fn of(directory: &Path) -> Result<Self, TrailReadError> {
        let files = files(directory)?;
        // A file that cannot be read shows no time.
        let begun = |file| Some(Beginning::of(file).ok()??.time);
        let begun: Vec<_> = files.iter().map(begun).collect();
        let mut coverage = Self {
            directory: directory.to_owned(),
            instance: None,
            first: None,
            last: None,
            since: None,
            missing: Vec::new(),
            clock_set_back: clock_set_back(&files, &begun),
            files: Vec::new(),
            current: None,
            previous: None,
            last_at_work: None,
        };
        for file in &files {
            coverage.first = Lines::open(file, 0)?.next()?.and_then(point);
            if coverage.first.is_some() {
                break;
            }
        }
        // Only the last file is read whole, unless a deletion is looked for.
        let is_cut = coverage.first.is_some_and(|first| first.seq > 1);
        let mut retention = None;
        for file in files.iter().rev() {
            let mut last = None;
            let mut lines = Lines::open(file, 0)?;
            while let Some(line) = lines.next()? {
                let Some(head) = line_head(line) else { continue };
                match head.kind {
                    "start" | "checkpoint" => {
                        coverage.instance = marker(line).instance.or(coverage.instance);
                    }
                    "retention" => retention = RecordPoint::of(&head).zip(Some(marker(line).to)),
                    _ => {}
                }
                last = RecordPoint::of(&head).or(last);
            }
            coverage.last = coverage.last.or(last);
            if coverage.last.is_some() && (!is_cut || retention.is_some()) {
                break;
            }
        }
        if let Some(first) = coverage.first.filter(|_| is_cut) {
            coverage.missing.push(beginning(first, retention));
        }
        let begun = begun.into_iter().flatten();
        coverage.since = coverage.first.map(|first| begun.fold(first.time, Timestamp::min));
        coverage.files = files;
        Ok(coverage)
    }

    /// The name of the trail: its instance, or else its directory.
    pub fn name(&self) -> String {
        let directory = || {
            let name = self.directory.file_name().unwrap_or(self.directory.as_os_str());
            name.to_string_lossy().into_owned()
        };
        self.instance.clone().unwrap_or_else(directory)
    }

    /// A file begins to be read.
    pub fn file(&mut self, file: &TrailSegment) {
        let index = self.files.iter().position(|known| known.first_seq == file.first_seq);
        if self.current.map(|current| current + 1) != index {
            // What is between them was not read.
            self.previous = None;
            self.last_at_work = None;
        }
        self.current = index;
    }

    /// A line was read.
    pub fn line(&mut self, head: &LineHead<'_>, line: &[u8]) {
        let Some(point) = RecordPoint::of(head) else { return };
        if let Some(previous) = self.previous
            && point.seq > previous.seq + 1
        {
            self.missing.push(Missing {
                cause: MissingCause::Removed,
                records: Some((previous.seq + 1, point.seq - 1)),
                count: Some(point.seq - previous.seq - 1),
                after: Some(previous.time.min(point.time)),
                before: point.time.max(previous.time),
                told: None,
            });
        }
        self.previous = Some(point);
        let cause = match head.kind {
            "gap" => MissingCause::Gap,
            "cut" => MissingCause::Cut,
            "damaged" => MissingCause::Damaged,
            "torn" => MissingCause::Torn,
            "unknown" => MissingCause::Unknown,
            "start" | "restored" | "doubt" => return,
            _ => {
                self.last_at_work = Some(point.time);
                return;
            }
        };
        let fields = marker(line);
        let records = (cause == MissingCause::Cut).then_some((fields.from, fields.to));
        let count = match cause {
            MissingCause::Gap => Some(fields.lost),
            MissingCause::Cut => Some((fields.to + 1).saturating_sub(fields.from)),
            MissingCause::Torn | MissingCause::Unknown => Some(1),
            _ => None,
        };
        // Of a crash with many calls there is one line each.
        if let Some(last) = self.missing.last_mut()
            && last.cause == cause
            && cause == MissingCause::Unknown
            && last.after == self.last_at_work
        {
            last.count = last.count.zip(count).map(|(one, more)| one + more);
            return;
        }
        self.missing.push(Missing {
            cause,
            records,
            count,
            after: Some(self.last_at_work.unwrap_or(Timestamp::MIN).min(point.time)),
            before: point.time,
            told: Some(point.time),
        });
    }

    /// What keeps a period from being covered. Without a beginning, it begins with the trail.
    pub fn shortfalls(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> Vec<Shortfall> {
        let mut shortfalls = Vec::new();
        match (self.since, since) {
            (None, Some(_)) => shortfalls.push(Shortfall::Empty),
            (Some(begins), Some(since)) if since < begins => {
                shortfalls.push(Shortfall::Before(begins));
            }
            _ => {}
        }
        let inside = self.missing.iter().filter(|missing| missing.after.is_some());
        let inside = inside.filter(|missing| missing.is_in(since, until));
        let causes: BTreeSet<_> = inside.map(|missing| missing.cause.label()).collect();
        shortfalls.extend(causes.into_iter().map(Shortfall::Missing));
        shortfalls
    }
}

/// Why a trail does not cover a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// It has no records.
    Empty,
    /// It begins later, at this time.
    Before(Timestamp),
    /// Records inside are missing, for this reason.
    Missing(&'static str),
}

impl MissingCause {
    /// The reason in a few words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retention => "deleted by the retention",
            Self::Gap => "dropped while the trail could not be written",
            Self::Cut => "cut off from the end of the trail",
            Self::Damaged => "in a damaged end that was moved aside",
            Self::Torn => "half-written in a crash",
            Self::Unknown => "in progress in a crash",
            Self::Removed => "removed, and nothing on the trail accounts for it",
        }
    }
}

/// A path that is no UTF-8 is shown as it is displayed.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn point(line: &[u8]) -> Option<RecordPoint> {
    RecordPoint::of(&line_head(line)?)
}

/// What is missing before the first record, and the last deletion that the trail tells of.
fn beginning(first: RecordPoint, retention: Option<(RecordPoint, u64)>) -> Missing {
    let retention = retention.filter(|(_, to)| *to + 1 >= first.seq);
    Missing {
        cause: retention.map_or(MissingCause::Removed, |_| MissingCause::Retention),
        records: Some((1, first.seq - 1)),
        count: Some(first.seq - 1),
        after: None,
        before: first.time,
        told: retention.map(|(point, _)| point.time),
    }
}

/// The names of the files that begin earlier than the file before, by more than a call can be out of order.
fn clock_set_back(files: &[TrailSegment], begun: &[Option<Timestamp>]) -> Vec<String> {
    let mut back = Vec::new();
    for (file, pair) in files.iter().skip(1).zip(begun.array_windows()) {
        if let [Some(before), Some(begun)] = pair
            && before.duration_since(*begun) > CLOCK_CORRECTION
        {
            back.extend(file.path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    back
}

/// Less is the correction of a clock, or the length of a call.
pub(super) const CLOCK_CORRECTION: SignedDuration = SignedDuration::from_hours(1);
