//! Checks a trail: every line against its own hash, the line before it and the signed checkpoints.
//!
//! The check is one pass with little memory. So it works on a trail of any size, also while a gateway
//! writes it.

mod report;
mod verifier;

use std::{ops::ControlFlow, path::Path};

use super::{
    checkpoint::{self, Checkpoint},
    directory::TrailSegment,
    keys::{KeyError, PUBLIC_KEY, PublicKey},
    read::{self, ReadItem, TrailReadError},
};
pub use report::{TrailProblem, TrailProblemKind, VerifyReport};
use verifier::Verifier;

/// Evidence from outside the trail.
#[derive(Debug, Default)]
pub struct VerifyOptions {
    /// The key that signs checkpoints; `None` for the one in the trail's directory.
    pub key: Option<PublicKey>,
    /// Checkpoints that were kept elsewhere.
    pub checkpoints: Vec<Checkpoint>,
}

/// Reads and checks a whole trail. Calls `on_file` before each file.
pub fn verify(
    directory: &Path,
    options: VerifyOptions,
    mut on_file: impl FnMut(&TrailSegment),
) -> Result<VerifyReport, VerifyError> {
    let public_path = directory.join(PUBLIC_KEY);
    let key = match options.key {
        Some(key) => Some(key),
        None if public_path.exists() => Some(PublicKey::read(&public_path)?),
        None => None,
    };
    let mut checkpoints = options.checkpoints;
    // Read before the files are listed: a gateway may append to them, but not shorten them.
    checkpoints.extend(checkpoint::latest(directory));
    let mut verifier = Verifier::new(key, checkpoints);
    let files = read::files(directory)?;
    read::read_through(&files, |item| {
        match item {
            ReadItem::File(segment) => {
                on_file(segment);
                verifier.file(segment);
            }
            ReadItem::Line(line) => verifier.line(line),
        }
        Ok::<_, TrailReadError>(ControlFlow::Continue(()))
    })?;
    Ok(verifier.finish())
}

/// Why a trail cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The trail cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests;
