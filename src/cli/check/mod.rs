//! `check`: validates the configuration and prints its meaning. `--online` also tests everything
//! outside that the configuration names.
//!
//! It runs the code that `serve` runs. Without `--online` it opens no socket and reads no secret.
//! It never shows a value.

mod meaning;
mod online;

use std::{io::Write, process::ExitCode};

pub use meaning::explain;
pub(super) use meaning::{proofs, source};
pub(super) use online::{Report, Step, look_at_credentials, look_at_upstream, members_of, set_of};

use self::online::ProfileChoice;
use super::{ConfigFiles, Failure, block_on};
use crate::config::{Loaded, Problems};

/// Validates the configuration and says what it means.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Look outside as well, one step after the other: files, vault, credentials, upstream, audit
    /// directory, clock. Each step says what to do if something is not right.
    #[arg(long)]
    pub online: bool,
    /// Leave out the one call that `--online` makes to each upstream. It asks for a subtenant that cannot be
    /// there, and is put on the audit trail before it is made.
    #[arg(long, requires = "online")]
    pub no_call: bool,
    /// Which profile to look at: one, by its name; `all`, with every member that the source of a template can
    /// list, a line each; or `sample`, with ten of them. Without it, every profile that has a table of its own.
    #[arg(long, requires = "online", value_name = "NAME|all|sample")]
    pub profile: Option<ProfileChoice>,
    /// Print the steps as JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Checks, and prints the meaning, or the steps' findings, to `out`.
pub fn run(args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
    if args.json {
        return as_json(args, out);
    }
    let loaded = args.files.load()?.for_serving()?;
    explain(&loaded, out)?;
    if !args.online {
        return Ok(ExitCode::SUCCESS);
    }
    let report = look(&loaded, args)?;
    report.tell("Online", out)?;
    match report.failed() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(Failure::failed("one step failed")),
        count => Err(Failure::failed(format!("{count} steps failed"))),
    }
}

/// As JSON: one object, whatever is wrong. The exit codes are those of the text.
fn as_json(args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    let code = match args.files.load().and_then(Loaded::for_serving) {
        Ok(loaded) => {
            report = configuration(&loaded);
            if args.online {
                report.append(look(&loaded, args)?);
            }
            ExitCode::from(u8::from(report.failed() > 0))
        }
        Err(problems) => {
            report.extend(mistakes(&problems));
            Failure::Configuration(problems).exit_code()
        }
    };
    writeln!(out, "{:#}", report.to_json())?;
    Ok(code)
}

fn look(loaded: &Loaded, args: &Args) -> Result<Report, Failure> {
    block_on(online::look(loaded, !args.no_call, args.profile.as_ref()))
}

fn configuration(loaded: &Loaded) -> Report {
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let mut report = Report::default();
    report.push(Step::good("configuration", format!("{} is in order", files.join(" with "))));
    report.extend(loaded.warnings.iter().map(|warning| {
        let (found, hint) = warning.words();
        Step::doubtful("configuration", found).advise(hint)
    }));
    report
}

fn mistakes(problems: &Problems) -> impl Iterator<Item = Step> {
    problems.iter().map(|problem| {
        let (found, hint) = problem.words();
        Step::bad("configuration", found).advise(hint)
    })
}
