//! `audit …`: reads the trail, while a gateway writes it or long after.
//!
//! Nothing here writes to the trail or takes its lock.

mod filter;
mod query;
mod tail;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use crate::trail::ReadError;

/// Reads the audit trail.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the calls that fit.
    Query(query::QueryArgs),
    /// Shows the last calls, and new ones as they come.
    Tail(tail::TailArgs),
    /// Checks that no record was changed, removed, reordered or inserted.
    Verify(verify::VerifyArgs),
}

/// Where the trail is.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = true)]
pub struct Source {
    /// A configuration file, for the directory it names. May be repeated, later files win.
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    config: Vec<PathBuf>,
    /// The trail's directory.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl AuditArgs {
    /// The directory that was named, or else the configuration files that name it (none: those
    /// that `serve` would read).
    pub fn source(&self) -> Result<&Path, &[PathBuf]> {
        let source = match &self.command {
            Command::Query(args) => &args.source,
            Command::Tail(args) => &args.source,
            Command::Verify(args) => &args.source,
        };
        source.directory.as_deref().ok_or(&source.config)
    }

    /// Reads the trail in that directory and prints to `out`.
    pub fn run(&self, directory: &Path, out: &mut dyn io::Write) -> Result<Verdict, AuditError> {
        if !directory.is_dir() {
            return Err(AuditError::NoDirectory { path: directory.to_owned() });
        }
        let done = match &self.command {
            Command::Query(args) => query::run(args, directory, out).map(|()| Verdict::Right),
            Command::Tail(args) => tail::run(args, directory, out).map(|()| Verdict::Right),
            Command::Verify(args) => verify::run(args, directory, out),
        };
        match done {
            // `audit query | head` has what it wanted.
            Err(AuditError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Verdict::Right)
            }
            done => done,
        }
    }
}

/// What a command has to say with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 0.
    Right,
    /// 1: something is wrong with the trail.
    Wrong,
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
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

#[cfg(test)]
mod tests;
