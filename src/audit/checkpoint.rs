//! Signed checkpoints: the state of the trail at a point in time, in a form that can leave the host.
//!
//! A checkpoint is a line of the trail. Once that line is in stable storage, the checkpoint also
//! becomes a message in the log stream and the file `checkpoint.json`. Its signature covers its
//! number, its time and the hash of the line before it, and thereby every earlier line. A copy that is
//! kept elsewhere proves later that the trail was rewritten or cut.
//!
//! `checkpoint.json` exists before the first line of a trail does. So its absence says that somebody
//! removed it.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    chain::{Hash, Tip},
    keys::{PublicKey, SigningKey},
};
use crate::{audit::json::time_text, process::files};

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The `seq` of the checkpoint's line.
    pub seq: u64,
    /// The time of the line, as text.
    pub time: String,
    /// The hash of the line before, as text.
    pub prev: String,
    /// The signing key's name: the first 16 digits of the SHA-256 of the public key (DER).
    pub key: String,
    /// The Ed25519 signature over [`message`], in Base64.
    pub signature: String,
    /// The `seq` of the checkpoint that the gateway knew as the last one. Not part of the signed text:
    /// it tells a reader of the log which checkpoints the log should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
}

/// What a `start` line says about the checkpoints of its gateway.
#[derive(Debug)]
pub(super) struct CheckpointPlan<'a> {
    /// The name of the signing key.
    pub(super) key: &'a str,
    /// The number of lines after which the gateway signs.
    pub(super) records: u32,
    /// The time after which it signs.
    pub(super) interval: Duration,
    /// The last checkpoint of the gateway before it.
    pub(super) last: Option<&'a Checkpoint>,
}

impl Checkpoint {
    pub(super) fn sign(key: &SigningKey, seq: u64, time: String, prev: Hash) -> Self {
        let prev = prev.to_string();
        let signature = key.sign(message(seq, &time, &prev).as_bytes());
        Self { seq, time, prev, key: key.id().to_owned(), signature, previous: None }
    }

    /// The checkpoint of a trail that has no line yet.
    pub(super) fn of_nothing(key: &SigningKey, now: SystemTime) -> Self {
        Self::sign(key, Tip::START.seq, time_text(now), Tip::START.hash)
    }

    /// Whether this key signed the checkpoint.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(message(self.seq, &self.time, &self.prev).as_bytes(), &self.signature)
    }

    /// Parses a line with a checkpoint: the JSON object itself, or a log message with its fields, also
    /// behind a prefix of the log's collector.
    pub fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum CheckpointLine {
            Object(Checkpoint),
            LogMessage { fields: Checkpoint },
        }
        let object = line.get(memchr::memchr(b'{', line)?..)?;
        match serde_json::from_slice(object).ok()? {
            CheckpointLine::Object(checkpoint)
            | CheckpointLine::LogMessage { fields: checkpoint } => Some(checkpoint),
        }
    }
}

/// The signed text, four lines.
fn message(seq: u64, time: &str, prev: &str) -> String {
    format!("pigello-gateway audit checkpoint\nseq {seq}\ntime {time}\nprev {prev}\n")
}

/// Logs checkpoints that are in stable storage, and keeps the last one in a file.
#[derive(Debug)]
pub(super) struct Publisher {
    path: PathBuf,
}

impl Publisher {
    pub(super) fn new(directory: &Path) -> Self {
        Self { path: directory.join(LATEST) }
    }

    pub(super) fn publish(&self, checkpoint: &Checkpoint) {
        let Checkpoint { seq, time, prev, key, signature, previous } = checkpoint;
        tracing::info!(seq, time, prev, key, signature, previous, "audit checkpoint");
        if let Err(error) = self.write(checkpoint) {
            tracing::warn!(%error, "the last audit checkpoint cannot be written to its file");
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(checkpoint)?;
        line.push(b'\n');
        files::replace(&self.path, &line)
    }
}

/// The content of `checkpoint.json`: the last checkpoint that a gateway published.
#[derive(Debug)]
pub(super) enum Latest {
    /// There is no such file.
    Missing,
    /// The file holds no checkpoint, or cannot be read.
    Unreadable,
    Found(Checkpoint),
}

impl Latest {
    pub(super) fn read(directory: &Path) -> Self {
        match files::read_own(&directory.join(LATEST)) {
            Ok(bytes) => Checkpoint::parse(&bytes).map_or(Self::Unreadable, Self::Found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(_) => Self::Unreadable,
        }
    }
}

const LATEST: &str = "checkpoint.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_found_wherever_a_log_puts_it() {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&home.path().join("key"), home.path()).unwrap();
        let time = "2026-03-01T08:00:00.000000Z".to_owned();
        let made = Checkpoint::sign(&key, 7, time, Hash::of(b"line"));
        Publisher::new(home.path()).publish(&made);
        assert!(matches!(Latest::read(home.path()), Latest::Found(found) if found == made));

        let itself = serde_json::to_string(&made).unwrap();
        let logged =
            format!(r#"{{"timestamp":"…","level":"INFO","fields":{itself},"target":"x"}}"#);
        let public = PublicKey::read(&home.path().join(super::super::keys::PUBLIC_KEY)).unwrap();
        let collected = format!("2026-03-01T08:00:00Z stderr F {logged}");
        for line in [itself, logged, collected] {
            let found = Checkpoint::parse(line.as_bytes()).unwrap();
            assert_eq!(found, made);
            assert!(found.is_signed_by(&public));
            for forged in [
                Checkpoint { seq: 8, ..found.clone() },
                Checkpoint { prev: Hash::of(b"other").to_string(), ..found.clone() },
                Checkpoint { time: "2026-03-01T09:00:00.000000Z".into(), ..found.clone() },
            ] {
                assert!(!forged.is_signed_by(&public));
            }
        }
        assert_eq!(Checkpoint::parse(b"no JSON"), None);
    }
}
