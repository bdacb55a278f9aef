//! Signed checkpoints: the state of the trail at a point in time, in a form that can leave the host.
//!
//! A checkpoint is a line of the trail. Once that line is in stable storage, the checkpoint also
//! becomes a message in the log stream and the file `checkpoint.json`. Its signature covers its
//! number, its time, the hash of the line before it, and thereby every earlier line, and the chain and the
//! instance. A copy that is kept elsewhere proves later that the trail was rewritten or cut. Its `note` says
//! the same in a form that public tools and witnesses know ([`tlog`](super::tlog)).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    keys::{PublicKey, SigningKey},
    tlog::{Heads, SignedHead},
};
use crate::process::files;

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The `seq` of the checkpoint's line.
    pub seq: u64,
    /// The time of the line, as text.
    pub time: String,
    /// The hash of the line before, as text.
    pub prev: String,
    /// The chain that the line belongs to. Trails of older gateways have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// What the gateway is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The head of the tree over the chain's lines before this one, as a signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The signing key's name: the first 16 digits of the SHA-256 of the public key (DER).
    pub key: String,
    /// The Ed25519 signature over the [`message`](Self::message), in Base64.
    pub signature: String,
}

impl Checkpoint {
    /// This checkpoint, with the name of a key and its signature.
    pub(super) fn signed(self, key: &SigningKey) -> Self {
        let signature = BASE64_STANDARD.encode(key.sign(self.message().as_bytes()));
        Self { key: key.id().to_owned(), signature, ..self }
    }

    /// The signed text: four lines, and two more if the checkpoint belongs to a chain.
    fn message(&self) -> String {
        let Self { seq, time, prev, chain, instance, .. } = self;
        let mut text =
            format!("pigello-gateway audit checkpoint\nseq {seq}\ntime {time}\nprev {prev}\n");
        for (name, value) in [("chain", chain), ("instance", instance)] {
            text.extend(value.iter().flat_map(|value| [name, " ", value, "\n"]));
        }
        text
    }

    /// Whether this key signed the checkpoint.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.message().as_bytes(), &self.signature)
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

/// A checkpoint, and the head of the tree that it vouches for.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) checkpoint: Checkpoint,
    pub(super) head: SignedHead,
}

/// Logs checkpoints that are in stable storage, keeps the last one in a file, and hands on its head.
#[derive(Debug)]
pub(super) struct Publisher {
    path: PathBuf,
    heads: Heads,
}

impl Publisher {
    pub(super) fn new(directory: &Path, heads: Heads) -> Self {
        Self { path: directory.join(LATEST), heads }
    }

    pub(super) fn publish(&self, Publication { checkpoint, head }: Publication) {
        let Checkpoint { seq, time, prev, chain, instance, note, key, signature } = &checkpoint;
        tracing::info!(seq, time, prev, chain, instance, note, key, signature, "audit checkpoint");
        if let Err(error) = self.write(&checkpoint) {
            tracing::warn!(%error, "the last audit checkpoint cannot be written to its file");
        }
        self.heads.send_replace(Some(Arc::new(head)));
    }

    fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(checkpoint)?;
        line.push(b'\n');
        files::replace(&self.path, &line)
    }
}

/// The last checkpoint that a gateway published from this directory.
pub(super) fn latest(directory: &Path) -> Option<Checkpoint> {
    Checkpoint::parse(&fs::read_to_string(directory.join(LATEST)).ok()?)
}

const LATEST: &str = "checkpoint.json";

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::audit::{Hash, tlog::Tree};

    #[test]
    fn a_checkpoint_of_an_older_gateway_stays_valid() {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&home.path().join("key"), home.path()).unwrap();
        let text = "pigello-gateway audit checkpoint\nseq 7\ntime T\nprev 00\n";
        let signature = BASE64_STANDARD.encode(key.sign(text.as_bytes()));
        let line = format!(
            r#"{{"seq":7,"time":"T","prev":"00","key":"{}","signature":"{signature}"}}"#,
            key.id()
        );
        assert!(Checkpoint::parse(&line).unwrap().is_signed_by(key.public()));
    }

    #[test]
    fn a_checkpoint_is_found_wherever_a_log_puts_it() {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&home.path().join("key"), home.path()).unwrap();
        let time = "2026-03-01T08:00:00.000000Z".to_owned();
        let checkpoint = Checkpoint {
            seq: 7,
            time,
            prev: Hash::of(b"line").to_string(),
            chain: Some("c0ffee".to_owned()),
            instance: Some("pod-1".to_owned()),
            note: Some("a\n1\nb\n\n— a AAAAAAAA\n".to_owned()),
            key: String::new(),
            signature: String::new(),
        };
        let made = checkpoint.signed(&key);
        let head = SignedHead { note: String::new(), tree: Tree::default() };
        let publisher = Publisher::new(home.path(), watch::channel(None).0);
        publisher.publish(Publication { checkpoint: made.clone(), head });
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
                Checkpoint { chain: Some("c0ffef".to_owned()), ..found.clone() },
                Checkpoint { instance: Some("pod-2".to_owned()), ..found.clone() },
                Checkpoint { chain: None, instance: None, ..found.clone() },
            ] {
                assert!(!forged.is_signed_by(&public));
            }
        }
        assert_eq!(Checkpoint::parse("no JSON"), None);
    }
}
