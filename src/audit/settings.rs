//! `[audit]`: the directory of the trail, its durability, and what happens when a write fails.
//!
//! A field with `#[serde(skip)]` is not a key of this section.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keys::{OBJECT_KEY, SIGNING_KEY};
use crate::{
    domain::{ByteSize, LogOrigin, Span, Text, VerifierKey, WitnessUrl},
    outbound::CollectorSettings,
};

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Audit")]
pub struct Settings {
    // Created with mode 0700 if it does not exist.
    /// The directory of the trail.
    #[schemars(with = "Text<PathBuf>")]
    pub directory: PathBuf,
    /// When a record is on disk.
    pub durability: Durability,
    /// What happens to calls while the trail is not writable.
    pub on_failure: OnFailure,
    /// The size at which the next file begins. A new file also begins with each UTC day.
    pub segment_bytes: ByteSize,
    // `None` for never.
    /// How long after its end a file is compressed. Zero means at once.
    pub compress_after: Option<Span>,
    /// How long files are kept. Unset means for ever.
    pub retain_for: Option<Span>,
    /// The limit for the size of the trail on disk. The oldest files are deleted first; the current
    /// file always stays. Unset means no limit.
    pub retain_bytes: Option<ByteSize>,
    /// The number of lines after which a checkpoint is signed.
    #[schemars(range(min = 1))]
    pub checkpoint_records: u32,
    /// After what time a checkpoint is signed, also when there was no call: who collects checkpoints
    /// then knows that the gateway lives. An idle gateway writes about 1 MB a day for it.
    pub checkpoint_interval: Span,
    /// The file of the Ed25519 key that signs checkpoints, PKCS#8 in PEM. Created if it does not
    /// exist. Unset means a file in the trail's directory.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub signing_key: Option<PathBuf>,
    /// What this gateway is called in the trail. Unset means the name of the host, which in Kubernetes is
    /// the name of the pod.
    pub instance: Option<String>,
    /// What the name of the trail's log begins with; the chain follows. A URL without its scheme keeps it
    /// apart from others' logs. Nothing has to answer there.
    pub origin: LogOrigin,
    /// Servers that sign each checkpoint if the trail only grew.
    pub witnesses: Vec<WitnessSettings>,
    /// How the trail names objects.
    pub object_ids: ObjectIds,
    /// Which objects a list answered, in its record: so a search for an object also finds the lists that had it.
    pub list_ids: ListIds,
    /// The file of the key that hashes object ids. Created if it does not exist. Unset means a file
    /// in the trail's directory.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub object_key: Option<PathBuf>,
    // The directory gets mode 0750, the files 0640, except the keys.
    /// The group whose members may read the trail, by name or as a number: auditors. They can neither write it
    /// nor read its keys. Unset means nobody besides the gateway's user.
    pub group: Option<String>,
    /// The OpenTelemetry collector that gets a copy of every line, if any. Its keys are those of
    /// `[telemetry]`, because traces go there too.
    #[serde(skip)]
    pub export_to: Option<CollectorSettings>,
    /// The hash of the configuration that the gateway starts with, for the `start` line.
    #[serde(skip)]
    pub configuration: Option<[u8; 32]>,
    /// What the lines are about.
    #[serde(skip)]
    pub log: LogKind,
    /// How many records may wait for the disk. Further records are dropped and counted in a `gap`.
    #[serde(skip)]
    pub queue_records: usize,
    /// How long the first record of a batch waits for others.
    #[serde(skip)]
    pub batch_delay: Duration,
    /// The longest time from write to sync with [`Durability::Batched`].
    #[serde(skip)]
    pub sync_interval: Duration,
    /// The pause between attempts at a write or sync that failed.
    #[serde(skip)]
    pub retry_interval: Duration,
}

impl Settings {
    /// One second of records at full load.
    pub const DEFAULT_CHECKPOINT_RECORDS: u32 = 50_000;
    /// One second of records at full load, about 30 MiB.
    pub const DEFAULT_QUEUE_RECORDS: usize = 65_536;
    /// Half of the 20 ms within which a record reaches the kernel; the write gets the other half.
    pub const DEFAULT_BATCH_DELAY: Duration = Duration::from_millis(10);
    /// The most that a power cut costs with [`Durability::Batched`].
    pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
    /// Short, so that calls are served soon after the disk has room again.
    pub const DEFAULT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

    /// The file of the key that signs checkpoints.
    pub fn signing_key_path(&self) -> PathBuf {
        self.signing_key.clone().unwrap_or_else(|| self.directory.join(SIGNING_KEY))
    }

    /// What this gateway is called.
    pub fn instance_name(&self) -> String {
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.instance.clone().unwrap_or_else(host)
    }

    /// Whether a key hashes objects somewhere.
    pub fn hashes(&self) -> bool {
        self.object_ids == ObjectIds::Hashed || self.list_ids == ListIds::Hashed
    }

    /// The file of the key that hashes object ids.
    pub fn object_key_path(&self) -> PathBuf {
        self.object_key.clone().unwrap_or_else(|| self.directory.join(OBJECT_KEY))
    }

    /// The default settings for a trail in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Batched,
            on_failure: OnFailure::Refuse,
            // A busy day makes a few dozen files, and a tool can still load one at once.
            segment_bytes: ByteSize::mebi(128),
            // A log shipper has this long to read a file before it is compressed.
            compress_after: Some(Span::from_secs(3600)),
            // Only the operator knows how much an auditor will ask for.
            retain_for: None,
            retain_bytes: None,
            checkpoint_records: Self::DEFAULT_CHECKPOINT_RECORDS,
            // An attacker can cut off the lines after the last checkpoint without detection.
            checkpoint_interval: Span::from_secs(60),
            signing_key: None,
            instance: None,
            origin: LogOrigin::default(),
            witnesses: Vec::new(),
            object_ids: ObjectIds::Plain,
            list_ids: ListIds::None,
            object_key: None,
            group: None,
            export_to: None,
            configuration: None,
            log: LogKind::Trail,
            queue_records: Self::DEFAULT_QUEUE_RECORDS,
            batch_delay: Self::DEFAULT_BATCH_DELAY,
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

/// What the lines of a log are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogKind {
    /// The calls of this gateway: its audit trail.
    #[default]
    Trail,
    /// The trails of a fleet: the fleet log of a hub.
    Fleet,
}

impl LogKind {
    /// What it is called in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Trail => "audit trail",
            Self::Fleet => "fleet log",
        }
    }
}

/// A witness (C2SP tlog-witness).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Witness")]
pub struct WitnessSettings {
    /// Its submission prefix; `/add-checkpoint` follows.
    pub url: WitnessUrl,
    /// The key of its cosignatures, as it publishes it: `name+id+key`, Ed25519.
    pub key: VerifierKey,
}

/// When a record is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    // The kernel has it within 20 ms. So a killed process loses at most those 20 ms.
    /// Within a second of the response.
    Batched,
    /// Before the response leaves; the call's intent before a credential is used.
    Synced,
}

/// What happens to calls while the trail is not writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are refused with a 503.
    Refuse,
    /// They are served; the trail counts the records that it drops.
    Continue,
}

/// How the trail names objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectIds {
    /// By UUID.
    Plain,
    /// By a keyed hash of the UUID: an object keeps its name but stays anonymous.
    Hashed,
}

/// How the trail names the objects of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListIds {
    /// Not at all.
    None,
    /// By UUID, up to 1,000 of a list.
    Plain,
    /// By a keyed hash of the UUID.
    Hashed,
}
