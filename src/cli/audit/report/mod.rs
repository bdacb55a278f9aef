//! `audit report`: calls, errors, cache hits, times and volumes, by caller, operation and day.

mod figures;
mod page;
mod table;

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    calls::{self, TrailLine},
    error::AuditError,
    filter::CallFilter,
    location::TrailLocation,
};
use figures::Figures;

/// Sums up the calls that match the conditions.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
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

pub(super) fn run(
    args: &ReportArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let mut figures = Figures::default();
    calls::for_each_line(directory, &args.filter, |line, _| {
        match line {
            TrailLine::Call(call) => figures.add(call),
            TrailLine::Marker(head) => figures.add_marker(head.kind),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(path) = &args.html {
        let page = page::render(&figures, jiff::Timestamp::now());
        fs::write(path, page.into_string())
            .map_err(|source| AuditError::File { path: path.clone(), source })?;
        return writeln!(out, "wrote {}", path.display()).map_err(AuditError::Output);
    }
    match args.format {
        ReportFormat::Table => table::print(&figures, out),
        ReportFormat::Json => serde_json::to_writer_pretty(&mut *out, &figures)
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n")),
    }
    .map_err(AuditError::Output)
}
