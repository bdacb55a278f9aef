//! `audit report`: calls, errors, cache hits, times and volumes, by caller, operation and day.

mod figures;
mod page;
mod table;

use std::{fs, io, ops::ControlFlow, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::{
    AuditExit, Streams,
    error::AuditError,
    filter::CallFilter,
    location::{TrailLocations, Trails},
    search::{Findings, FoundContent, search},
};
use crate::{
    audit::{self, Verdict, VerifyOptions, VerifyReport},
    domain::visible,
};
use figures::Figures;
use page::Head;

/// Sums up the calls that match the conditions.
///
/// It says which period the trail covers, and exits with 1 if that is not the one that is asked for.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) location: TrailLocations,
    #[command(flatten)]
    filter: CallFilter,
    /// Show only the sums by this, in the table
    #[arg(long, value_enum)]
    by: Option<By>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Write the report as one self-contained HTML file with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Verify each trail too, with the key in its directory, and say the verdict
    #[arg(long)]
    verify: bool,
}

/// What calls are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Caller,
    Operation,
    Profile,
    Trail,
    Day,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// Aligned text
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// The report for programs.
#[derive(Serialize)]
struct JsonReport<'a> {
    #[serde(flatten)]
    figures: &'a Figures,
    period: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verified: Vec<JsonVerdict>,
}

/// What a check of a trail says.
#[derive(Serialize)]
struct JsonVerdict {
    directory: String,
    verdict: &'static str,
    statement: String,
}

/// The verdict on a trail, as `audit verify` has it.
pub(super) struct Verified {
    directory: PathBuf,
    report: VerifyReport,
}

impl Verified {
    /// Checks the trails.
    fn all(directories: &[PathBuf]) -> Result<Vec<Self>, AuditError> {
        let check = |directory: &PathBuf| {
            let report = audit::verify(directory, VerifyOptions::default(), |_| {})?;
            Ok(Self { directory: directory.clone(), report })
        };
        directories.iter().map(check).collect()
    }

    /// `the trail /var/… is ok: records 1 to 7 are as they were written, …`, and what that leaves open.
    fn sentence(&self) -> String {
        let verdict = self.report.verdict();
        let trail = self.directory.display();
        let sentence =
            format!("the trail {trail} is {}: {}", verdict.label(), self.report.statement());
        let limits = if verdict == Verdict::Ok { self.report.limits() } else { Vec::new() };
        [sentence]
            .into_iter()
            .chain(limits.into_iter().map(str::to_owned))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// The worst of the exits.
    fn exit(verified: &[Self]) -> AuditExit {
        let has = |verdict| verified.iter().any(|one| one.report.verdict() == verdict);
        match (has(Verdict::Wrong), has(Verdict::NotProved)) {
            (true, _) => AuditExit::Wrong,
            (false, true) => AuditExit::NotProved,
            (false, false) => AuditExit::Success,
        }
    }
}

pub(super) fn run(
    args: &ReportArgs,
    trails: &Trails,
    streams: &mut Streams<'_>,
) -> Result<AuditExit, AuditError> {
    let mut figures = Figures::default();
    let zone = args.filter.zone();
    let findings = search(trails, &args.filter, |found| {
        match found.content {
            FoundContent::Call(call) => figures.add(call, found.trail, zone),
            FoundContent::Marker(head) => figures.add_marker(head.kind),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let verified = if args.verify { Verified::all(trails.directories()?)? } else { Vec::new() };
    print(args, &figures, &findings, &verified, streams.out)?;
    for one in &verified {
        writeln!(streams.notes, "{}", visible(&one.sentence())).map_err(AuditError::Output)?;
    }
    // A period that is not covered weighs as much as a trail that is wrong.
    Ok(match (Verified::exit(&verified), findings.conclude(streams.notes)?) {
        (AuditExit::NotProved | AuditExit::Success, AuditExit::NotCovered) => AuditExit::NotCovered,
        (exit, _) => exit,
    })
}

fn print(
    args: &ReportArgs,
    figures: &Figures,
    findings: &Findings,
    verified: &[Verified],
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let period = findings.period();
    if let Some(path) = &args.html {
        let head = Head::new(&args.filter, findings, verified);
        fs::write(path, page::render(figures, &head).into_string())
            .map_err(|source| AuditError::File { path: path.clone(), source })?;
        return writeln!(out, "wrote {}", path.display()).map_err(AuditError::Output);
    }
    match args.format {
        ReportFormat::Table => {
            table::print(figures, args.by, args.filter.zone(), out).and_then(|()| {
                let verdicts = verified.iter().map(Verified::sentence);
                let mut sentences = period.sentences().into_iter().chain(verdicts);
                sentences.try_for_each(|line| writeln!(out, "{}", visible(&line)))
            })
        }
        ReportFormat::Json => {
            let verdict = |one: &Verified| JsonVerdict {
                directory: one.directory.display().to_string(),
                verdict: one.report.verdict().label(),
                statement: one.report.statement(),
            };
            let verified = verified.iter().map(verdict).collect();
            let report = JsonReport { figures, period: period.as_json(), verified };
            serde_json::to_writer_pretty(&mut *out, &report)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
        }
    }
    .map_err(AuditError::Output)
}
