//! `profiles …`: many activations behind one gateway. Which profiles there are, who may use one, and whether it works.
//!
//! | file | |
//! | --- | --- |
//! | `ways` | which calls lead to a profile |
//! | `running` | what a running gateway says of its profiles |
//! | `list`, `show`, `check` | the commands |

mod check;
mod list;
mod running;
mod show;
mod ways;

use std::{io::Write, process::ExitCode};

use super::Failure;

/// Many activations: the profiles, who may use each, and whether it works.
#[derive(Debug, clap::Args)]
pub struct ProfilesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Check(check::CheckArgs),
}

/// Runs the command. Exit code 1 says that the answer is no.
pub async fn run(args: &ProfilesArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(args) => list::run(args, out).await.map(|()| ExitCode::SUCCESS),
        Command::Show(args) => show::run(args, out).await.map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(args, out).await,
    }
}
