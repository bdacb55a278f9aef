//! `audit verify`: is the trail what the gateway wrote?

use std::{io, path::Path};

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::{AuditError, Source, Verdict};
use crate::trail::{self, Report};

/// Checks the whole trail.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) source: Source,
}

pub(super) fn run(
    _args: &VerifyArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    let report = trail::verify(directory)?;
    print(&report, out).map_err(AuditError::Output)?;
    Ok(if report.problems.is_empty() { Verdict::Right } else { Verdict::Wrong })
}

fn print(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let Report { files, lines, calls, first_seq, last_seq, crashes, lost, problems } = report;
    writeln!(out, "{calls} calls in {lines} records in {files} files")?;
    if let (Some(first), Some(last)) = (first_seq, last_seq) {
        writeln!(out, "records {first} to {last}")?;
    }
    if *crashes > 0 {
        writeln!(out, "the gateway was cut off {crashes} times; the trail went on by itself")?;
    }
    if *lost > 0 {
        writeln!(out, "{lost} records are missing because the trail could not be written then")?;
    }
    for problem in problems.iter().take(MOST_PROBLEMS) {
        let seq = problem.seq.map_or_else(String::new, |seq| format!(" (record {seq})"));
        writeln!(
            out,
            "{BAD}wrong{BAD:#} {}:{}{seq}: {}",
            problem.file.display(),
            problem.line,
            problem.kind
        )?;
    }
    match problems.len() {
        0 => writeln!(out, "{GOOD}ok{GOOD:#}: every record is as it was written"),
        many => writeln!(out, "{BAD}{many} problems{BAD:#}; the first is the one to look at"),
    }
}

/// One cut makes one problem, but a file of rubbish would make millions.
const MOST_PROBLEMS: usize = 20;
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
