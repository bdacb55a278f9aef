//! `audit query`: prints the calls that match a filter, or the markers of some kinds.

use std::{io, ops::ControlFlow};

use clap::Args;

use super::{
    AuditExit, Streams,
    error::AuditError,
    filter::CallFilter,
    location::{TrailLocations, Trails},
    output::{OutputArgs, Printer},
    search::{FoundContent, search},
};

/// Shows the calls that match the conditions, or the markers of some kinds.
///
/// Standard error says how many calls match, and which period the trail covers. The exit code is 1 if the
/// trail does not cover the period that is asked for, and 2 for a caller or operation that is nowhere.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) location: TrailLocations,
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
    #[command(flatten)]
    output: OutputArgs,
    /// Stop after this number of lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// The kinds of lines that are no calls.
const MARKERS: [&str; 18] = [
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
    "clock",
    "export_rejected",
    "all",
];

pub(super) fn run(
    args: &QueryArgs,
    trails: &Trails,
    streams: &mut Streams<'_>,
) -> Result<AuditExit, AuditError> {
    let mut out = io::BufWriter::new(&mut *streams.out);
    let look = (streams.width, trails.directories()?.len() > 1);
    let mut printer = Printer::new(args.output, look, args.filter.zone(), &mut out);
    if args.kinds.is_empty() { printer.heading() } else { printer.marker_heading() }
        .map_err(AuditError::Output)?;
    let is_wanted = |kind: &str| args.kinds.iter().any(|wanted| wanted == kind || wanted == "all");
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut left = limit;
    let mut findings = search(trails, &args.filter, |found| {
        match found.content {
            _ if left == 0 => return Ok(ControlFlow::Break(())),
            FoundContent::Call(_) if args.kinds.is_empty() => {}
            FoundContent::Marker(head) if is_wanted(head.kind) => {}
            FoundContent::Call(_) | FoundContent::Marker(_) => {
                return Ok(ControlFlow::Continue(()));
            }
        }
        printer.print(found).map_err(AuditError::Output)?;
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    io::Write::flush(&mut out).map_err(AuditError::Output)?;
    drop(out);
    findings.markers = (!args.kinds.is_empty()).then_some(limit - left);
    findings.conclude(streams.notes)
}
