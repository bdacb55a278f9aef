//! Why a trail is not proved, and what to do about it.

use std::fmt;

/// Something that leaves room for a manipulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailDoubt {
    /// The line that it is about, if it is about one.
    pub seq: Option<u64>,
    /// What it is.
    pub kind: TrailDoubtKind,
}

/// What leaves room for a manipulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrailDoubtKind {
    /// There is no public key.
    NoKey,
    /// The file of the public key in the trail's directory holds no such key.
    KeyUnusable,
    /// The trail has no line.
    Empty,
    /// No checkpoint is signed.
    NoCheckpoint,
    /// `checkpoint.json` is missing.
    LatestMissing,
    /// `checkpoint.json` holds no checkpoint that the key has signed.
    LatestUnusable,
    /// The last checkpoint is signed with a key that another one has replaced.
    EarlierKey {
        /// The name of that key.
        key: String,
    },
    /// No kept checkpoint is signed with the key.
    KeptUnusable {
        /// How many checkpoints were found.
        found: u64,
    },
    /// No kept checkpoint is about a line of the trail.
    KeptElsewhere,
    /// More lines without a signature than the gateway leaves.
    TooManyUnsigned {
        /// The number of lines.
        lines: u64,
        /// The most that the gateway leaves.
        limit: u64,
    },
    /// Lines without a signature over more time than the gateway leaves.
    UnsignedTooLong {
        /// The time, in seconds.
        seconds: u64,
        /// The most that the gateway leaves, in seconds.
        limit: u64,
    },
    /// A `start` without the checkpoint that follows it.
    StartUnsigned,
    /// A `stop` without the checkpoint that follows it.
    StopUnsigned,
    /// A `retention` line explains missing lines, but no checkpoint signs it.
    RetentionUnsigned {
        /// The last line that it says was deleted.
        to: u64,
    },
    /// A gateway found at its start that the last checkpoint did not fit the trail.
    FoundMismatch {
        /// Its word for what it found.
        reason: String,
    },
    /// The witness has not signed the note.
    NotCosigned {
        /// The name of the witness.
        witness: String,
    },
    /// The lines under a note were deleted, and it cannot be compared with what is left.
    NoteNotCompared {
        /// The chain of the note.
        chain: String,
    },
    /// The fleet log tells of a chain of this gateway, and the trail has nothing to compare it with.
    ToldNotCompared {
        /// The chain.
        chain: String,
        /// The last line that the fleet log knows of.
        to: u64,
    },
    /// The fleet log tells nothing of this trail.
    Untold,
    /// A gateway found records in a damaged end of the trail, and moved them aside.
    RecordsDamaged {
        /// The number of records.
        records: u64,
        /// The file with the damaged bytes.
        file: String,
    },
}

impl TrailDoubtKind {
    /// A short name for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::KeyUnusable => "key_unusable",
            Self::Empty => "empty",
            Self::NoCheckpoint => "no_checkpoint",
            Self::LatestMissing => "latest_missing",
            Self::LatestUnusable => "latest_unusable",
            Self::EarlierKey { .. } => "earlier_key",
            Self::KeptUnusable { .. } => "kept_unusable",
            Self::KeptElsewhere => "kept_elsewhere",
            Self::TooManyUnsigned { .. } => "too_many_unsigned",
            Self::UnsignedTooLong { .. } => "unsigned_too_long",
            Self::StartUnsigned => "start_unsigned",
            Self::StopUnsigned => "stop_unsigned",
            Self::RetentionUnsigned { .. } => "retention_unsigned",
            Self::FoundMismatch { .. } => "found_mismatch",
            Self::NotCosigned { .. } => "not_cosigned",
            Self::NoteNotCompared { .. } => "note_not_compared",
            Self::ToldNotCompared { .. } => "told_not_compared",
            Self::Untold => "untold",
            Self::RecordsDamaged { .. } => "records_damaged",
        }
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoKey | Self::KeyUnusable => {
                "give the gateway's public key with --public-key, from a copy that is kept elsewhere"
            }
            Self::Empty => "check that this is the directory that `audit.directory` names",
            Self::LatestMissing | Self::LatestUnusable => {
                "compare with checkpoints that are kept elsewhere (--checkpoints); the next checkpoint of \
                 the gateway writes the file again"
            }
            Self::KeptUnusable { .. } | Self::KeptElsewhere => {
                "give the log of this gateway, or its lines with `audit checkpoint`, up to the present"
            }
            Self::EarlierKey { .. } => {
                "give a file of keys whose first one is the key that the gateway signs with now"
            }
            Self::RetentionUnsigned { .. } => {
                "verify again after the next checkpoint; if that does not help, the beginning was removed"
            }
            Self::NoCheckpoint
            | Self::TooManyUnsigned { .. }
            | Self::UnsignedTooLong { .. }
            | Self::StartUnsigned
            | Self::StopUnsigned => {
                "a gateway would have signed these records: treat them as written by someone else, and \
                 compare with copies that are kept elsewhere"
            }
            Self::FoundMismatch { .. } => {
                "compare with checkpoints from before and after that start (--checkpoints)"
            }
            Self::NotCosigned { .. } => {
                "give a note that the witness has signed with --note, or see why the gateway's log says \
                 that the witness does not cosign"
            }
            Self::NoteNotCompared { .. } => {
                "give a note of a later head with --note, or check the files that were deleted (a backup)"
            }
            Self::ToldNotCompared { .. } => {
                "look for the records of that chain: in another directory of this gateway, a backup, or what \
                 was exported"
            }
            Self::Untold => {
                "check that this is the fleet log of a hub of this gateway's fleet, and that both have run"
            }
            Self::RecordsDamaged { .. } => {
                "read the records in that file: no signature proves them, and they are not on the trail"
            }
        }
    }
}

