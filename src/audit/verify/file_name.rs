//! Whether the name of a trail's file fits the lines in it.

use jiff::{SignedDuration, Timestamp};

use crate::audit::directory::TrailSegment;

/// What the name of a file says, and the times that its lines show.
#[derive(Debug)]
pub(super) struct FileName {
    pub(super) first_seq: u64,
    begun: Timestamp,
    /// The earliest and the latest time of the last line before the file and of its own lines, as text.
    times: Option<(String, String)>,
    /// The time of the last line.
    last: String,
}

impl FileName {
    pub(super) fn of(segment: &TrailSegment, before: Option<Self>) -> Self {
        let last = before.map_or_else(String::new, |before| before.last);
        let times = (!last.is_empty()).then(|| (last.clone(), last.clone()));
        Self { first_seq: segment.first_seq, begun: segment.begun, times, last }
    }

    pub(super) fn line(&mut self, time: &str) {
        time.clone_into(&mut self.last);
        let (earliest, latest) =
            self.times.get_or_insert_with(|| (time.to_owned(), time.to_owned()));
        if time < &**earliest {
            time.clone_into(earliest);
        }
        if time > &**latest {
            time.clone_into(latest);
        }
    }

    /// Whether the file was created, as its name says, within a day of one of these times. A call may have
    /// arrived before, and the clock may have jumped; but the gateway signs every few minutes.
    pub(super) fn fits_times(&self) -> bool {
        let at = |time: &str| time.parse::<Timestamp>().ok();
        let Some((earliest, latest)) = &self.times else { return true };
        let Some((earliest, latest)) = at(earliest).zip(at(latest)) else { return true };
        self.begun.duration_since(latest) <= DAY && earliest.duration_since(self.begun) <= DAY
    }
}

/// The longest call and the longest outage of a disk.
const DAY: SignedDuration = SignedDuration::from_hours(24);
