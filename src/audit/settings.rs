//! What the trail is told: where it lies, how durable it is, what happens when it cannot be written.

use std::{path::PathBuf, time::Duration};

use crate::domain::Origin;

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
    /// How large a file may grow before the next one is begun. A new one begins each UTC day as well.
    pub segment_bytes: u64,
    /// How long after its end a file is compressed; `None` for never.
    pub compress_after: Option<Duration>,
    /// How long files are kept; `None` for ever.
    pub retain_for: Option<Duration>,
    /// How much the trail may take on disk; `None` for no bound. The file being written always stays.
    pub retain_bytes: Option<u64>,
    /// After how many lines a checkpoint is signed.
    pub checkpoint_records: u64,
    /// After how long a checkpoint is signed, if anything was written since the last one.
    pub checkpoint_interval: Duration,
    /// The Ed25519 key that signs checkpoints, PKCS#8 in PEM. `None` for one in the directory. Made
    /// if it does not exist.
    pub signing_key: Option<PathBuf>,
    /// The OpenTelemetry collector that gets a copy of every line (OTLP over HTTP), if any.
    pub export_to: Option<Origin>,
    /// How objects are named.
    pub object_ids: ObjectIds,
    /// The key objects are hashed with. `None` for one in the directory. Made if it does not exist.
    pub object_key: Option<PathBuf>,
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

    /// Large enough that a busy day is some dozens of files, small enough that each is read at once.
    pub const DEFAULT_SEGMENT_BYTES: u64 = 128 * 1024 * 1024;
    /// Whoever ships the files elsewhere has this long to read them as they are.
    pub const DEFAULT_COMPRESS_AFTER: Duration = Duration::from_hours(1);
    /// A second's worth of records at full load.
    pub const DEFAULT_CHECKPOINT_RECORDS: u64 = 50_000;
    /// What can be cut off unnoticed, if the copies in the log stream are kept.
    pub const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_mins(1);

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
            segment_bytes: Self::DEFAULT_SEGMENT_BYTES,
            compress_after: Some(Self::DEFAULT_COMPRESS_AFTER),
            // Nothing is thrown away unless someone says how much an auditor will ask for.
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

/// How the objects of calls are named in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIds {
    /// By their UUID.
    Plain,
    /// By a keyed hash of it: the same object can be followed without being named.
    Hashed,
}
