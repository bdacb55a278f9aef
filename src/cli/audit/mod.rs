//! `audit …`: reads the trail, also while a gateway writes it.
//!
//! No command writes to the trail or takes its lock.

mod bundle;
mod calls;
mod error;
mod filter;
mod location;
mod output;
mod progress;
mod query;
mod report;
mod suggest;
mod tail;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

pub use bundle::{ExportError, TrailConfiguration};
pub use error::AuditError;
pub use location::TrailLocation;

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
    /// Write records and what proves them into one signed file, for somebody who does not trust this host
    Export(bundle::ExportArgs),
    /// Print the `[[callers]]` entries that would allow the recorded calls
    SuggestPolicy(suggest::SuggestArgs),
}

impl AuditArgs {
    /// The trail's directory, or the bundle, or else the configuration files that name the directory. An empty list means the
    /// files that `serve` would read.
    pub fn source(&self) -> Result<&Path, &[PathBuf]> {
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

    /// Runs the command on the trail in `directory`, which the configuration names if there is one, and
    /// prints to `out`.
    pub fn run(
        &self,
        directory: &Path,
        configuration: Option<&TrailConfiguration>,
        out: &mut dyn io::Write,
    ) -> Result<AuditExit, AuditError> {
        if let Command::Verify(args) = &self.command
            && let Some(bundle) = &args.bundle
        {
            return bundle::verify(args, bundle, out).map(AuditExit::from);
        }
        if !directory.is_dir() {
            return Err(AuditError::NoDirectory { path: directory.to_owned() });
        }
        let done = match &self.command {
            Command::Query(args) => query::run(args, directory, out),
            Command::Tail(args) => tail::run(args, directory, out),
            Command::Report(args) => report::run(args, directory, out),
            Command::Verify(args) => {
                return verify::run(args, directory, out).map(AuditExit::from);
            }
            Command::Export(args) => {
                return bundle::export(args, directory, configuration, out).map(AuditExit::from);
            }
            Command::SuggestPolicy(args) => suggest::run(args, directory, out),
        };
        match done {
            // The reader has closed the pipe, as in `audit query | head`.
            Err(AuditError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(AuditExit::Success)
            }
            done => done.map(|()| AuditExit::Success),
        }
    }
}

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditExit {
    /// 0.
    Success,
    /// 1: the trail is wrong, as `verify` says.
    Wrong,
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
