//! Signed checkpoints: the state of the trail at a point in time, in a form that can leave the host.
//!
//! A checkpoint is a line of the trail. Once that line is in stable storage, the checkpoint also
//! becomes a message in the log stream and the file `checkpoint.json`. Its signature covers its
//! number, its time and the hash of the line before it, and thereby every earlier line. A copy that is
//! kept elsewhere proves later that the trail was rewritten or cut.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    chain::Hash,
    keys::{PublicKey, SigningKey},
    readers::Readers,
};

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
}

impl Checkpoint {
    pub(super) fn sign(key: &SigningKey, seq: u64, time: String, prev: Hash) -> Self {
        let prev = prev.to_string();
        let signature = key.sign(message(seq, &time, &prev).as_bytes());
        Self { seq, time, prev, key: key.id().to_owned(), signature }
    }

    /// Whether this key signed the checkpoint.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(message(self.seq, &self.time, &self.prev).as_bytes(), &self.signature)
    }

    /// Parses a line with a checkpoint: the JSON object itself, or a log message with its fields.
    pub fn parse(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum CheckpointLine {
            Object(Checkpoint),
            LogMessage { fields: Checkpoint },
        }
        match serde_json::from_str(line.trim()).ok()? {
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
    readers: Readers,
}

impl Publisher {
    pub(super) fn new(directory: &Path, readers: Readers) -> Self {
        Self { path: directory.join(LATEST), readers }
    }

    pub(super) fn publish(&self, checkpoint: &Checkpoint) {
        let Checkpoint { seq, time, prev, key, signature } = checkpoint;
        tracing::info!(seq, time, prev, key, signature, "audit checkpoint");
        if let Err(error) = self.write(checkpoint) {
            tracing::warn!(%error, "the last audit checkpoint cannot be written to its file");
        }
    }

    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(checkpoint)?;
        line.push(b'\n');
        self.readers.replace(&self.path, &line)
    }
}

/// The last checkpoint that a gateway published from this directory.
pub(super) fn latest(directory: &Path) -> Option<Checkpoint> {
    Checkpoint::parse(&fs::read_to_string(directory.join(LATEST)).ok()?)
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
        Publisher::new(home.path(), Readers::default()).publish(&made);
        assert_eq!(latest(home.path()), Some(made.clone()));

        let itself = serde_json::to_string(&made).unwrap();
        let logged =
            format!(r#"{{"timestamp":"…","level":"INFO","fields":{itself},"target":"x"}}"#);
        let public = PublicKey::read(&home.path().join(super::super::keys::PUBLIC_KEY)).unwrap();
        for line in [itself, logged] {
            let found = Checkpoint::parse(&line).unwrap();
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
        assert_eq!(Checkpoint::parse("no JSON"), None);
    }
}
