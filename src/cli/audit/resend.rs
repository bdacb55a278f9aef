//! `audit export --resend-from`: sends lines to the collector once more, for example those that it refused.
//!
//! The command sends the lines itself, so it works with a running gateway, whose own export goes on, and
//! without one. The collector may get a line twice; `seq` tells.

use std::{io, path::Path};

use super::error::AuditError;
use crate::{audit, outbound::CollectorSettings};

/// Sends the lines from a number on. Returns whether the collector has taken every one.
pub(super) fn run(
    from: u64,
    directory: &Path,
    collector: Option<&CollectorSettings>,
    out: &mut dyn io::Write,
) -> Result<bool, AuditError> {
    let collector = collector.ok_or(AuditError::NoCollector)?;
    let resent = audit::resend(directory, collector, from)?;
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
