//! The check of a bundle, without the trail that it comes from.
//!
//! Four things have to fit: the lines to each other and to the signed checkpoints among them
//! ([`PartCheck`]), the records to the lines and the conditions, the files to the digests in the manifest, and
//! the manifest to its signature. The bundle is read once, from its beginning to its end.

use std::fs::File;

use super::{
    CONFIGURATION, KEY, MANIFEST, MANIFEST_KEY, PAGE, RECORDS, SIGNATURE, TRAIL,
    archive::{BundleReader, MalformedBundle, Members},
    manifest::{BundledFile, Lines, Manifest},
    tally::Tally,
};
use crate::{
    audit::{self, Checkpoint, PartCheck, PublicKey, Verdict, VerifyReport},
    cli::audit::{filter::ObjectMatch, verify::many},
};

/// What a reader has from elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// The public key of the trail's checkpoints.
    pub(super) key: Option<PublicKey>,
    /// The public key of the manifest's signature, if it is another one.
    pub(super) manifest_key: Option<PublicKey>,
    /// Checkpoints that were kept elsewhere.
    pub(super) checkpoints: Option<Vec<Checkpoint>>,
}

/// What is wrong with a bundle, besides its lines.
#[derive(Debug, thiserror::Error)]
pub(super) enum BundleProblem {
    /// It is no bundle, or a damaged one.
    #[error("the bundle {0}")]
    Malformed(#[from] MalformedBundle),
    /// A file is not the one that the manifest names.
    #[error("`{0}` was changed: it does not fit its digest in the manifest")]
    FileChanged(&'static str),
    /// The signature of the manifest is not its key's.
    #[error("the manifest was changed: its signature does not fit")]
    ManifestChanged,
    /// The bundle is of another key than the reader's.
    #[error("the trail in the bundle has another key ({0})")]
    OtherKey(String),
    /// The records are not the lines that the conditions select.
    #[error("the records are not those lines of the trail that were asked for")]
    OtherRecords,
    /// The manifest says something of the lines that they do not show.
    #[error("the manifest does not fit the lines: it says {stated}, there is {found}")]
    OtherLines {
        /// What it says.
        stated: String,
        /// What there is.
        found: String,
    },
}

impl BundleProblem {
    /// A short name for programs.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::FileChanged(_) => "file_changed",
            Self::ManifestChanged => "manifest_changed",
            Self::OtherKey(_) => "other_key",
            Self::OtherRecords => "other_records",
            Self::OtherLines { .. } => "other_lines",
        }
    }
}

/// What keeps a bundle from being proved, besides its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BundleDoubt {
    /// The reader has no key.
    #[error("the key is from the bundle itself, where anybody can have put it")]
    KeyNotGiven,
    /// Nobody signed the manifest.
    #[error("the manifest is not signed: anybody can have written what it says")]
    ManifestUnsigned,
    /// The manifest is signed with a key that the reader does not have.
    #[error("the manifest is signed with a key of its own, which anybody can have made")]
    ManifestKeyNotGiven,
    /// Lines come after the last checkpoint.
    #[error("lines behind the last checkpoint are not signed")]
    LinesUnsigned,
}

impl BundleDoubt {
    /// A short name for programs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::KeyNotGiven => "key_not_given",
            Self::ManifestUnsigned => "manifest_unsigned",
            Self::ManifestKeyNotGiven => "manifest_key_not_given",
            Self::LinesUnsigned => "lines_unsigned",
        }
    }

    /// What to do.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::KeyNotGiven => {
                "give the gateway's public key with --public-key, from a copy that did not come with the \
                 bundle"
            }
            Self::ManifestUnsigned => {
                "export again as a user that can read the trail's signing key, or with --sign-key"
            }
            Self::ManifestKeyNotGiven => {
                "give that key with --manifest-key, from a copy that did not come with the bundle"
            }
            Self::LinesUnsigned => "`audit export` leaves such lines out: ask for another export",
        }
    }
}

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct BundleReport {
    /// What the bundle says of itself, if that could be read.
    pub(super) manifest: Option<Manifest>,
    /// The check of the lines.
    pub(super) trail: VerifyReport,
    /// The lines.
    pub(super) lines: Lines,
    /// How many of them are the records that were asked for.
    pub(super) records: u64,
    /// How many calls have a hashed object that cannot be compared with the one that was asked for.
    pub(super) hidden: u64,
    pub(super) problems: Vec<BundleProblem>,
    pub(super) doubts: Vec<BundleDoubt>,
}

