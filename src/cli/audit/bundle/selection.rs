//! Which lines of a trail belong into a bundle.
//!
//! They begin with the last line before the period, so that the first one of the period has the line before it
//! beside it. They end with the first checkpoint behind the period; while there is none, with the last
//! checkpoint of the trail. Lines behind that are left out: nobody could tell who wrote them. A trail without a
//! checkpoint is taken to its end.

use std::{ops::ControlFlow, path::Path};

use super::{
    RECORDS, TRAIL,
    manifest::{BundledFile, Lines},
    rules::Policies,
    tally::Tally,
};
use crate::{
    audit::{self, CallLine, Coverage, ReadItem, TrailSegment},
    cli::audit::{
        error::{AuditError, BundleError},
        filter::{PreparedFilter, TimeRange},
        progress::ProgressLine,
    },
    domain::visible,
};

/// The lines of a trail that belong into a bundle.
#[derive(Debug)]
pub(super) struct Selection {
    files: Vec<TrailSegment>,
    /// How many lines of the files come before the first one.
    skipped: u64,
    /// All lines.
    pub(super) trail: Tally,
    /// Those that were asked for.
    pub(super) records: Tally,
    pub(super) lines: Lines,
    /// The configurations of the records.
    pub(super) policies: Policies,
    /// The first records, for the page.
    pub(super) rows: Vec<Row>,
    /// How many lines come after the last one, without a signature.
    pub(super) unsigned_left_out: u64,
}

/// A record as the page shows it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) seq: String,
    pub(super) time: String,
    pub(super) caller: String,
    pub(super) operation: String,
    pub(super) status: String,
    pub(super) outcome: String,
    pub(super) path: String,
}

impl Row {
    fn of(call: &CallLine<'_>) -> Self {
        Self {
            seq: call.seq.to_string(),
            time: call.time.to_string(),
            caller: visible(call.caller.as_deref().unwrap_or("–")).into_owned(),
            operation: visible(call.operation.as_deref().unwrap_or(&call.method)).into_owned(),
            status: call.status.map_or_else(|| "–".to_owned(), |status| status.to_string()),
            outcome: call.outcome.to_string(),
            path: visible(call.path.as_deref().unwrap_or("–")).into_owned(),
        }
    }
}

impl Selection {
    pub(super) fn of(
        directory: &Path,
        range: &TimeRange,
        fits: &PreparedFilter<'_>,
    ) -> Result<(Self, Coverage), AuditError> {
        let (since, until) = (range.since(), range.until());
        let mut coverage = Coverage::of(directory)?;
        let wanted = audit::files_between(directory, since, until)?;
        let mut files = audit::files(directory)?;
        // With the file before, which may have the last line before the period.
        let is_wanted = |file: &TrailSegment| wanted.iter().any(|w| w.first_seq == file.first_seq);
        let begin = files.iter().position(is_wanted).unwrap_or(files.len());
        let end = files.iter().rposition(is_wanted).map_or(0, |last| last + 1);
        files.truncate(end);
        files.drain(..begin.saturating_sub(1).min(files.len()));

        let text = |time| format!("{time:.6}");
        let mut scan = Scan {
            fits,
            since: since.map(text).unwrap_or_default(),
            until: until.map(text),
            before: None,
            seen: 0,
            here: Point::default(),
            signed: None,
            closing: None,
            rows: Vec::new(),
        };
        let mut progress = ProgressLine::over(&files);
        audit::read_through(&files, |item| {
            match item {
                ReadItem::File(file) => {
                    progress.file(file);
                    coverage.file(file);
                }
                ReadItem::Line(line) => {
                    if let Some(head) = audit::line_head(line) {
                        coverage.line(&head, line);
                    }
                    scan.line(line);
                }
            }
            Ok::<_, AuditError>(ControlFlow::Continue(()))
        })?;
        drop(progress);
        let Scan { seen, here, signed, closing, mut rows, .. } = scan;
        let skipped = seen - here.trail.lines;
        let end = here.trail.lines;
        let is_open = closing.is_none() && signed.is_some();
        let Point { trail, records, lines, policies } = closing.or(signed).unwrap_or(here);
        rows.truncate(usize::try_from(records.lines).unwrap_or(usize::MAX));
        let unsigned_left_out = if is_open { end - trail.lines } else { 0 };
        let selection =
            Self { files, skipped, trail, records, lines, policies, rows, unsigned_left_out };
        Ok((selection, coverage))
    }

    /// The two files, in their order.
    pub(super) fn as_files(&self) -> [BundledFile; 2] {
        [self.trail.as_file(TRAIL), self.records.as_file(RECORDS)]
    }

    /// Reads the lines again.
    pub(super) fn for_each(
        &self,
        mut visit: impl FnMut(&[u8]) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        let (mut skip, mut left) = (self.skipped, self.trail.lines);
        audit::read_through(&self.files, |item| {
            let ReadItem::Line(line) = item else { return Ok(ControlFlow::Continue(())) };
            if skip > 0 {
                skip -= 1;
            } else if left > 0 {
                left -= 1;
                visit(line)?;
            }
            let is_done = left == 0;
            Ok::<_, AuditError>(if is_done {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        if left > 0 { Err(BundleError::Changed.into()) } else { Ok(()) }
    }
}

/// The lines so far.
#[derive(Clone, Debug, Default)]
struct Point {
    trail: Tally,
    records: Tally,
    lines: Lines,
    policies: Policies,
}

/// Finds the first and the last line.
struct Scan<'a> {
    fits: &'a PreparedFilter<'a>,
    /// Times of lines sort as text.
    since: String,
    until: Option<String>,
    /// The last line, while the period has not begun.
    before: Option<Vec<u8>>,
    /// How many lines were read.
    seen: u64,
    here: Point,
    /// The last checkpoint.
    signed: Option<Point>,
    /// The first checkpoint behind the last line of the period.
    closing: Option<Point>,
    rows: Vec<Row>,
}

impl Scan<'_> {
    fn line(&mut self, line: &[u8]) {
        self.seen += 1;
        let head = audit::line_head(line);
        let is_before = head.map_or(!self.since.is_empty(), |head| *head.time < *self.since);
        if self.here.trail.lines == 0 && is_before {
            self.before = Some(line.to_owned());
            return;
        }
        if let Some(before) = self.before.take() {
            self.add(&before);
        }
        self.add(line);
        let Some(head) = head else { return };
        if self.until.as_ref().is_none_or(|until| head.time < until.as_str()) {
            self.closing = None;
        }
        if head.kind == "checkpoint" {
            self.signed = Some(self.here.clone());
            let is_behind = self.until.as_ref().is_some_and(|until| head.time >= until.as_str());
            if is_behind && self.closing.is_none() {
                self.closing = Some(self.here.clone());
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        let Point { trail, records, lines, policies } = &mut self.here;
        trail.add(line);
        if let Some(head) = audit::line_head(line) {
            lines.add(&head);
        }
        if let Some(call) = self.fits.matching(line) {
            records.add(line);
            policies.add(&call);
            if self.rows.len() < MOST_ROWS {
                self.rows.push(Row::of(&call));
            }
        }
    }
}

/// A browser shows so many without trouble; the rest is in `records.jsonl`.
const MOST_ROWS: usize = 1000;
