//! `audit verify`: checks that the trail is what the gateway wrote.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::{error::AuditError, location::TrailLocation, progress::ProgressLine};
use crate::audit::{self, Checkpoint, PublicKey, VerifyOptions, VerifyReport};

/// Checks the whole trail.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
    /// The public key of the checkpoints; without it, the one in the trail's directory
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Checkpoints from outside the trail: a file of the gateway's log lines
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
}

/// Returns whether the trail has no problems.
pub(super) fn run(
    args: &VerifyArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<bool, AuditError> {
    let key = args.public_key.as_deref().map(PublicKey::read).transpose()?;
    let checkpoints = match &args.checkpoints {
        Some(path) => fs::read_to_string(path)
            .map_err(|source| AuditError::File { path: path.clone(), source })?
            .lines()
            .filter_map(Checkpoint::parse)
            .collect(),
        None => Vec::new(),
    };
    let mut progress = ProgressLine::over(&audit::files(directory)?);
    let report =
        audit::verify(directory, VerifyOptions { key, checkpoints }, |file| progress.file(file))?;
    drop(progress);
    print(&report, out).map_err(AuditError::Output)?;
    Ok(report.problems.is_empty())
}

fn print(report: &VerifyReport, out: &mut dyn io::Write) -> io::Result<()> {
    let VerifyReport { files, lines, calls, .. } = report;
    writeln!(
        out,
        "{} in {} in {}",
        many(*calls, "call"),
        many(*lines, "record"),
        many(*files, "file")
    )?;
    if let (Some(first), Some(last)) = (report.first_seq, report.last_seq) {
        writeln!(out, "records {first} to {last}")?;
    }
    match report.vouched_seq {
        Some(seq) => writeln!(
            out,
            "{}, signed; they vouch for everything up to record {seq}",
            many(report.checkpoints, "checkpoint")
        )?,
        None => writeln!(out, "no signed checkpoint yet: only the chain itself was checked")?,
    }
    notes(report, out)?;
    for problem in report.problems.iter().take(MAX_SHOWN) {
        let seq = problem.seq.map_or_else(String::new, |seq| format!(" (record {seq})"));
        writeln!(
            out,
            "{BAD}wrong{BAD:#} {}:{}{seq}: {}",
            problem.file.display(),
            problem.line,
            problem.kind
        )?;
    }
    match report.problems.len() {
        0 => writeln!(out, "{GOOD}ok{GOOD:#}: every record is as it was written"),
        1 => writeln!(out, "{BAD}1 problem{BAD:#}"),
        count => writeln!(out, "{BAD}{count} problems{BAD:#}; examine the first one first"),
    }
}

/// Events that are not problems.
fn notes(report: &VerifyReport, out: &mut dyn io::Write) -> io::Result<()> {
    let notes = [
        (report.crashes, "time", "the gateway was killed; the next one continued the trail"),
        (report.torn, "half-written record", "closed with a marker"),
        (report.unknown, "call", "in progress when the gateway was killed: outcome unknown"),
        (report.lost, "record", "dropped while the trail could not be written"),
        (report.restored, "time", "the current file was removed or replaced, and restored"),
    ];
    for (count, what, note) in notes.into_iter().filter(|(count, ..)| *count > 0) {
        writeln!(out, "{NOTE}note{NOTE:#} {} {note}", many(count, what))?;
    }
    Ok(())
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

const MAX_SHOWN: usize = 20;
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default().bold();
