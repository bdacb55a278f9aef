//! The lines of a fleet log: heads of members' trails, what is wrong with them, and what an operator has acknowledged.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::line;
use crate::domain::VerifierKey;

/// What a line of the fleet log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A member's trail has this head.
    Head(LoggedHead),
    /// Something is wrong with a trail.
    Finding(Finding),
    /// An operator knows of what is wrong with a chain. Who it was is in the audit trail.
    Acknowledged {
        /// The name of the chain.
        chain: String,
    },
}

/// The head of a chain, as the fleet log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedHead {
    /// The name of the chain.
    pub(super) chain: String,
    /// What the gateway is called.
    pub(super) instance: String,
    /// The lines of the chain up to the head.
    pub(super) size: u64,
    /// The `seq` of the last of them.
    pub(super) last_seq: u64,
    /// The gateway closed the trail there.
    pub(super) ended: bool,
    /// When the gateway started, by its clock.
    pub(super) started: Timestamp,
    /// The next head comes after this time at the latest.
    pub(super) interval: Duration,
    /// The key that has signed the note.
    pub(super) key: VerifierKey,
    /// The note.
    pub(super) note: String,
}

/// Something that is wrong with the trail of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the chain.
    pub chain: String,
    /// What the gateway is called that told of it last.
    pub instance: String,
    /// What is wrong.
    #[serde(rename = "finding")]
    pub kind: FindingKind,
    /// The lines of the chain that there were.
    pub size: u64,
    /// The `seq` of the last of them.
    pub last_seq: u64,
    /// The lines that the chain has now, if a head says so.
    pub told_size: Option<u64>,
    /// When it was found.
    pub since: Timestamp,
}

/// What can be wrong with a trail, as its heads tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// There is no new head, and the gateway has not ended. It goes away with the next head.
    Silent,
    /// The chain has fewer lines than it had.
    Shorter,
    /// The chain has as many lines, and others.
    Rewritten,
    /// Two gateways continue the same chain.
    Cloned,
    /// Another key signs for the chain.
    OtherKey,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Silent, Self::Shorter, Self::Rewritten, Self::Cloned, Self::OtherKey];

    /// A short name for programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Shorter => "shorter",
            Self::Rewritten => "rewritten",
            Self::Cloned => "cloned",
            Self::OtherKey => "other_key",
        }
    }

    /// What it means.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Silent => "no new head, and the gateway has not ended",
            Self::Shorter => {
                "the trail has fewer records than it had: it was cut, or an old copy was put back"
            }
            Self::Rewritten => "the trail has other records than it had",
            Self::Cloned => "two gateways continue the same chain: the directory was copied",
            Self::OtherKey => "another key signs for the chain",
        }
    }
}

/// The fields of all kinds of lines.
#[derive(Deserialize)]
#[serde(default)]
struct Fields {
    chain: String,
    instance: String,
    size: u64,
    last_seq: u64,
    ended: bool,
    started: Timestamp,
    interval_ms: u64,
    key: Option<VerifierKey>,
    note: String,
    finding: Option<FindingKind>,
    told_size: Option<u64>,
    since: Timestamp,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            chain: String::new(),
            instance: String::new(),
            size: 0,
            last_seq: 0,
            ended: false,
            started: Timestamp::UNIX_EPOCH,
            interval_ms: 0,
            key: None,
            note: String::new(),
            finding: None,
            told_size: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }
}

impl Entry {
    /// Parses a line of the fleet log; `None` for the markers of every trail.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = line::line_head(bytes)?.kind;
        if !["head", "finding", "acknowledged"].contains(&kind) {
            return None;
        }
        let fields: Fields = serde_json::from_slice(bytes).ok()?;
        let Fields { chain, instance, size, last_seq, .. } = fields;
        Some(match kind {
            "head" => Self::Head(LoggedHead {
                chain,
                instance,
                size,
                last_seq,
                ended: fields.ended,
                started: fields.started,
                interval: Duration::from_millis(fields.interval_ms),
                key: fields.key?,
                note: fields.note,
            }),
            "finding" => {
                let (kind, told_size, since) = (fields.finding?, fields.told_size, fields.since);
                Self::Finding(Finding { chain, instance, kind, size, last_seq, told_size, since })
            }
            _ => Self::Acknowledged { chain },
        })
    }
}
