//! Signed checkpoints: the state of the trail at a point in time, in a form that can leave the host.
//!
//! A checkpoint is a line of the trail. Once that line is in stable storage, the checkpoint also
//! becomes a message in the log stream and the file `checkpoint.json`. Its signature covers its
//! number, its time, the hash of the line before it, and thereby every earlier line, and the chain and the
//! instance. A copy that is kept elsewhere proves later that the trail was rewritten or cut. Its `note` says
//! the same in a form that public tools and witnesses know ([`tlog`](super::tlog)).
//!
//! `checkpoint.json` exists before the first line of a trail does. So its absence says that somebody
//! removed it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    chain::Tip,
    keys::{PublicKey, SigningKey},
    readers::Readers,
    settings::LogKind,
    tlog::{Chain, Heads, SignedHead},
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
    /// The chain that the lines belong to.
    pub(super) chain: &'a Chain,
    /// What the gateway is called.
    pub(super) instance: &'a str,
}

impl Checkpoint {
    /// The checkpoint of a line, which [`signed`](Self::signed) completes.
    pub(super) fn of_line(now: SystemTime, before: Tip) -> Self {
        Self {
            seq: before.seq + 1,
            time: time_text(now),
            prev: before.hash.to_string(),
            chain: None,
            instance: None,
            note: None,
            key: String::new(),
            signature: String::new(),
            previous: None,
        }
    }

    /// The checkpoint of a trail that has no line yet.
    pub(super) fn of_nothing(key: &SigningKey, now: SystemTime) -> Self {
        Self { seq: 0, ..Self::of_line(now, Tip::START) }.signed(key)
    }

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

    /// Whether this key signed the checkpoint, not one that it replaced.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.message().as_bytes(), &self.signature)
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

/// A checkpoint, and the head of the tree that it vouches for.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) checkpoint: Checkpoint,
    pub(super) head: SignedHead,
}

/// Logs checkpoints that are in stable storage, keeps the last one in a file, and hands on its head.
#[derive(Debug)]
pub(super) struct Publisher {
    log: LogKind,
    path: PathBuf,
    readers: Readers,
    heads: Heads,
}

impl Publisher {
    pub(super) fn new(log: LogKind, directory: &Path, readers: Readers, heads: Heads) -> Self {
        Self { log, path: directory.join(LATEST), readers, heads }
    }

    pub(super) fn publish(&self, Publication { checkpoint, head }: Publication) {
        self.log(&checkpoint);
        if let Err(error) = self.write(&checkpoint) {
            tracing::warn!(%error, "the last audit checkpoint cannot be written to its file");
        }
        self.heads.send_replace(Some(Arc::new(head)));
    }

    /// Whoever collects the log keeps checkpoints of trails by their numbers. The fleet log has numbers of its own, so
    /// of its checkpoints only the note is told, which names its log.
    fn log(&self, checkpoint: &Checkpoint) {
        let Checkpoint { seq, time, prev, chain, instance, note, key, signature, previous } =
            checkpoint;
        match self.log {
            LogKind::Trail => tracing::info!(
                seq,
                time,
                prev,
                chain,
                instance,
                note,
                key,
                signature,
                previous,
                "audit checkpoint"
            ),
            LogKind::Fleet => tracing::info!(seq, chain, instance, note, "fleet log checkpoint"),
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut line = serde_json::to_vec(checkpoint)?;
        line.push(b'\n');
        self.readers.replace(&self.path, &line)
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
        assert!(Checkpoint::parse(line.as_bytes()).unwrap().is_signed_by(key.public()));
    }

    #[test]
    fn a_checkpoint_is_found_wherever_a_log_puts_it() {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&home.path().join("key"), home.path()).unwrap();
        let time = "2026-03-01T08:00:00.000000Z".to_owned();
        let before = Tip { seq: 6, hash: Hash::of(b"line") };
        let checkpoint = Checkpoint {
            time,
            chain: Some("c0ffee".to_owned()),
            instance: Some("pod-1".to_owned()),
            note: Some("a\n1\nb\n\n— a AAAAAAAA\n".to_owned()),
            ..Checkpoint::of_line(SystemTime::UNIX_EPOCH, before)
        };
        let made = checkpoint.signed(&key);
        let head = SignedHead { note: String::new(), tree: Tree::default() };
        let publisher =
            Publisher::new(LogKind::Trail, home.path(), Readers::default(), watch::channel(None).0);
        publisher.publish(Publication { checkpoint: made.clone(), head });
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
                Checkpoint { chain: Some("c0ffef".to_owned()), ..found.clone() },
                Checkpoint { instance: Some("pod-2".to_owned()), ..found.clone() },
                Checkpoint { chain: None, instance: None, ..found.clone() },
            ] {
                assert!(!forged.is_signed_by(&public));
            }
        }
        assert_eq!(Checkpoint::parse(b"no JSON"), None);
    }
}
