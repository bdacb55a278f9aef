//! `audit query`: prints the calls that match a filter, or the markers of some kinds.

use std::{io, ops::ControlFlow, path::Path};

use clap::Args;

use super::{
    calls::{self, TrailLine},
    error::AuditError,
    filter::CallFilter,
    location::TrailLocation,
    output::{CallFormat, MarkerLine},
};

/// Shows the calls that match the conditions, or the markers of some kinds.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
    /// Show markers of these kinds instead of calls; of the conditions, only the times count then
    #[arg(
        long = "kind",
        value_name = "KIND",
        value_delimiter = ',',
        value_parser = MARKERS,
        conflicts_with_all = ["caller", "operation", "status", "outcome", "object", "request_id"]
    )]
    kinds: Vec<String>,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: CallFormat,
    /// Stop after this number of lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// The kinds of lines that are no calls.
const MARKERS: [&str; 16] = [
    "configuration",
    "credentials",
    "admin",
    "start",
    "stop",
    "intent",
    "unknown",
    "checkpoint",
    "retention",
    "gap",
    "torn",
    "damaged",
    "cut",
    "doubt",
    "restored",
    "all",
];

pub(super) fn run(
    args: &QueryArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let mut out = io::BufWriter::new(out);
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut counted = || {
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let format = args.format;
    if args.kinds.is_empty() { format.heading(&mut out) } else { format.marker_heading(&mut out) }
        .map_err(AuditError::Output)?;
    let is_wanted = |kind: &str| args.kinds.iter().any(|wanted| wanted == kind || wanted == "all");
    if args.limit != Some(0) {
        calls::for_each_line(directory, &args.filter, |parsed, line| {
            match parsed {
                TrailLine::Call(call) if args.kinds.is_empty() => format.call(call, line, &mut out),
                TrailLine::Marker(head) if is_wanted(head.kind) => {
                    format.marker(&MarkerLine { head, line }, &mut out)
                }
                TrailLine::Call(_) | TrailLine::Marker(_) => return Ok(ControlFlow::Continue(())),
            }
            .map_err(AuditError::Output)?;
            Ok(counted())
        })?;
    }
    io::Write::flush(&mut out).map_err(AuditError::Output)
}
