//! `audit query`: prints the calls that match a filter.

use std::{io, ops::ControlFlow, path::Path};

use clap::Args;

use super::{
    calls, error::AuditError, filter::CallFilter, location::TrailLocation, output::CallFormat,
};

/// Shows the calls that match the conditions.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: CallFormat,
    /// Stop after this number of calls
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

pub(super) fn run(
    args: &QueryArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let mut out = io::BufWriter::new(out);
    let mut left = args.limit.unwrap_or(u64::MAX);
    args.format.heading(&mut out).map_err(AuditError::Output)?;
    if left > 0 {
        calls::for_each(directory, &args.filter, |call, line| {
            args.format.call(call, line, &mut out).map_err(AuditError::Output)?;
            left -= 1;
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    io::Write::flush(&mut out).map_err(AuditError::Output)
}
