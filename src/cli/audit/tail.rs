//! `audit tail`: the last calls, and with `-f` new ones as they come.

use std::{io, path::Path, time::Duration};

use clap::Args;

use super::{AuditError, TrailLocation, filter::CallFilter, output::CallFormat};
use crate::audit::TrailFollower;

/// Shows the last calls.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub(super) source: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
    /// Go on with new calls as they come, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many of the last calls to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// How to print them
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
        std::thread::sleep(LOOK_AGAIN);
        follow.read(&mut show)?;
    }
}

/// The writer gathers for about as long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
