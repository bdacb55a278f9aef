//! The check of lines that are a part of a trail, without the trail's directory.

use std::path::Path;

use super::{
    doubt::TrailDoubtKind, evidence::Evidence, heads::Heads, report::VerifyReport,
    verifier::Verifier,
};
use crate::audit::{checkpoint::Checkpoint, keys::PublicKey};

/// Checks consecutive lines of a trail, from any line on.
///
/// What comes before and after them is not judged. So they need no `retention` line that explains why they
/// do not begin at 1, and a later checkpoint that was kept elsewhere says nothing about them.
#[derive(Debug)]
pub struct PartCheck(Verifier);

impl PartCheck {
    /// Lines of a file of that name, the key of their checkpoints, and checkpoints that were kept
    /// elsewhere.
    pub fn new(name: &str, key: Option<PublicKey>, kept: Option<Vec<Checkpoint>>) -> Self {
        let key = key.map(|key| (key, false)).ok_or(TrailDoubtKind::NoKey);
        let evidence = Evidence::new(key, None, kept);
        Self(Verifier::new(Path::new(name), evidence, Heads::default(), Vec::new()).of_part())
    }

    /// The next line, without its newline.
    pub fn line(&mut self, line: &[u8]) {
        self.0.line(line);
    }

    /// Whether so much is wrong that reading on is of no use.
    pub fn is_hopeless(&self) -> bool {
        self.0.is_full()
    }

    /// The result.
    pub fn finish(self) -> VerifyReport {
        self.0.finish()
    }
}
