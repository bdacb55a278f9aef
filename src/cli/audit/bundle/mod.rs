//! Evidence bundles: one file from which somebody who does not trust the host can check records of a trail.
//!
//! `audit export` writes one (`export`), `audit verify BUNDLE` checks it elsewhere (`check`).
//!
//! A bundle holds all lines of the asked period, not only the records that were asked for. The hash of a line
//! covers the line before it, so a checkpoint proves complete lines only. And who has all lines sees that no
//! record was left out: the records are the lines that fit the conditions, and nothing else.
//!
//! # Layout
//!
//! A tar archive (POSIX ustar) in one frame of zstd. The files stand in this order, under these names, as plain
//! files of mode 0600, of user 0, without a time. So the same export gives the same bytes, and a reader expects
//! one file at a time and takes nothing else.
//!
//! | file | content |
//! | --- | --- |
//! | `manifest.json` | what was asked, what there is, and the SHA-256 of every file behind the signature (below) |
//! | `manifest.json.sig` | the Ed25519 signature over `manifest.json`, in Base64; absent if nobody signed |
//! | `index.html` | the page for people |
//! | `signing-key.pub.pem` | the public key of the trail's checkpoints, if the trail has one |
//! | `manifest-key.pub.pem` | the public key of the manifest's signature, if it is another one |
//! | `configuration.toml` | the configuration at the time of the export, as `config show` prints it, if one was read |
//! | `trail.jsonl` | the lines, from the last one before the period to the first checkpoint behind it, or to the last one while there is none |
//! | `records.jsonl` | those of them that were asked for |
//!
//! A manifest takes at most 2 MiB, a line 1 MiB, and each other file 16 MiB. The number of lines has no limit.
//! A reader needs little memory: it reads the bundle once, and keeps no line.
//!
//! # The manifest
//!
//! | field | meaning |
//! | --- | --- |
//! | `bundle` | the version of this layout: 1 |
//! | `made`, `program` | when the bundle was made, and by which version of the gateway. `SOURCE_DATE_EPOCH` in the environment stands in for the clock |
//! | `host`, `trail` | the host's name, and the trail's directory there |
//! | `key`, `signed_with` | the fingerprint of the key that signs checkpoints, and of the one that signed the manifest: the first 16 digits of the SHA-256 (DER); or `null` |
//! | `asked` | the options of `audit export` and their values; times are absolute |
//! | `hashed_object` | the name of the asked object in a trail with hashed object ids, or `null` |
//! | `lines` | `count`, first and last `seq` and `time` of `trail.jsonl` |
//! | `records` | the number of lines in `records.jsonl` |
//! | `policies` | the configurations under which the records were decided: `policy`, how many `records`, and `since`: `seq`, `time`, `cause` and `who` of the line that brought it into force, or `null` if the trail no longer has it |
//! | `configuration` | the `policy` of `configuration.toml`, or `null` |
//! | `unsigned_left_out` | the number of lines at the end of the trail that are left out, because no checkpoint signs them |
//! | `coverage` | what the host says that the trail covers of the period, and what is missing from it |
//! | `verification` | the host's own check of the whole trail, as `audit verify --json` prints it |
//! | `files` | `name`, `bytes` and `sha256` of each file behind the signature, in order |

mod archive;
mod check;
mod export;
mod manifest;
mod page;
mod rules;
mod selection;
mod show;
mod tally;

pub(super) use export::ExportArgs;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    error::AuditError,
    location::Trails,
    verify::{VerifyArgs, kept},
};
use crate::audit::{PublicKey, Verdict};
use check::Trust;

/// The names of the files, in their order. The manifest lists those from [`PAGE`] on.
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.json.sig";
const PAGE: &str = "index.html";
const KEY: &str = "signing-key.pub.pem";
const MANIFEST_KEY: &str = "manifest-key.pub.pem";
const CONFIGURATION: &str = "configuration.toml";
const TRAIL: &str = "trail.jsonl";
const RECORDS: &str = "records.jsonl";
const LISTED: [&str; 6] = [PAGE, KEY, MANIFEST_KEY, CONFIGURATION, TRAIL, RECORDS];

/// Exports records of the trail, and says what a reader of the bundle finds.
pub(super) fn export(
    args: &ExportArgs,
    trails: &Trails,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    export::run(args, trails, out)
}

/// Checks a bundle.
pub(super) fn verify(
    args: &VerifyArgs,
    bundle: &Path,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    let key = |path: &PathBuf| PublicKey::read(path);
    let trust = Trust {
        key: args.public_key.as_ref().map(key).transpose()?,
        manifest_key: args.manifest_key.as_ref().map(key).transpose()?,
        checkpoints: args.checkpoints.as_deref().map(kept).transpose()?,
    };
    let unreadable = |source| AuditError::Unreadable { path: bundle.to_owned(), source };
    let file = File::open(bundle).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let report = check::check(&file, trust);
    let shown = if args.json {
        writeln!(out, "{:#}", show::as_json(&report))
    } else {
        show::print(&report, out)
    };
    shown.map_err(AuditError::Output)?;
    Ok(report.verdict())
}
