//! `audit tail`: prints the last calls, and with `-f` new ones as they are written.

use std::{io, path::Path, time::Duration};

use clap::Args;

use super::{error::AuditError, filter::CallFilter, location::TrailLocation, output::CallFormat};
use crate::audit::TrailFollower;

/// Shows the last calls.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub(super) location: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
    /// Continue with new calls as they are written, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// The number of last calls to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// The output format
    #[arg(long, value_enum, default_value_t)]
    format: CallFormat,
}

pub(super) fn run(
    args: &TailArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let filter = args.filter.prepare(directory)?;
    let (mut follow, last) =
        TrailFollower::from_end(directory, args.lines, |line| filter.matching(line).is_some())?;
    args.format.heading(out).map_err(AuditError::Output)?;
    let mut show = |line: &[u8]| match filter.matching(line) {
        Some(call) => args.format.call(&call, line, out).map_err(AuditError::Output),
        None => Ok(()),
    };
    last.iter().try_for_each(|line| show(line))?;
    if !args.follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(POLL_INTERVAL);
        follow.read(&mut show)?;
    }
}

/// A few batches of the writer.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
