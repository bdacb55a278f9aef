//! Which files have ended, which of them are due for deletion, and what holds the others back.

use std::{io, path::Path, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::audit::{
    beginning::Beginnings,
    coverage::CLOCK_CORRECTION,
    directory::TrailSegment,
    encode::Removal,
    export::ExportProgress,
    recover::{last_time, tip_before, tip_of_ended},
    settings::Settings,
};

/// When files are compressed and deleted.
#[derive(Clone, Debug)]
pub(in crate::audit) struct RetentionRules {
    pub(in crate::audit) compress_after: Option<Duration>,
    pub(in crate::audit) retain_for: Option<Duration>,
    pub(in crate::audit) retain_bytes: Option<u64>,
    /// The progress of the export, if there is one: a file stays until the collector has had it.
    pub(in crate::audit) exported: Option<Arc<ExportProgress>>,
}

impl RetentionRules {
    fn is_exported(&self, seq: u64) -> bool {
        self.exported.as_ref().is_none_or(|exported| exported.seq() >= seq)
    }
}

impl From<&Settings> for RetentionRules {
    fn from(settings: &Settings) -> Self {
        Self {
            compress_after: settings.compress_after.map(Into::into),
            retain_for: settings.retain_for.map(Into::into),
            retain_bytes: settings.retain_bytes.map(|bytes| bytes.0),
            exported: None,
        }
    }
}

/// Why old files are not deleted although they are due, or although their room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The collector has not had them.
    Export,
    /// The clock that says how old they are is in doubt.
    Clock,
    /// The trail cannot be written, and no file is due.
    NothingDue,
    /// An operation failed; the log has the error.
    Error,
}

impl Blocked {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Export, Self::Clock, Self::NothingDue, Self::Error];

    /// The value of the metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Clock => "clock",
            Self::NothingDue => "nothing_due",
            Self::Error => "error",
        }
    }
}

/// A file that is no longer written.
#[derive(Debug)]
pub(super) struct EndedSegment {
    pub(super) segment: TrailSegment,
    next: TrailSegment,
    /// When it ended; `None` if no line tells.
    end: Option<Timestamp>,
}

impl EndedSegment {
    /// Whether it ended at least so long ago.
    pub(super) fn is_past(&self, after: Duration, now: Timestamp) -> bool {
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        self.end.is_some_and(|end| end.checked_add(after).is_ok_and(|due| due <= now))
    }

    /// Its deletion, as the trail tells of it.
    pub(super) fn removal(&self) -> io::Result<Removal> {
        // The first line of the next file has the last hash of this one, unless it is not written yet.
        let tip = tip_before(&self.next).or_else(|_| tip_of_ended(&self.segment));
        let tip = tip.map_err(io::Error::other)?;
        Ok(Removal { from: self.segment.first_seq, to: tip.seq, last_hash: tip.hash })
    }
}

/// Every file but the last one, which is still being written.
///
/// A file ends when the next one begins, which the next one's first line tells. A time that is in the future,
/// or before an earlier one by more than a call can be, is of a wrong clock; the one after it counts.
pub(super) fn ended(
    directory: &Path,
    now: Timestamp,
    beginnings: &mut Beginnings,
) -> io::Result<Vec<EndedSegment>> {
    let segments = TrailSegment::list(directory)?;
    let mut latest = Timestamp::MIN;
    let beginnings = beginnings.of(&segments)?;
    // The current file may have no line yet; then the last line is of the file before.
    let is_begun = beginnings.last().is_none_or(Option::is_some);
    let mut end = if is_begun { None } else { last_time(directory).filter(|time| *time <= now) };
    let times: Vec<_> = beginnings
        .into_iter()
        .map(|beginning| {
            let begun = beginning?.time;
            let went_back = latest.duration_since(begun) > CLOCK_CORRECTION;
            if went_back || begun > now {
                return None;
            }
            latest = latest.max(begun);
            Some(latest)
        })
        .collect();
    let mut ended = Vec::new();
    for (pair, begun) in segments.windows(2).zip(times.into_iter().skip(1)).rev() {
        end = begun.or(end);
        if let [segment, next] = pair {
            ended.push(EndedSegment { segment: segment.clone(), next: next.clone(), end });
        }
    }
    ended.reverse();
    Ok(ended)
}

/// The files to delete, oldest first, and what holds back the next one that would be.
pub(super) fn due(
    directory: &Path,
    rules: &RetentionRules,
    now: Timestamp,
    clock_is_doubted: bool,
    beginnings: &mut Beginnings,
) -> io::Result<(Vec<EndedSegment>, Option<Blocked>)> {
    let mut total: u64 = 0;
    for segment in TrailSegment::list(directory)? {
        total += segment.path.metadata()?.len();
    }
    let mut due = Vec::new();
    for ended in ended(directory, now, beginnings)? {
        let too_much = rules.retain_bytes.is_some_and(|bound| total > bound);
        let too_old = rules.retain_for.is_some_and(|time| ended.is_past(time, now));
        if !too_much && !too_old {
            break;
        }
        if !too_much && clock_is_doubted {
            return Ok((due, Some(Blocked::Clock)));
        }
        if !rules.is_exported(ended.next.first_seq - 1) {
            return Ok((due, Some(Blocked::Export)));
        }
        total -= ended.segment.path.metadata()?.len();
        due.push(ended);
    }
    Ok((due, None))
}
