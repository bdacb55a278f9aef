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
    search::{FoundContent, search},
};
use crate::domain::visible;
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
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Write the report as one self-contained HTML file with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    let period = findings.period();
    let out = &mut *streams.out;
    if let Some(path) = &args.html {
        let head = Head::new(&args.filter, &findings);
        fs::write(path, page::render(&figures, &head).into_string())
            .map_err(|source| AuditError::File { path: path.clone(), source })?;
        writeln!(out, "wrote {}", path.display()).map_err(AuditError::Output)?;
        return findings.conclude(streams.notes);
    }
    match args.format {
        ReportFormat::Table => table::print(&figures, zone, out).and_then(|()| {
            period.sentences().iter().try_for_each(|line| writeln!(out, "{}", visible(line)))
        }),
        ReportFormat::Json => {
            let report = JsonReport { figures: &figures, period: period.as_json() };
            serde_json::to_writer_pretty(&mut *out, &report)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
        }
    }
    .map_err(AuditError::Output)?;
    findings.conclude(streams.notes)
}
