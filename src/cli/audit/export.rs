//! `audit export --resend-from`: sends lines to the collector once more, for example those that it refused.
//!
//! The command sends the lines itself, so it works with a running gateway, whose own export goes on, and
//! without one. The collector may get a line twice; `seq` tells.

use std::{io, path::Path};

use clap::Args;

use super::{error::AuditError, location::TrailLocation};
use crate::{audit, outbound::CollectorSettings};

/// Sends lines to the collector.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
    /// Send the lines from this number on to the collector of `[telemetry]` once more, up to the last one
    #[arg(long, value_name = "SEQ")]
    resend_from: u64,
}

/// Returns whether the collector has taken every line.
pub(super) fn run(
    args: &ExportArgs,
    directory: &Path,
    collector: Option<&CollectorSettings>,
    out: &mut dyn io::Write,
) -> Result<bool, AuditError> {
    let collector = collector.ok_or(AuditError::NoCollector)?;
    let resent = audit::resend(directory, collector, args.resend_from)?;
    writeln!(out, "{} lines were sent", resent.lines).map_err(AuditError::Output)?;
    if let Some(status) = resent.status {
        writeln!(
            out,
            "{} of them were refused for good, at last with status {status}",
            resent.rejected
        )
        .map_err(AuditError::Output)?;
    }
    Ok(resent.rejected == 0)
}
