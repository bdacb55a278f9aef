//! `audit …`: reads the trail, also while a gateway writes it.
//!
//! No command writes to the trail or takes its lock.

mod bundle;
mod coverage;
mod document;
mod error;
mod filter;
mod location;
mod output;
mod progress;
mod query;
mod report;
mod resend;
mod search;
mod suggest;
mod tail;
mod verify;

use std::{fmt, io, path::PathBuf};

use clap::{Args, Subcommand};

pub use error::{AuditError, BundleError};
pub(super) use filter::CallFilter;
pub use location::{TrailLocation, TrailLocations, Trails};
pub(super) use search::{FoundContent, search};

use crate::audit::Verdict;

/// Reads the audit trail.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the calls that match the conditions
    Query(query::QueryArgs),
    /// Show the last calls, and new ones as they are written
    Tail(tail::TailArgs),
    /// Sum up calls, errors, times and volumes, in the terminal or as an HTML page
    Report(report::ReportArgs),
    /// Check that no record was changed, removed, reordered or inserted, as far as it can be proved
    Verify(verify::VerifyArgs),
    /// Give records to others: in a signed file with what proves them, or to the collector once more
    Export(bundle::ExportArgs),
    /// Print the `[[callers]]` entries that would allow the recorded calls
    SuggestPolicy(suggest::SuggestArgs),
}

impl AuditArgs {
    /// The directories of the trails, or the bundle, or else the configuration files that name a trail. An
    /// empty list means the files that `serve` would read.
    pub fn source(&self) -> Result<&[PathBuf], &[PathBuf]> {
        match &self.command {
            Command::Query(args) => args.location.get(),
            Command::Tail(args) => args.location.get(),
            Command::Report(args) => args.location.get(),
            Command::Verify(args) => args.source(),
            Command::Export(args) => args.location.get(),
            Command::SuggestPolicy(args) => args.location.get(),
        }
    }

    /// Whether the command reads its lines from standard input, and no trail.
    pub fn reads_lines(&self) -> bool {
        matches!(&self.command, Command::Verify(args) if args.reads_lines())
    }

    /// Runs the command on lines.
    pub fn run_on_lines(
        &self,
        lines: impl io::BufRead,
        out: &mut dyn io::Write,
    ) -> Result<AuditExit, AuditError> {
        match &self.command {
            Command::Verify(args) => verify::run_on_lines(args, lines, out).map(AuditExit::from),
            _ => Ok(AuditExit::Success),
        }
    }

    /// Runs the command on the trails.
    pub fn run(&self, trails: &Trails, mut streams: Streams<'_>) -> Result<AuditExit, AuditError> {
        let done = match &self.command {
            Command::Query(args) => query::run(args, trails, &mut streams),
            Command::Tail(args) => tail::run(args, trails, &mut streams),
            Command::Report(args) => report::run(args, trails, &mut streams),
            Command::Verify(args) if let Some(bundle) = &args.bundle => {
                return bundle::verify(args, bundle, streams.out).map(AuditExit::from);
            }
            Command::Verify(args) => {
                return verify::run(args, trails.one()?, streams.out).map(AuditExit::from);
            }
            Command::Export(args) => {
                let Some(from) = args.resend_from() else {
                    return bundle::export(args, trails, streams.out).map(AuditExit::from);
                };
                let (directory, collector) = (trails.one()?, trails.collector.as_ref());
                let is_taken = resend::run(from, directory, collector, streams.out)?;
                return Ok(if is_taken { AuditExit::Success } else { AuditExit::Wrong });
            }
            Command::SuggestPolicy(args) => suggest::run(args, trails, &mut streams),
        };
        match done {
            // The reader has closed the pipe, as in `audit query | head`.
            Err(AuditError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(AuditExit::Success)
            }
            done => done,
        }
    }
}

/// Where a command prints.
pub struct Streams<'a> {
    /// What was asked for.
    pub out: &'a mut dyn io::Write,
    /// What is to be known of it: what the trail covers.
    pub notes: &'a mut dyn io::Write,
    /// The width of the terminal, if `out` is one.
    pub width: Option<usize>,
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("width", &self.width).finish_non_exhaustive()
    }
}

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditExit {
    /// 0.
    Success,
    /// 1: the trail is wrong, as `verify` says, or the collector has not taken what `export` sent.
    Wrong,
    /// 1: the trail does not cover the period that is asked for.
    NotCovered,
    /// 3: the trail is not proved, as `verify` says.
    NotProved,
}

impl From<Verdict> for AuditExit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Success,
            Verdict::Wrong => Self::Wrong,
            Verdict::NotProved => Self::NotProved,
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod question_tests;