impl fmt::Display for TrailDoubtKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("there is no public key, so no signature was checked"),
            Self::KeyUnusable => {
                f.write_str("the public key in the trail's directory is not a key of the expected kind")
            }
            Self::Empty => f.write_str("there are no records"),
            Self::NoCheckpoint => f.write_str(
                "no checkpoint is signed: everyone who can write the directory can have written all records",
            ),
            Self::LatestMissing => {
                f.write_str("checkpoint.json is missing, so the end may have been cut off")
            }
            Self::LatestUnusable => f.write_str(
                "checkpoint.json holds no checkpoint that this key has signed, so the end may have been \
                 cut off",
            ),
            Self::EarlierKey { key } => write!(
                f,
                "the last checkpoint is signed with the key {key}, which the first key of the file has replaced"
            ),
            Self::KeptUnusable { found: 0 } => {
                f.write_str("the file of kept checkpoints holds no checkpoint")
            }
            Self::KeptUnusable { found } => write!(
                f,
                "this key has signed none of the kept checkpoints ({found} found in the file)"
            ),
            Self::KeptElsewhere => {
                f.write_str("all kept checkpoints are older than the first record, so they prove nothing")
            }
            Self::TooManyUnsigned { lines, limit } => write!(
                f,
                "{lines} records have no checkpoint; the gateway signs after {limit} records"
            ),
            Self::UnsignedTooLong { seconds, limit } => write!(
                f,
                "the records of {seconds} s have no checkpoint; the gateway signs after {limit} s"
            ),
            Self::StartUnsigned => {
                f.write_str("records follow a start without the checkpoint that belongs there")
            }
            Self::StopUnsigned => f.write_str("a stop has no checkpoint after it"),
            Self::RetentionUnsigned { to } => write!(
                f,
                "records up to {to} are missing, and no checkpoint signs the line that says they were \
                 deleted"
            ),
            Self::FoundMismatch { reason } => {
                f.write_str("a gateway that started here found ")?;
                f.write_str(match reason.as_str() {
                    "missing" => "no checkpoint.json",
                    "other_key" => "a last checkpoint that another key had signed",
                    _ => "a checkpoint.json that was not its own",
                })?;
                f.write_str(": it could not tell whether the records before were cut or rewritten")
            }
            Self::NotCosigned { witness } => write!(f, "{witness} has not signed the note"),
            Self::NoteNotCompared { chain } => write!(
                f,
                "a note of the chain {chain} was not compared: the records under it were deleted or are missing"
            ),
            Self::ToldNotCompared { chain, to } => write!(
                f,
                "the fleet log has the chain {chain} of this gateway up to record {to}, and the trail has no \
                 whole chain of that name"
            ),
            Self::Untold => f.write_str("the fleet log tells of none of the trail's chains"),
            Self::RecordsDamaged { records, file } => write!(
                f,
                "the end of the trail was damaged when a gateway started here; it moved {records} \
                 {} into {file}",
                if *records == 1 { "record" } else { "records" }
            ),
        }
    }
}
