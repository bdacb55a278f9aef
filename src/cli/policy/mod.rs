//! `policy …`: rules as code. What a configuration decides is tested against expectations, and against the calls
//! on the audit trail.

mod expectations;
mod replay;
mod test;

use std::{io::Write, process::ExitCode};

use super::Failure;

/// Tests the rules of a configuration.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Test(test::TestArgs),
    Replay(Box<replay::ReplayArgs>),
}

/// Runs the command: what was found on `out`, what is to be known of it on `notes`. Exit code 1 says that
/// the answer is no.
pub fn run(
    args: &PolicyArgs,
    out: &mut impl Write,
    notes: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Test(args) => test::run(args, out),
        Command::Replay(args) => replay::run(args, out, notes),
    }
}
