//! `audit …`: reads the trail, while a gateway writes it or long after.
//!
//! Nothing here writes to the trail or takes its lock.

mod calls;
mod filter;
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

use crate::audit::{KeyError, TrailReadError, VerifyError};

/// Reads the audit trail.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the calls that fit
    Query(query::QueryArgs),
    /// Show the last calls, and new ones as they come
    Tail(tail::TailArgs),
    /// Sum up calls, errors, times and volumes, in the terminal or as a page
    Report(report::ReportArgs),
    /// Check that no record was changed, removed, reordered or inserted
    Verify(verify::VerifyArgs),
    /// Write the entries of `callers` that would allow what was called
    SuggestPolicy(suggest::SuggestArgs),
}

/// Where the trail is.
#[derive(Clone, Debug, Default, Args)]
pub struct TrailLocation {
    /// A configuration file, for the directory it names; may be repeated, later files win
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    config: Vec<PathBuf>,
    /// The trail's directory
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl AuditArgs {
    /// The directory that was named, or else the configuration files that name it (none: those that
    /// `serve` would read).
    pub fn source(&self) -> Result<&Path, &[PathBuf]> {
        let source = match &self.command {
            Command::Query(args) => &args.source,
            Command::Tail(args) => &args.source,
            Command::Report(args) => &args.source,
            Command::Verify(args) => &args.source,
            Command::SuggestPolicy(args) => &args.source,
        };
        source.directory.as_deref().ok_or(&source.config)
    }

    /// Reads the trail in that directory and prints to `out`.
    pub fn run(&self, directory: &Path, out: &mut dyn io::Write) -> Result<AuditExit, AuditError> {
        if !directory.is_dir() {
            return Err(AuditError::NoDirectory { path: directory.to_owned() });
        }
        let done = match &self.command {
            Command::Query(args) => query::run(args, directory, out),
            Command::Tail(args) => tail::run(args, directory, out),
            Command::Report(args) => report::run(args, directory, out),
            Command::Verify(args) => return verify::run(args, directory, out),
            Command::SuggestPolicy(args) => suggest::run(args, directory, out),
        };
        match done {
            // `audit query | head` has what it wanted.
            Err(AuditError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(AuditExit::Success)
            }
            done => done.map(|()| AuditExit::Success),
        }
    }
}

/// What a command has to say with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditExit {
    /// 0.
    Success,
    /// 1: something is wrong with the trail.
    ProblemsFound,
}

/// Why a trail cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is none.
    #[error("there is no audit trail at {}", path.display())]
    NoDirectory {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file that was named cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl From<VerifyError> for AuditError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Read(error) => Self::Read(error),
            VerifyError::Key(error) => Self::Key(error),
        }
    }
}

#[cfg(test)]
mod tests;
