//! `audit export`: writes an evidence bundle, and checks it as its reader will. Its option `--resend-from` is for
//! the collector instead.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufWriter, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytesize::ByteSize;
use clap::Args;
use jiff::Timestamp;

use super::{
    CONFIGURATION, KEY, MANIFEST, MANIFEST_KEY, PAGE, RECORDS, SIGNATURE, TRAIL,
    archive::BundleWriter,
    check::{self, Trust},
    manifest::{BundledFile, Manifest, Program, VERSION},
    page,
    selection::Selection,
    show,
};
use crate::{
    audit::{
        self, KeyError, KeySource, PUBLIC_KEY, PublicKey, SIGNING_KEY, SigningKey, Verdict,
        VerifyOptions,
    },
    build_info::BUILD,
    cli::audit::{
        coverage::Period,
        error::{AuditError, BundleError},
        filter::{CallFilter, PreparedFilter, TimeRange},
        location::{TrailLocation, Trails},
        progress::ProgressLine,
        search::unknown_name,
        verify,
    },
    process::files::{NewFile, read_own},
};

/// Writes the matching calls and what proves them into one signed file (`--out`), or sends lines to the
/// collector once more (`--resend-from`).
///
/// Whoever has the gateway's public key checks it elsewhere, with `audit verify BUNDLE --public-key FILE`. The
/// bundle holds all lines of the period, also those of other callers. The exit code is that of the check: 0 if
/// the bundle proves its records, 3 if it does not, 1 if the trail is wrong.
#[derive(Debug, Args)]
pub(in crate::cli::audit) struct ExportArgs {
    #[command(flatten)]
    pub(in crate::cli::audit) location: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
    /// The bundle to write: NAME.tar.zst
    #[arg(long, value_name = "FILE", required_unless_present = "resend_from")]
    out: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// The public key of the checkpoints, instead of the one in the trail's directory. Keys that it replaced may stand
    /// behind it in the file, the newest first
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The private key that signs the manifest (Ed25519, PKCS#8), instead of the trail's own
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    /// Send the lines from this number on to the collector of `[telemetry]` once more, up to the last one
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["CallFilter", "out", "force", "public_key", "sign_key"])]
    resend_from: Option<u64>,
}

impl ExportArgs {
    /// The first line to send once more, if no bundle is written.
    pub(in crate::cli::audit) fn resend_from(&self) -> Option<u64> {
        self.resend_from
    }
}

/// The public key of the checkpoints, and the text of its file; `None` if the trail has none.
fn public_key(
    args: &ExportArgs,
    directory: &Path,
) -> Result<Option<(PublicKey, Vec<u8>)>, AuditError> {
    let Some(file) = &args.public_key else {
        let pem = read_own(&directory.join(PUBLIC_KEY)).ok();
        return Ok(pem.and_then(|pem| Some((PublicKey::from_pem(&pem)?, pem))));
    };
    let key = PublicKey::read(file)?;
    let unusable = |source| KeyError::Unusable { path: file.clone(), source };
    Ok(Some((key, fs::read(file).map_err(unusable)?)))
}

/// The conditions, with absolute times.
fn asked(filter: &CallFilter, range: &TimeRange) -> BTreeMap<String, String> {
    let text = |time| format!("{time:.6}");
    let times = [("since", range.since().map(text)), ("until", range.until().map(text))];
    let times = times.into_iter().filter_map(|(option, time)| Some((option, time?)));
    let all = times.chain(filter.conditions());
    all.map(|(option, value)| (option.to_owned(), value)).collect()
}

/// Whether a bundle may stand there.
fn may_be_written(path: &Path, force: bool) -> Result<(), BundleError> {
    match fs::symlink_metadata(path) {
        Ok(data) if !data.is_file() => Err(BundleError::NotAFile { path: path.to_owned() }),
        Ok(_) if !force => Err(BundleError::Exists { path: path.to_owned() }),
        _ => Ok(()),
    }
}

