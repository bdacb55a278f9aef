//! Checks a trail: every line against its own hash, the line before it and the signed checkpoints.
//!
//! The hash chain alone proves nothing, because everyone can compute it. A signature proves every line
//! before it. So the [`Verdict`] is *ok* only where a signature reaches, and as far as it reaches. The
//! check is one pass with little memory. So it works on a trail of any size, also while a gateway writes
//! it.
//!
//! [`verifier`] reads the lines. A contradiction is a [`TrailProblem`] (the trail is wrong); what leaves
//! room for a manipulation is a [`TrailDoubt`] (the trail is not proved).

mod doubt;
mod evidence;
mod part;
mod report;
mod unsigned;
mod verifier;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{Checkpoint, Latest},
    directory::TrailSegment,
    keys::{KeyError, PUBLIC_KEY, PublicKey},
    read::{self, ReadItem, TrailReadError},
};
pub use doubt::{TrailDoubt, TrailDoubtKind};
use evidence::Evidence;
pub use part::PartCheck;
pub use report::{KeptReport, TrailProblem, TrailProblemKind, Verdict, VerifyReport, VouchingKey};
use verifier::Verifier;

/// Where the public key of the checkpoints comes from.
#[derive(Debug, Default)]
pub enum KeySource {
    /// The trail's directory.
    #[default]
    Directory,
    /// A file that the auditor names.
    File(PathBuf),
    /// The gateway that writes the trail.
    Gateway(PublicKey),
}

/// Evidence from outside the trail.
#[derive(Debug, Default)]
pub struct VerifyOptions {
    /// The source of the public key.
    pub key: KeySource,
    /// Checkpoints that were kept elsewhere; `None` if nobody claims to have any.
    pub checkpoints: Option<Vec<Checkpoint>>,
}

/// Reads and checks a whole trail. Calls `on_file` before each file.
pub fn verify(
    directory: &Path,
    options: VerifyOptions,
    mut on_file: impl FnMut(&TrailSegment),
) -> Result<VerifyReport, VerifyError> {
    let key = match options.key {
        KeySource::Gateway(key) => Ok((key, false)),
        KeySource::File(file) => {
            let key = PublicKey::read(&file)?;
            Ok((key, VouchingKey::is_in(directory, &file)))
        }
        KeySource::Directory => match PublicKey::read(&directory.join(PUBLIC_KEY)) {
            Ok(key) => Ok((key, true)),
            Err(KeyError::Unusable { .. }) => Err(TrailDoubtKind::NoKey),
            Err(_) => Err(TrailDoubtKind::KeyUnusable),
        },
    };
    // Read before the files are listed: a gateway may append to them, but not shorten them.
    let latest = Latest::read(directory);
    let evidence = Evidence::new(key, Some(latest), options.checkpoints);
    let mut verifier = Verifier::new(directory, evidence);
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
    /// The named key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[cfg(test)]
mod tests;
