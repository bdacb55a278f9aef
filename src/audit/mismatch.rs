//! Whether the last published checkpoint fits the trail that a gateway finds at its start.
//!
//! What does not fit becomes a line of the trail and a message of the log. A killed gateway leaves nothing
//! of it: `checkpoint.json` exists before the first line, and names only lines that are in stable storage.

use super::{
    chain::{ChainFields, Tip},
    checkpoint::{Checkpoint, Latest},
    directory::TrailSegment,
    keys::PublicKey,
    line,
    lines::{Lines, TrailReadError},
};

/// Why `checkpoint.json` does not fit the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It is gone, although the trail has lines.
    Missing,
    /// It holds no checkpoint.
    Unreadable,
    /// Another key signed it.
    OtherKey,
    /// It names this gateway's key, which did not sign it.
    Forged,
    /// Its line is missing, with all lines after the trail's end up to it.
    Cut {
        /// The `seq` of the checkpoint's line.
        to: u64,
    },
    /// The lines before it are not those that it signs.
    Rewritten,
}

impl Mismatch {
    /// Compares the checkpoint with the files, whose last line is `tip`.
    pub(super) fn find(
        latest: &Latest,
        key: &PublicKey,
        tip: Tip,
        segments: &[TrailSegment],
    ) -> Result<Option<Self>, TrailReadError> {
        let checkpoint = match latest {
            Latest::Missing if tip == Tip::START => return Ok(None),
            Latest::Missing => return Ok(Some(Self::Missing)),
            Latest::Unreadable => return Ok(Some(Self::Unreadable)),
            Latest::Found(checkpoint) => checkpoint,
        };
        Ok(if checkpoint.key != key.id() {
            Some(Self::OtherKey)
        } else if !checkpoint.is_signed_by(key) {
            Some(Self::Forged)
        } else if checkpoint.seq > tip.seq {
            Some(Self::Cut { to: checkpoint.seq })
        } else {
            (!signs(checkpoint, segments)?).then_some(Self::Rewritten)
        })
    }

    /// The word in the `doubt` line and in `/status`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::OtherKey => "other_key",
            Self::Forged => "forged",
            Self::Cut { .. } => "cut",
            Self::Rewritten => "rewritten",
        }
    }
}

/// Whether the checkpoint signs the lines before it as the files have them. Reads at most one file.
fn signs(checkpoint: &Checkpoint, segments: &[TrailSegment]) -> Result<bool, TrailReadError> {
    let holds = segments.iter().rfind(|segment| segment.first_seq <= checkpoint.seq);
    // A checkpoint of a trail without lines signs nothing.
    let Some(segment) = holds else { return Ok(true) };
    let mut lines = Lines::open(segment, 0)?;
    while let Some(line) = lines.next()? {
        if line::line_head(line).is_some_and(|head| head.seq == checkpoint.seq) {
            let fields = ChainFields::read(line).filter(ChainFields::is_intact);
            return Ok(fields.is_some_and(|fields| fields.prev.to_string() == checkpoint.prev));
        }
    }
    Ok(false)
}