pub(super) fn run(
    args: &ExportArgs,
    trails: &Trails,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    let directory = trails.one()?;
    // clap demands it.
    let path = args.out.as_deref().unwrap_or(Path::new(""));
    may_be_written(path, args.force)?;
    let signer = signer(args, directory, trails)?;
    let key = public_key(args, directory)?;
    let trust = Trust {
        key: key.as_ref().map(|(key, _)| key.clone()),
        manifest_key: signer.as_ref().map(|key| key.public().clone()),
        checkpoints: None,
    };

    let mut progress = ProgressLine::over(&audit::files(directory)?);
    let source = args.public_key.clone().map_or(KeySource::Directory, KeySource::File);
    let found = audit::verify(
        directory,
        VerifyOptions { key: source, ..VerifyOptions::default() },
        |file| {
            progress.file(file);
        },
    )?;
    drop(progress);
    let hashed_object = args.filter.hashed_object(directory)?;
    let range = args.filter.asked_range()?;
    let filter = args.filter.with_hashed_object(&range, hashed_object.clone());
    let (selection, coverage) = Selection::of(directory, &range, &filter)?;
    if selection.records.lines == 0
        && let Some(unknown) = unknown_name(trails, &args.filter)?
    {
        return Err(unknown);
    }
    let coverages = [coverage];
    let covered = Period { coverages: &coverages, range: &range, zone: args.filter.zone() };
    let [(name, version), (_, commit), ..] = BUILD;
    debug_assert_eq!(name, "version", "the first fact of a build");
    let manifest = Manifest {
        bundle: VERSION,
        made: now(),
        program: Program {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: version.to_owned(),
            commit: commit.to_owned(),
        },
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        trail: fs::canonicalize(directory).as_deref().unwrap_or(directory).display().to_string(),
        key: key.as_ref().map(|(key, _)| key.id().to_owned()),
        signed_with: signer.as_ref().map(|key| key.id().to_owned()),
        asked: asked(&args.filter, &range),
        hashed_object,
        lines: selection.lines.clone(),
        records: selection.records.lines,
        policies: selection.policies.find_markers(directory)?,
        configuration: trails.policy.map(|policy| policy.to_string()),
        unsigned_left_out: selection.unsigned_left_out,
        coverage: covered.as_json(),
        verification: verify::as_json(&found),
        files: Vec::new(),
    };
    let mut contents =
        vec![(PAGE, page::render(&manifest, &covered.sentences(), &selection.rows).into_bytes())];
    if let Some((_, pem)) = key {
        contents.push((KEY, pem));
    }
    if let Some(signer) = signer.as_ref().filter(|_| manifest.key != manifest.signed_with) {
        contents.push((MANIFEST_KEY, signer.public_pem().unwrap_or_default().into_bytes()));
    }
    if let Some(configuration) = &trails.configuration {
        contents.push((CONFIGURATION, configuration.clone().into_bytes()));
    }
    let bundle = Bundle { manifest, contents, signer, selection, fits: filter };

    let at = |source| AuditError::File { path: path.to_owned(), source };
    let mut new = NewFile::create(path).map_err(at)?;
    let size = bundle.write(&new, &at)?;
    new.file.rewind().map_err(at)?;
    let report = check::check(&new.file, trust);
    new.finish().map_err(at)?;
    show::print(&report, out)
        .and_then(|()| writeln!(out, "wrote {}, {}", path.display(), ByteSize(size)))
        .map_err(AuditError::Output)?;
    Ok(report.verdict())
}

/// The key that signs the manifest. Without `--sign-key`, a key that this user cannot read signs nothing.
fn signer(
    args: &ExportArgs,
    directory: &Path,
    trails: &Trails,
) -> Result<Option<SigningKey>, AuditError> {
    let read = |path: &Path| SigningKey::read(path).map_err(BundleError::SigningKey);
    if let Some(path) = &args.sign_key {
        return Ok(Some(read(path)?));
    }
    let default = directory.join(SIGNING_KEY);
    match read(trails.signing_key.as_ref().unwrap_or(&default)) {
        Err(BundleError::SigningKey(KeyError::Unusable { .. })) => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// The time of the export. `SOURCE_DATE_EPOCH`, in seconds since 1970, stands in for it, so that an export can
/// be repeated byte for byte (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn now() -> Timestamp {
    let fixed = env::var_os("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.to_str()?.parse().ok());
    let fixed = fixed.and_then(|seconds| Timestamp::from_second(seconds).ok());
    fixed.unwrap_or_else(Timestamp::now)
}

/// Everything that a bundle is written from.
struct Bundle<'a> {
    /// Without its files.
    manifest: Manifest,
    /// The files before the lines.
    contents: Vec<(&'static str, Vec<u8>)>,
    signer: Option<SigningKey>,
    selection: Selection,
    fits: PreparedFilter<'a>,
}

impl Bundle<'_> {
    /// Writes the bundle, and returns its size.
    fn write(
        self,
        new: &NewFile,
        at: &impl Fn(io::Error) -> AuditError,
    ) -> Result<u64, AuditError> {
        let Self { mut manifest, contents, signer, selection, fits } = self;
        let [trail, records] = selection.as_files();
        let contents_as_files = contents.iter().map(|(name, bytes)| BundledFile::of(name, bytes));
        manifest.files = contents_as_files.chain([trail.clone(), records.clone()]).collect();
        let json = manifest.to_json().map_err(|error| at(error.into()))?;

        let mut writer = BundleWriter::new(BufWriter::new(&new.file)).map_err(at)?;
        writer.file(MANIFEST, &json).map_err(at)?;
        if let Some(signer) = &signer {
            let signature = format!("{}\n", BASE64_STANDARD.encode(signer.sign(&json)));
            writer.file(SIGNATURE, signature.as_bytes()).map_err(at)?;
        }
        for (name, bytes) in &contents {
            writer.file(name, bytes).map_err(at)?;
        }
        let written = |error: io::Error| match error.kind() {
            // The lines are not those that were counted.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                BundleError::Changed.into()
            }
            _ => at(error),
        };
        for (name, file) in [(TRAIL, &trail), (RECORDS, &records)] {
            writer.begin(name, file.bytes).map_err(at)?;
            selection.for_each(|line| {
                if name == TRAIL || fits.matching(line).is_some() {
                    writer
                        .write_all(line)
                        .and_then(|()| writer.write_all(b"\n"))
                        .map_err(written)?;
                }
                Ok(())
            })?;
            writer.end().map_err(written)?;
        }
        writer.finish().and_then(|mut to| to.flush()).map_err(at)?;
        Ok(new.file.metadata().map_err(at)?.len())
    }
}
