//! The room on the trail's disk, and for how long it is enough.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

/// The room at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Space {
    /// Bytes that the gateway may still write; `None` if the system does not say.
    pub(super) free: Option<u64>,
    /// When the disk is full, if what was free goes on to shrink as it has.
    pub(super) full_in: Option<Duration>,
}

/// Remembers how the room shrank in the last day. All that is on the disk counts, and what was compressed
/// and deleted.
#[derive(Debug, Default)]
pub(super) struct SpaceWatch {
    looks: VecDeque<(Instant, u64)>,
}

impl SpaceWatch {
    /// Asks for the room in a directory.
    pub(super) fn look(&mut self, directory: &Path, now: Instant) -> Space {
        let Ok(disk) = rustix::fs::statvfs(directory) else { return Space::default() };
        self.note(disk.f_bavail.saturating_mul(disk.f_frsize), now)
    }

    fn note(&mut self, free: u64, now: Instant) -> Space {
        if self.looks.back().is_none_or(|(last, _)| now.duration_since(*last) >= BETWEEN_LOOKS) {
            self.looks.push_back((now, free));
        }
        while self.looks.front().is_some_and(|(first, _)| now.duration_since(*first) > DAY) {
            self.looks.pop_front();
        }
        let full_in = self.looks.front().and_then(|(since, before)| {
            let time = now.duration_since(*since);
            let used = before.checked_sub(free).filter(|used| *used > 0)?;
            let seconds = u128::from(free) * u128::from(time.as_secs()) / u128::from(used);
            // A few minutes say nothing of the days to come.
            (time >= SHORTEST)
                .then(|| Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
        });
        Space { free: Some(free), full_in }
    }
}

const DAY: Duration = Duration::from_hours(24);
const BETWEEN_LOOKS: Duration = Duration::from_mins(5);
const SHORTEST: Duration = Duration::from_mins(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_the_last_day_tells_how_long_it_is_enough() {
        let (mut watch, start) = (SpaceWatch::default(), Instant::now());
        let at = |minutes| start + Duration::from_mins(minutes);
        assert_eq!(watch.note(1000, at(0)), Space { free: Some(1000), full_in: None });
        assert_eq!(watch.note(900, at(10)).full_in, None, "too early to say");
        assert_eq!(watch.note(500, at(50)).full_in, Some(Duration::from_mins(50)));
        assert_eq!(watch.note(1000, at(60)).full_in, None, "it does not shrink");
        for minute in 0..10_000 {
            watch.note(1000, at(60 + minute));
        }
        assert!(watch.looks.len() <= 289, "a day is kept, and no more");
        assert!(watch.look(Path::new("/"), at(10_060)).free.is_some());
    }
}
