//! `[audit]`: where the trail lies, how durable it is, and what happens when it cannot be written.
//!
//! A field with `#[serde(skip)]` is no key of this section.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{ByteSize, Origin, Span, Text};

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Audit")]
pub struct Settings {
    // Made with mode 0700 if it does not exist.
    /// The folder of the trail.
    #[schemars(with = "Text<PathBuf>")]
    pub directory: PathBuf,
    /// When a record is on disk.
    pub durability: Durability,
    /// What happens to calls while the trail cannot be written.
    pub on_failure: OnFailure,
    /// How large a file of the trail may grow before the next one is begun. A new one begins each
    /// UTC day as well.
    pub segment_bytes: ByteSize,
    // `None` for never.
    /// How long after its end a file is compressed; zero is at once.
    pub compress_after: Option<Span>,
    /// How long files are kept. Without it, for ever.
    pub retain_for: Option<Span>,
    /// How much the trail may take on disk; the oldest files go first, and the one that is being
    /// written always stays. Without it, there is no bound.
    pub retain_bytes: Option<ByteSize>,
    /// After how many lines a checkpoint is signed.
    #[schemars(range(min = 1))]
    pub checkpoint_records: u32,
    /// After how long a checkpoint is signed, if anything was written since the last one.
    pub checkpoint_interval: Span,
    /// The Ed25519 key that signs checkpoints, PKCS#8 in a PEM file. Made if it does not exist.
    /// Without it, one in the trail's folder.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub signing_key: Option<PathBuf>,
    /// How objects are named in the trail.
    pub object_ids: ObjectIds,
    /// The file with the key that objects are hashed with. Made if it does not exist. Without it,
    /// one in the trail's folder.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub object_key: Option<PathBuf>,
    /// The OpenTelemetry collector that gets a copy of every line (OTLP over HTTP), if any. In a
    /// file it is `telemetry.otlp_endpoint`, because the traces go there as well.
    #[serde(skip)]
    pub export_to: Option<Origin>,
    /// How many records may wait for the disk. Records beyond it are counted into a gap marker.
    #[serde(skip)]
    pub queue_records: usize,
    /// How long the first record of a batch waits for others.
    #[serde(skip)]
    pub gather: Duration,
    /// The longest a written record stays out of stable storage with [`Durability::Batched`].
    #[serde(skip)]
    pub sync_interval: Duration,
    /// How often a trail that could not be written is tried again.
    #[serde(skip)]
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
            // Large enough that a busy day is some dozens of files, small enough to read each at once.
            segment_bytes: ByteSize::mebi(128),
            // Time to ship a file elsewhere as it is.
            compress_after: Some(Span::from_secs(3600)),
            // Nothing is deleted unless the configuration says how much an auditor will ask for.
            retain_for: None,
            retain_bytes: None,
            // A second's worth of records at full load.
            checkpoint_records: 50_000,
            // Records since the last checkpoint can be cut off unnoticed, if no copy is kept elsewhere.
            checkpoint_interval: Span::from_secs(60),
            signing_key: None,
            object_ids: ObjectIds::Plain,
            object_key: None,
            export_to: None,
            queue_records: Self::DEFAULT_QUEUE_RECORDS,
            gather: Self::DEFAULT_GATHER,
            sync_interval: Self::DEFAULT_SYNC_INTERVAL,
            retry_interval: Self::DEFAULT_RETRY_INTERVAL,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new("/var/lib/pigello-gateway/audit")
    }
}

/// When a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    // With the kernel within 20 ms. A killed process costs at most those 20 ms, a power cut at most
    // the second.
    /// Within a second of the answer.
    Batched,
    /// Before the answer leaves, and the intent before the call does.
    Synced,
}

/// What happens to calls while the trail cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are refused with a 503.
    Refuse,
    /// They go on, and the trail counts what it lost.
    Continue,
}

/// How objects are named in the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectIds {
    /// By their UUID.
    Plain,
    /// By a keyed hash of it: the same object can be followed without being named.
    Hashed,
}
