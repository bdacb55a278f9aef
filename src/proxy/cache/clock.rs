//! The time of day, which dates in fields of responses are compared with. Ages always grow with tokio's clock.

use std::{fmt, time::SystemTime};

/// Tells the time of day, for comparison with `Date` and `Expires`.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// The time of day.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