impl BundleReport {
    pub(super) fn verdict(&self) -> Verdict {
        match self.trail.verdict() {
            _ if !self.problems.is_empty() => Verdict::Wrong,
            Verdict::Ok if !self.doubts.is_empty() => Verdict::NotProved,
            of_trail => of_trail,
        }
    }

    /// What an *ok* does not cover.
    pub(super) fn limits(&self) -> Vec<String> {
        let Some(manifest) = &self.manifest else { return Vec::new() };
        let mut limits = manifest.uncovered(&self.lines);
        if manifest.unsigned_left_out > 0 {
            limits.push(format!(
                "{} at the end of the trail are left out: no checkpoint signs them yet",
                many(manifest.unsigned_left_out, "line")
            ));
        }
        let (verdict, statement) = manifest.host_found();
        if verdict != Verdict::Ok.label() {
            limits.push(format!("the host found its whole trail {verdict}: {statement}"));
        }
        if self.hidden > 0 {
            let hidden = self.hidden;
            limits.push(format!(
                "{hidden} calls have a hashed object, which cannot be compared with the one that was asked for"
            ));
        }
        if self.trail.kept.is_none() {
            limits.push(
                "who has the signing key can have written another trail before the export: only \
                 checkpoints that were kept elsewhere show it (--checkpoints)"
                    .to_owned(),
            );
        }
        limits
    }
}

/// Checks a bundle.
pub(super) fn check(bundle: &File, trust: Trust) -> BundleReport {
    let mut report = BundleReport::default();
    if let Err(problem) = report.read(bundle, trust) {
        report.problems.push(problem);
    }
    report
}

impl BundleReport {
    /// Reads the bundle to its end, or to what makes reading on useless.
    fn read(&mut self, bundle: &File, trust: Trust) -> Result<(), BundleProblem> {
        let mut reader = BundleReader::new(bundle).map_err(MalformedBundle::from)?;
        let mut members = reader.members().map_err(MalformedBundle::from)?;
        let json = members.content(MANIFEST)?;
        let manifest = Manifest::parse(&json).ok_or(MalformedBundle::Manifest)?;
        let signature = match &manifest.signed_with {
            Some(_) => Some(members.content(SIGNATURE)?),
            None => None,
        };
        let manifest = &*self.manifest.insert(manifest);
        let mut files = Files { manifest, members: &mut members, problems: &mut self.problems };
        let signed = Signed {
            by: manifest.signed_with.as_deref(),
            json: &json,
            signature: signature.as_deref().map(<[u8]>::trim_ascii),
        };
        files.content(PAGE)?;
        let (trail_key, doubts) = files.keys(&trust, &signed)?;
        self.doubts = doubts;
        files.content(CONFIGURATION)?;

        let filter = manifest.filter().ok_or(MalformedBundle::Manifest)?;
        let range = filter.range();
        let filter = filter.with_hashed_object(&range, manifest.hashed_object.clone());
        let mut part = PartCheck::new(TRAIL, trail_key, trust.checkpoints);
        let mut records = Tally::default();
        let (lines, hidden) = (&mut self.lines, &mut self.hidden);
        let whole = files.lines(TRAIL, |line| {
            part.line(line);
            if let Some(head) = audit::line_head(line) {
                lines.add(&head);
                let call = range.covers(&head).then(|| filter.call(&head, line)).flatten();
                match call {
                    Some((_, ObjectMatch::Same)) => records.add(line),
                    Some((_, ObjectMatch::Hidden)) => *hidden += 1,
                    Some((_, ObjectMatch::Other)) | None => {}
                }
            }
            !part.is_hopeless()
        })?;
        self.trail = part.finish();
        self.records = records.lines;
        if !whole {
            return Ok(());
        }
        if self.trail.vouched_seq.is_some() && self.trail.chained > 0 {
            self.doubts.push(BundleDoubt::LinesUnsigned);
        }
        let selected = records.as_file(RECORDS);
        if !files.members.lines(RECORDS, &selected, |_| true)? {
            files.problems.push(BundleProblem::OtherRecords);
            return Ok(());
        }
        if files.stated(RECORDS) != Some(&selected) {
            files.problems.push(BundleProblem::FileChanged(RECORDS));
        }
        let found = (&self.lines, self.records);
        files.problems.extend(manifest.contradiction(found));
        members.end()?;
        reader.end()?;
        Ok(())
    }
}

