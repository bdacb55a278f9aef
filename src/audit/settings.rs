//! Settings of the audit trail: its directory, its durability, and what happens on a write failure.

use std::{path::PathBuf, time::Duration};

use crate::domain::Origin;

/// Checked settings of the trail. [`Settings::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the files. Created with mode 0700 if it does not exist.
    pub directory: PathBuf,
    /// When a record counts as safe.
    pub durability: Durability,
    /// What happens to calls while the trail is not writable.
    pub on_failure: OnFailure,
    /// How many records may wait for the disk. Further records are dropped and counted in a `gap`.
    pub queue_records: usize,
    /// How long the first record of a batch waits for others.
    pub batch_delay: Duration,
    /// The longest time from write to sync with [`Durability::Batched`].
    pub sync_interval: Duration,
    /// The pause between attempts at a write or sync that failed.
    pub retry_interval: Duration,
    /// The size at which the next file begins. A new file also begins with each UTC day.
    pub segment_bytes: u64,
    /// How long after its end a file is compressed; `None` for never.
    pub compress_after: Option<Duration>,
    /// How long files are kept; `None` for ever.
    pub retain_for: Option<Duration>,
    /// The size limit of the trail on disk; `None` for no limit. The current file always stays.
    pub retain_bytes: Option<u64>,
    /// After how many lines a checkpoint is signed.
    pub checkpoint_records: u64,
    /// After what time a checkpoint is signed, if lines were written since the last one.
    pub checkpoint_interval: Duration,
    /// The Ed25519 key that signs checkpoints, PKCS#8 in PEM. Created if it does not exist; `None`
    /// for the one in the directory.
    pub signing_key: Option<PathBuf>,
    /// The OpenTelemetry collector that gets a copy of every line (OTLP over HTTP), if any.
    pub export_to: Option<Origin>,
    /// How the trail names objects.
    pub object_ids: ObjectIds,
    /// The key that hashes object ids. Created if it does not exist; `None` for the one in the
    /// directory.
    pub object_key: Option<PathBuf>,
}

impl Settings {
    /// One second of records at full load, about 30 MiB.
    pub const DEFAULT_QUEUE_RECORDS: usize = 65_536;
    /// Half of the 20 ms within which a record reaches the kernel; the write gets the other half.
    pub const DEFAULT_BATCH_DELAY: Duration = Duration::from_millis(10);
    /// The most that a power cut costs with [`Durability::Batched`].
    pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
    /// Short, so that calls are served soon after the disk has room again.
    pub const DEFAULT_RETRY_INTERVAL: Duration = Duration::from_millis(500);
    /// A busy day makes a few dozen files, and a tool can still load one at once.
    pub const DEFAULT_SEGMENT_BYTES: u64 = 128 * 1024 * 1024;
    /// A log shipper has this long to read a file before it is compressed.
    pub const DEFAULT_COMPRESS_AFTER: Duration = Duration::from_hours(1);
    /// One second of records at full load.
    pub const DEFAULT_CHECKPOINT_RECORDS: u64 = 50_000;
    /// The longest end that can be cut off undetected, if the log stream's copies are kept.
    pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_mins(1);

    /// The default settings for a trail in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Batched,
            on_failure: OnFailure::Refuse,
            queue_records: Self::DEFAULT_QUEUE_RECORDS,
            batch_delay: Self::DEFAULT_BATCH_DELAY,
            sync_interval: Self::DEFAULT_SYNC_INTERVAL,
            retry_interval: Self::DEFAULT_RETRY_INTERVAL,
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
            compress_after: Some(Self::DEFAULT_COMPRESS_AFTER),
            // Only the operator knows how much an auditor will ask for.
            retain_for: None,
            retain_bytes: None,
            checkpoint_records: Self::DEFAULT_CHECKPOINT_RECORDS,
            checkpoint_interval: Self::DEFAULT_CHECKPOINT_INTERVAL,
            signing_key: None,
            export_to: None,
            object_ids: ObjectIds::Plain,
            object_key: None,
        }
    }
}

/// When a record counts as safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the kernel within 20 ms of the response, on disk within a second. A killed process loses
    /// at most those 20 ms, a power cut at most that second.
    Batched,
    /// On disk before the response leaves; the intent is on disk before a credential is used.
    Synced,
}

/// What happens to calls while the trail is not writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused: no call goes without a record.
    Refuse,
    /// They are served; records beyond the queue's limit are dropped and counted in a `gap`.
    Continue,
}

/// How the trail names objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIds {
    /// By UUID.
    Plain,
    /// By a keyed hash of the UUID: an object keeps its name but stays anonymous.
    Hashed,
}
