//! Whether the wall clock can be believed. What cannot be undone, such as the deletion of old files, must not
//! follow a clock that has jumped.
//!
//! The clock since boot does not jump. So a step of the wall clock is how far it is from where the time since
//! the last look has brought it. A new process has no last look: it compares with the trail's last line.
//! A clock in doubt is believed again when it has come back, or when its new time has stood for a day.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::process::files::{read_own, replace};

/// Decides whether the wall clock is believed.
#[derive(Debug)]
pub(super) struct ClockWatch {
    /// The last time that was believed.
    believed: Reading,
    /// How far the clock may be ahead of it.
    tolerance: SignedDuration,
    /// The first reading of a clock in doubt.
    doubted: Option<Reading>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) wall: Timestamp,
    /// Since the boot of the machine, with the time it slept.
    pub(super) boot: Duration,
}

/// What a look at the clock has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockChange {
    /// It has stepped by so much, and is in doubt.
    Doubted { step: SignedDuration },
    /// It is believed again.
    Believed,
}

impl Reading {
    pub(super) fn now() -> Self {
        let boot = rustix::time::clock_gettime(SINCE_BOOT);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Self { wall: Timestamp::now(), boot: Duration::new(seconds, nanoseconds) }
    }

    /// How far the wall clock is from where the time since `earlier` has brought it.
    fn step_since(&self, earlier: &Self) -> SignedDuration {
        let passed = SignedDuration::try_from(self.boot.saturating_sub(earlier.boot));
        self.wall.duration_since(earlier.wall).saturating_sub(passed.unwrap_or(SignedDuration::MAX))
    }
}

impl ClockWatch {
    /// Begins with the time of the trail's last line, if there is one. `doubted` is what the last process left:
    /// the last time that it believed, if the clock was in doubt at its end.
    pub(super) fn new(
        now: Reading,
        last_line: Option<Timestamp>,
        doubted: Option<Timestamp>,
    ) -> (Self, Option<ClockChange>) {
        let Some(wall) = doubted.or(last_line) else {
            return (Self { believed: now, tolerance: STEP, doubted: None }, None);
        };
        let believed = Reading { wall, ..now };
        // The machine may have been off for a while.
        let mut watch = Self { believed, tolerance: DAY, doubted: None };
        let change = watch.look(now);
        if change.is_none() {
            watch = Self { believed: now, tolerance: STEP, doubted: None };
        }
        (watch, change)
    }

    /// Judges the clock. Returns what has changed.
    pub(super) fn look(&mut self, now: Reading) -> Option<ClockChange> {
        let step = now.step_since(&self.believed);
        let is_near = -STEP <= step && step <= self.tolerance;
        match self.doubted {
            None if is_near => {
                // Small corrections do not add up to a step.
                if now.boot.saturating_sub(self.believed.boot) >= A_DAY {
                    self.believe(now);
                }
                None
            }
            None => {
                self.doubted = Some(now);
                Some(ClockChange::Doubted { step })
            }
            Some(doubted) => {
                let has_stood = now.step_since(&doubted).abs() <= STEP;
                if !is_near && !has_stood {
                    self.doubted = Some(now);
                    return None;
                }
                if !is_near && now.boot.saturating_sub(doubted.boot) < A_DAY {
                    return None;
                }
                self.believe(now);
                Some(ClockChange::Believed)
            }
        }
    }

    fn believe(&mut self, now: Reading) {
        *self = Self { believed: now, tolerance: STEP, doubted: None };
    }

    /// Whether the clock is in doubt.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// The last time that was believed.
    pub(super) fn believed(&self) -> Timestamp {
        self.believed.wall
    }
}

/// What a process leaves in the trail's directory while it doubts the clock: the last time that it believed.
#[derive(Debug)]
pub(super) struct ClockDoubt(PathBuf);

impl ClockDoubt {
    pub(super) fn of(directory: &Path) -> Self {
        Self(directory.join("clock-doubted"))
    }

    pub(super) fn read(&self) -> Option<Timestamp> {
        std::str::from_utf8(&read_own(&self.0).ok()?).ok()?.trim().parse().ok()
    }

    pub(super) fn keep(&self, believed: Timestamp) -> io::Result<()> {
        replace(&self.0, format!("{believed}\n").as_bytes())
    }

    pub(super) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

/// The least difference that is a step and no correction.
const STEP: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a new time must stand.
const A_DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 2 * 365 * 24;

    /// Both clocks after so many hours since boot, with the wall clock that much ahead.
    fn after(hours: u64, ahead: i64) -> Reading {
        let wall: Timestamp = "2026-03-01T08:00:00Z".parse().unwrap();
        let hours_passed = SignedDuration::from_hours(i64::try_from(hours).unwrap() + ahead);
        Reading { wall: wall + hours_passed, boot: Duration::from_hours(hours) }
    }

    fn believed() -> ClockWatch {
        ClockWatch::new(after(0, 0), None, None).0
    }

    fn is_doubt(change: Option<ClockChange>) -> bool {
        matches!(change, Some(ClockChange::Doubted { .. }))
    }

    #[test]
    fn a_clock_that_runs_is_believed_also_after_a_sleep_and_small_corrections() {
        let mut watch = believed();
        for (hours, ahead) in [(1, 0), (2, 1), (26, 1), (27, 2), (51, 2), (10_000, 2), (10_001, 1)]
        {
            assert_eq!(watch.look(after(hours, ahead)), None, "{hours}");
            assert!(!watch.is_doubted());
        }
    }

    #[test]
    fn a_step_is_in_doubt_until_the_clock_comes_back() {
        for ahead in [YEARS, -YEARS, 2, -2] {
            let mut watch = believed();
            let change = watch.look(after(1, ahead));
            assert_eq!(
                change,
                Some(ClockChange::Doubted { step: SignedDuration::from_hours(ahead) })
            );
            assert_eq!((watch.look(after(2, ahead)), watch.is_doubted()), (None, true));
            assert_eq!(watch.look(after(3, 0)), Some(ClockChange::Believed));
            assert_eq!(watch.look(after(4, 0)), None);
        }
    }

    #[test]
    fn a_new_time_is_believed_after_a_day_and_another_step_begins_the_day_anew() {
        let mut watch = believed();
        assert!(is_doubt(watch.look(after(1, YEARS))));
        assert_eq!(watch.look(after(24, YEARS)), None);
        assert_eq!(watch.look(after(24, 2 * YEARS)), None);
        assert_eq!(watch.look(after(47, 2 * YEARS)), None);
        assert!(watch.is_doubted());
        assert_eq!(watch.look(after(48, 2 * YEARS)), Some(ClockChange::Believed));
        assert!(is_doubt(watch.look(after(49, 0))), "now the first time is the strange one");
    }

    #[test]
    fn a_start_compares_with_the_last_line() {
        let start = |ahead| {
            let (watch, change) = ClockWatch::new(after(0, ahead), Some(after(0, 0).wall), None);
            assert_eq!(watch.is_doubted(), is_doubt(change));
            watch.is_doubted()
        };
        assert!(start(YEARS) && start(-YEARS) && start(-2) && start(25));
        assert!(!start(0) && !start(20) && !start(-1), "a night off is no step");
    }

    #[test]
    fn a_doubt_outlasts_the_process() {
        let (last_line, left) = (after(0, YEARS).wall, after(0, 0).wall);
        let (mut watch, change) = ClockWatch::new(after(1, YEARS), Some(last_line), Some(left));
        assert!(is_doubt(change));
        assert_eq!(watch.look(after(2, 0)), Some(ClockChange::Believed));
    }
}