impl Manifest {
    /// What the manifest says of the lines and the number of records that is not so.
    fn contradiction(&self, found: (&Lines, u64)) -> Option<BundleProblem> {
        let stated = (&self.lines, self.records);
        let words =
            |(lines, records): (&Lines, u64)| format!("{records} records of {}", lines.in_words());
        (stated != found)
            .then(|| BundleProblem::OtherLines { stated: words(stated), found: words(found) })
    }
}

/// The files behind the signature, each with its digest in the manifest.
struct Files<'a, 'b, 'c> {
    manifest: &'a Manifest,
    members: &'b mut Members<'c, &'a File>,
    problems: &'a mut Vec<BundleProblem>,
}

impl Files<'_, '_, '_> {
    fn stated(&self, name: &str) -> Option<&BundledFile> {
        self.manifest.files.iter().find(|file| file.name == name)
    }

    /// Reads a file, if the bundle has it.
    fn content(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, MalformedBundle> {
        if self.stated(name).is_none() {
            return Ok(None);
        }
        let content = self.members.content(name)?;
        if self.stated(name) != Some(&BundledFile::of(name, &content)) {
            self.problems.push(BundleProblem::FileChanged(name));
        }
        Ok(Some(content))
    }

    /// Reads the keys, and checks the signature of the manifest. Returns the key of the trail, which the reader
    /// has or else the bundle, and what is in doubt.
    fn keys(
        &mut self,
        trust: &Trust,
        signed: &Signed<'_>,
    ) -> Result<(Option<PublicKey>, Vec<BundleDoubt>), MalformedBundle> {
        let own = self.content(KEY)?.and_then(|pem| PublicKey::from_pem(&pem));
        let of_manifest = self.content(MANIFEST_KEY)?.and_then(|pem| PublicKey::from_pem(&pem));
        let mut doubts = Vec::new();
        match (&trust.key, &own) {
            (Some(given), Some(own)) if given.named(own.id()).is_none() => {
                self.problems.push(BundleProblem::OtherKey(own.id().to_owned()));
            }
            (None, Some(_)) => doubts.push(BundleDoubt::KeyNotGiven),
            _ => {}
        }
        let key = trust.key.clone().or(own);
        // A given key comes before the bundle's own of the same name.
        let keys = [
            (key.as_ref(), trust.key.is_some()),
            (trust.manifest_key.as_ref(), true),
            (of_manifest.as_ref(), false),
        ];
        match signed.check(keys) {
            Err(problem) => self.problems.push(problem),
            // The doubt about the trail's own key has been told.
            Ok(Some(BundleDoubt::ManifestKeyNotGiven))
                if doubts.contains(&BundleDoubt::KeyNotGiven) => {}
            Ok(doubt) => doubts.extend(doubt),
        }
        Ok((key, doubts))
    }

    /// Visits the lines of a file. Whether it is the one that the manifest names, and was read whole.
    fn lines(
        &mut self,
        name: &'static str,
        visit: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, MalformedBundle> {
        let stated = self.manifest.files.iter().find(|file| file.name == name);
        let Some(stated) = stated else { return Ok(false) };
        let is_stated = self.members.lines(name, stated, visit)?;
        if !is_stated {
            self.problems.push(BundleProblem::FileChanged(name));
        }
        Ok(is_stated)
    }
}

/// A manifest and its signature.
struct Signed<'a> {
    by: Option<&'a str>,
    json: &'a [u8],
    signature: Option<&'a [u8]>,
}

impl Signed<'_> {
    /// Checks the signature with the key that the manifest names. Each key comes with whether the reader
    /// has it from elsewhere.
    fn check(
        &self,
        keys: [(Option<&PublicKey>, bool); 3],
    ) -> Result<Option<BundleDoubt>, BundleProblem> {
        let (Some(by), Some(signature)) = (self.by, self.signature) else {
            return Ok(Some(BundleDoubt::ManifestUnsigned));
        };
        let named =
            keys.into_iter().find_map(|(key, is_given)| Some((key?.named(by)?.1, is_given)));
        let Some((key, is_given)) = named else {
            return Ok(Some(BundleDoubt::ManifestKeyNotGiven));
        };
        let signature = str::from_utf8(signature).unwrap_or_default();
        if !key.verifies(self.json, signature) {
            return Err(BundleProblem::ManifestChanged);
        }
        Ok((!is_given).then_some(BundleDoubt::ManifestKeyNotGiven))
    }
}
