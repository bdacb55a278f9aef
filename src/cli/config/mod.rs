//! `config show`: the effective configuration with its origins. `config schema`: the JSON Schema of
//! the file. `config diff`: what another configuration changes.

mod access;
mod diff;

use std::{io::Write, process::ExitCode};

use super::{ConfigFiles, Failure};
use crate::config;

/// Shows the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints the configuration as it takes effect, each key with where its value came from.
    ///
    /// Identifiers are cut short. The output is a configuration file itself.
    Show {
        #[command(flatten)]
        files: ConfigFiles,
        /// Prints JSON instead of TOML.
        #[arg(long)]
        json: bool,
    },
    Diff(diff::DiffArgs),
    /// Prints the JSON Schema of the configuration file, for editors and for reading.
    Schema,
}

/// Runs the command, printing to `out`.
pub fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Diff(args) => return diff::run(args, out),
        Command::Show { files, json } => {
            let effective = files.load()?.effective;
            if *json {
                writeln!(out, "{:#}", effective.to_json())?;
            } else {
                write!(out, "{}", effective.to_toml())?;
            }
        }
        Command::Schema => writeln!(out, "{:#}", config::schema())?,
    }
    Ok(ExitCode::SUCCESS)
}
