//! The lines that no process signed: those since the last checkpoint, when a gateway was killed.
//!
//! The next gateway signs them as it finds them, so its signature does not prove them. A killed gateway
//! leaves few lines of a short time, though. More than that is no gateway's work.

use std::time::Duration;

use jiff::Timestamp;

use super::doubt::{TrailDoubt, TrailDoubtKind};
use crate::audit::{
    line::{LineHead, MarkerFields},
    settings::Settings,
};

/// When a gateway signs, by its `start` line. Older gateways do not say, and do not sign their start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    records: u64,
    interval: Duration,
}

impl Promise {
    pub(super) fn of_start(marker: &MarkerFields) -> Option<Self> {
        let interval = Duration::from_millis(marker.checkpoint_interval_ms);
        marker.checkpoint_records.map(|records| Self { records, interval })
    }
}

/// The lines since the last checkpoint or `start`.
#[derive(Debug, Default)]
pub(super) struct Unsigned {
    /// How many lines, without those of a start.
    pub(super) lines: u64,
    /// The `seq` of the `start` that the lines follow, if it is not signed.
    start: Option<u64>,
    /// The `seq` of a `stop` among the lines.
    stop: Option<u64>,
    /// The time of the checkpoint or `start` before the lines. Times of lines sort as text.
    since: String,
    /// The latest time of the lines.
    latest: String,
}

impl Unsigned {
    pub(super) fn after_checkpoint(time: &str) -> Self {
        Self { since: time.to_owned(), ..Self::default() }
    }

    pub(super) fn after_start(head: &LineHead<'_>) -> Self {
        Self { start: Some(head.seq), ..Self::after_checkpoint(head.time) }
    }

    pub(super) fn add(&mut self, head: &LineHead<'_>) {
        match head.kind {
            // A crash can tear the checkpoint after the stop.
            "torn" => self.stop = None,
            "start" => {}
            kind if is_of_recovery(kind) => {}
            kind => {
                if kind == "stop" {
                    self.stop = Some(head.seq);
                }
                self.lines += 1;
                if *head.time > *self.latest {
                    self.latest.clear();
                    self.latest.push_str(head.time);
                }
            }
        }
    }

    /// What a gateway would not have left unsigned.
    pub(super) fn doubts(
        &self,
        promise: Option<Promise>,
    ) -> impl Iterator<Item = TrailDoubt> + use<> {
        let limit = promise.map_or(Settings::DEFAULT_CHECKPOINT_RECORDS.into(), |p| p.records);
        let lines = self.lines;
        let too_many =
            (lines > limit).then_some((None, TrailDoubtKind::TooManyUnsigned { lines, limit }));
        let too_long = promise.and_then(|promise| {
            let limit = promise.interval;
            let time = self.duration().filter(|time| *time > limit.saturating_add(TOLERANCE))?;
            let (seconds, limit) = (time.as_secs(), limit.as_secs());
            Some((None, TrailDoubtKind::UnsignedTooLong { seconds, limit }))
        });
        let start = self.start.filter(|_| lines > 0 && promise.is_some());
        let start = start.map(|seq| (Some(seq), TrailDoubtKind::StartUnsigned));
        let stop = self.stop.map(|seq| (Some(seq), TrailDoubtKind::StopUnsigned));
        let found = [too_many, too_long, start, stop].into_iter().flatten();
        found.map(|(seq, kind)| TrailDoubt { seq, kind })
    }

    fn duration(&self) -> Option<Duration> {
        let since: Timestamp = self.since.parse().ok()?;
        let latest: Timestamp = self.latest.parse().ok()?;
        Duration::try_from(latest.duration_since(since)).ok()
    }
}

/// Whether a starting gateway writes the line before its `start`.
pub(super) fn is_of_recovery(kind: &str) -> bool {
    matches!(kind, "torn" | "damaged" | "cut" | "doubt" | "unknown")
}

/// For a clock that is adjusted between two lines.
const TOLERANCE: Duration = Duration::from_secs(5);
