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
mod file_name;
mod heads;
mod part;
mod report;
mod store;
mod told;
mod unsigned;
mod verifier;

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{Checkpoint, Latest},
    directory::TrailSegment,
    keys::{KeyError, PublicKey},
    lines::TrailReadError,
    read::{self, ReadItem},
    tlog::Note,
};
use crate::domain::VerifierKey;
pub use doubt::{TrailDoubt, TrailDoubtKind};
use evidence::Evidence;
use heads::Heads;
pub use part::PartCheck;
pub use report::{
    KeptReport, ToldReport, TrailProblem, TrailProblemKind, Verdict, VerifyReport, VouchingKey,
};
pub use store::{StoreReport, verify_store};
pub use told::{FleetLogReport, ToldChain, verify_fleet_log};
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
    /// Notes that were kept elsewhere, as text; one that is no note proves nothing.
    pub notes: Vec<String>,
    /// The chains of a fleet log, which may be those of other trails; `None` if there is no fleet log.
    pub told: Option<Vec<ToldChain>>,
    /// The witnesses that must have signed the notes, or the published note if none was kept.
    pub witnesses: Vec<VerifierKey>,
}

impl VerifyOptions {
    /// The kept checkpoints that may be about a chain.
    fn checkpoints_of(&self, chain: Option<&str>) -> Option<Vec<Checkpoint>> {
        let checkpoints = self.checkpoints.as_ref()?.iter();
        let fits = |kept: &&Checkpoint| kept.chain.is_none() || kept.chain.as_deref() == chain;
        Some(checkpoints.filter(fits).cloned().collect())
    }
}

/// Reads and checks a whole trail. Calls `on_file` before each file.
pub fn verify(
    directory: &Path,
    options: VerifyOptions,
    on_file: impl FnMut(&TrailSegment),
) -> Result<VerifyReport, VerifyError> {
    verify_lines(directory, options, on_file, |_| {})
}

/// The same. Calls `on_line` for each line.
fn verify_lines(
    directory: &Path,
    options: VerifyOptions,
    mut on_file: impl FnMut(&TrailSegment),
    mut on_line: impl FnMut(&[u8]),
) -> Result<VerifyReport, VerifyError> {
    let key = match options.key {
        KeySource::Gateway(key) => Ok((key, false)),
        KeySource::File(file) => {
            let key = PublicKey::read(&file)?;
            Ok((key, VouchingKey::is_in(directory, &file)))
        }
        KeySource::Directory => match PublicKey::of_trail(directory) {
            Ok(key) => Ok((key, true)),
            Err(KeyError::Unusable { .. }) => Err(TrailDoubtKind::NoKey),
            Err(_) => Err(TrailDoubtKind::KeyUnusable),
        },
    };
    // Read before the files are listed: a gateway may append to them, but not shorten them.
    let latest = Latest::read(directory);
    let mut evidence = Evidence::new(key, Some(latest), options.checkpoints);
    let mut heads = Heads::published(directory, evidence.key());
    for note in &options.notes {
        let is_usable = Note::parse(note).is_some_and(|note| heads.expect(note, evidence.key()));
        evidence.keep_note(is_usable);
    }
    heads.tell(options.told);
    let mut verifier = Verifier::new(directory, evidence, heads, options.witnesses);
    let files = read::files(directory)?;
    for file in &files {
        let read = read::read_through(std::slice::from_ref(file), |item| {
            match item {
                ReadItem::File(segment) => {
                    on_file(segment);
                    verifier.file(segment);
                }
                ReadItem::Line(line) => {
                    on_line(line);
                    verifier.line(line);
                }
            }
            Ok::<_, TrailReadError>(ControlFlow::Continue(()))
        });
        match read {
            Err(error) if error.is_damage(file) => verifier.damaged(),
            read => read?,
        }
    }
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
    /// The lines of a store cannot be read.
    #[error("the lines cannot be read")]
    Input(#[source] io::Error),
    /// The lines of a chain came in more than one part.
    #[error("the lines of chain {chain} came in more than one part; sort them by chain and `seq`")]
    NotSorted {
        /// The name of the chain.
        chain: String,
    },
}

#[cfg(test)]
mod tests;
