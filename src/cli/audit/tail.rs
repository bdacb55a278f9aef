//! `audit tail`: prints the last calls, and with `-f` new ones as they are written.

use std::time::Duration;

use clap::Args;

use super::{
    AuditExit, Streams,
    coverage::Period,
    error::AuditError,
    filter::{CallFilter, PreparedFilter},
    location::{TrailLocations, Trails},
    output::{OutputArgs, Printer},
    search::{FoundContent, FoundLine, names, unknown_name},
};
use crate::{
    audit::{self, Coverage, TrailFollower},
    domain::visible,
};

/// Shows the last calls.
///
/// Standard error says which period the trail covers.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    pub(super) location: TrailLocations,
    #[command(flatten)]
    filter: CallFilter,
    /// Continue with new calls as they are written, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// The number of last calls to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    output: OutputArgs,
}

/// A trail and its end.
struct FollowedTrail<'a> {
    name: Option<String>,
    filter: PreparedFilter<'a>,
    follower: TrailFollower,
}

pub(super) fn run(
    args: &TailArgs,
    trails: &Trails,
    streams: &mut Streams<'_>,
) -> Result<AuditExit, AuditError> {
    let range = args.filter.asked_range()?;
    let directories = trails.directories()?;
    let coverages: Vec<_> =
        directories.iter().map(|path| Coverage::of(path)).collect::<Result<_, _>>()?;
    let mut names = names(&coverages).into_iter();
    let mut followed = Vec::new();
    let mut last = Vec::new();
    for (index, directory) in directories.iter().enumerate() {
        let filter = args.filter.prepare(&range, directory)?;
        let fits = |line: &[u8]| filter.matching(line).is_some();
        let (follower, lines) = TrailFollower::from_end(directory, args.lines, fits)?;
        last.extend(lines.into_iter().map(|line| (index, line)));
        followed.push(FollowedTrail { name: names.next(), filter, follower });
    }
    let period = Period { coverages: &coverages, range: &range, zone: args.filter.zone() };
    for sentence in period.sentences() {
        writeln!(streams.notes, "{}", visible(&sentence)).map_err(AuditError::Output)?;
    }
    if last.is_empty()
        && !args.follow
        && let Some(error) = unknown_name(trails, &args.filter)?
    {
        return Err(error);
    }
    let look = (streams.width, directories.len() > 1);
    let mut printer = Printer::new(args.output, look, args.filter.zone(), streams.out);
    printer.heading().map_err(AuditError::Output)?;
    by_time(&mut last);
    let skipped = last.len().saturating_sub(args.lines);
    print(&followed, last.get(skipped..).unwrap_or_default(), &mut printer)?;
    if !args.follow {
        return Ok(if period.is_covered() { AuditExit::Success } else { AuditExit::NotCovered });
    }
    loop {
        std::thread::sleep(POLL_INTERVAL);
        let mut new = Vec::new();
        for (index, trail) in followed.iter_mut().enumerate() {
            trail.follower.read(|line| {
                new.push((index, line.to_owned()));
                Ok::<_, AuditError>(())
            })?;
        }
        by_time(&mut new);
        print(&followed, &new, &mut printer)?;
    }
}

/// Lines of one trail are in their order already.
fn by_time(lines: &mut [(usize, Vec<u8>)]) {
    if lines.iter().any(|(trail, _)| *trail != 0) {
        lines.sort_by(|(_, one), (_, other)| time(one).cmp(&time(other)));
    }
}

fn time(line: &[u8]) -> Option<&str> {
    audit::line_head(line).map(|head| head.time)
}

fn print(
    followed: &[FollowedTrail<'_>],
    lines: &[(usize, Vec<u8>)],
    printer: &mut Printer<'_>,
) -> Result<(), AuditError> {
    for (index, line) in lines {
        let Some(FollowedTrail { name, filter, .. }) = followed.get(*index) else { continue };
        if let Some(call) = filter.matching(line) {
            let content = FoundContent::Call(&call);
            let found = FoundLine { trail: name.as_deref(), line, content };
            printer.print(found).map_err(AuditError::Output)?;
        }
    }
    Ok(())
}

/// A few batches of the writer.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
