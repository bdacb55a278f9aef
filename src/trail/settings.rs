//! What the trail is told: where it lies, how durable it is, what happens when it cannot be written.

use std::{path::PathBuf, time::Duration};

/// Checked settings of the trail. [`Settings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the files are. Made with mode 0700 if it does not exist.
    pub directory: PathBuf,
    /// When a record counts as kept.
    pub durability: Durability,
    /// What happens to calls while the trail cannot be written.
    pub on_failure: OnFailure,
    /// How many records may wait for the disk. What comes on top is counted into a gap marker.
    pub queue_records: usize,
    /// How long the first record of a batch waits for others.
    pub gather: Duration,
    /// The longest a written record stays out of stable storage with [`Durability::Batched`].
    pub sync_interval: Duration,
    /// How often a trail that could not be written is tried again.
    pub retry_interval: Duration,
}

impl Settings {
    /// A second's worth of records at full load; they take some 30 MiB.
    pub const DEFAULT_QUEUE_RECORDS: usize = 65_536;
    /// Half of the 20 ms within which a record reaches the kernel: the rest is for the write.
    pub const DEFAULT_GATHER: Duration = Duration::from_millis(10);
    /// What a power cut may cost with [`Durability::Batched`].
    pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
    /// Short enough that nobody waits for a disk that has room again.
    pub const DEFAULT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

    /// The defaults, for a trail in that directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Batched,
            on_failure: OnFailure::Refuse,
            queue_records: Self::DEFAULT_QUEUE_RECORDS,
            gather: Self::DEFAULT_GATHER,
            sync_interval: Self::DEFAULT_SYNC_INTERVAL,
            retry_interval: Self::DEFAULT_RETRY_INTERVAL,
        }
    }
}

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// With the kernel within 20 ms of the answer, on the disk within a second. A killed process
    /// costs at most those 20 ms, a power cut at most that second.
    Batched,
    /// On the disk before the answer leaves, and its intent before a secret does.
    Synced,
}

/// What happens to calls while the trail cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused: no call without a record.
    Refuse,
    /// They are served; records that find no room are counted into a gap marker.
    Continue,
}
