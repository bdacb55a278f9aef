//! The command line: one file or folder a command, and one place that turns results into text and
//! an exit code.
//!
//! Exit codes: 0 done, 1 it failed while running, 2 bad usage or bad configuration.

pub mod admin;
pub mod audit;
pub mod check;
pub mod config;
mod config_files;
pub mod credentials;
mod decision;
mod demo;
pub mod explain;
mod failure;
pub mod init;
mod manual;
pub mod mock_upstream;
pub mod operations;
pub mod policy;
mod probe;
pub mod profiles;
mod serve;
mod signals;
pub mod support_bundle;
mod time;
mod vault_policy;
mod verdict;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anstream::AutoStream;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use config_files::ConfigFiles;
pub use failure::Failure;
use vault_policy::{rotation_policy, vault_policy};
use verdict::VerdictOutput;

use crate::{
    build_info::LONG_VERSION,
    credentials::SourceSettings,
    error::Chain,
    process::{
        hardening::{Debugging, harden},
        panics::tell_panics,
    },
    telemetry::{LogFormat, LogSettings, flush_log, init_logs, log_format},
};

/// Keeps Pigello's client secret off application hosts.
///
/// An authenticating reverse proxy in front of Pigello's Core API: callers send plain requests, the
/// gateway knows who calls and whether they may, writes every call on an audit trail, answers
/// repeated reads from memory, adds the seven X-PIGELLO-* values and calls Pigello over TLS.
#[derive(Debug, Parser)]
#[command(name = "pigello-gateway", version, long_version = LONG_VERSION, max_term_width = 100, after_long_help = AFTERWORD)]
struct Cli {
    /// Let debuggers, profilers and core files see the memory of this process, secrets included
    #[arg(long, global = true, hide_short_help = true, display_order = 1000)]
    allow_debugging: bool,
    #[command(subcommand)]
    command: Command,
}

/// What the manual page has behind the commands.
const AFTERWORD: &str = "\
Exit codes: 0 done; 1 it failed while running; 2 bad usage or bad configuration, told on standard error.

Begin with `init`, or with `demo` to see it at work. Without --config, commands read the file that
PIGELLO_GATEWAY_CONFIG names, then /etc/pigello-gateway/gateway.toml.";

/// Why `…` stands in an error.
const LEFT_OUT: &str = "What was typed is not repeated here, because it may be a secret. Values are read from standard \
                        input or a file, never from the command line.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(ConfigFiles),
    /// Ask a running gateway whether it is ready, for probes
    Health(admin::HealthArgs),
    /// Show the state of a running gateway
    Status(admin::StatusArgs),
    /// Drop cached responses of a running gateway
    Purge(admin::PurgeArgs),
    /// Show the fleet of a running gateway, or drop cached responses of all its members
    Fleet(admin::FleetArgs),
    /// Have a running gateway read its credentials now
    Refresh(admin::RefreshArgs),
    /// Have a running gateway take its configuration anew
    Reload(admin::ReloadArgs),
    /// Open the status page of a running gateway in a browser
    Page(admin::PageArgs),
    /// Collect in one file what somebody needs who is to help
    SupportBundle(support_bundle::Args),
    /// Validate the configuration and print what it means
    Check(check::Args),
    /// Write a first configuration and what goes with it
    Init(init::Args),
    /// Show the gateway at work, on this machine alone, with nothing set up before
    Demo(demo::Args),
    /// Run the mock of Pigello's Accounts API on its own
    MockUpstream(mock_upstream::Args),
    /// Manage the sealed credential store
    Credentials(credentials::CredentialsArgs),
    /// Read the audit trail
    Audit(audit::AuditArgs),
    /// Say what the gateway would do with one request, and why
    Explain(explain::Args),
    /// List the operations and who may use them, or make `[[operations]]` from an OpenAPI file
    Operations(operations::Args),
    /// List the profiles, say who may use one, or check one
    Profiles(profiles::ProfilesArgs),
    /// Test the rules of a configuration
    Policy(policy::PolicyArgs),
    /// Show the effective configuration, or the schema of the file
    Config(config::Args),
    /// Print a script that completes this program's commands and options in a shell
    Completions(manual::Completions),
    /// Print the manual page, or write one for each command
    Man(manual::Pages),
}

/// Runs the command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(mut error) => {
            let is_left_out = arguments.iter().any(|argument| argument == "credentials")
                && credentials::leave_out_values(&mut error);
            // Help and version are no errors; clap knows the stream of each.
            drop(error.print());
            if is_left_out {
                drop(writeln!(anstream::stderr(), "\n{LEFT_OUT}"));
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Before any secret is read and any thread started.
    let debugging = if cli.allow_debugging { Debugging::Allowed } else { Debugging::Refused };
    tell_panics(debugging);
    let _log = LogEnd;
    let done = harden(debugging)
        .map_err(|error| Failure::failed(Chain(&error).to_string()))
        .and_then(|()| run(cli.command));
    match done {
        Ok(code) => code,
        Err(failure) => {
            if log_format() == Some(LogFormat::Json) {
                failure.log();
            } else if flush_log() {
                // Standard error may be closed; the exit code remains.
                drop(report(&failure));
            }
            failure.exit_code()
        }
    }
}

/// Prints a failure in one write, because a thread that still runs may log.
fn report(failure: &Failure) -> io::Result<()> {
    let mut text = AutoStream::new(Vec::new(), AutoStream::choice(&io::stderr()));
    failure.report(&mut text)?;
    io::stderr().write_all(&text.into_inner())
}

/// Has the last lines of the log written, also after a panic.
struct LogEnd;

impl Drop for LogEnd {
    fn drop(&mut self) {
        flush_log();
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(files) => serve::run(&files)?,
        Command::Health(args) => block_on(admin::health(&args, &mut anstream::stderr()))??,
        Command::Status(args) => block_on(admin::status(&args, &mut anstream::stdout().lock()))??,
        Command::Purge(args) => block_on(admin::purge(&args, &mut anstream::stdout().lock()))??,
        Command::Fleet(args) => block_on(admin::fleet(&args, &mut anstream::stdout().lock()))??,
        Command::Refresh(args) => block_on(admin::refresh(&args, &mut anstream::stdout().lock()))??,
        Command::Reload(args) => block_on(admin::reload(&args, &mut anstream::stdout().lock()))??,
        Command::Page(args) => block_on(admin::page(&args, &mut anstream::stdout().lock()))??,
        Command::Check(args) => {
            return check::run(&args, &mut VerdictOutput(anstream::stdout().lock()));
        }
        Command::SupportBundle(args) => {
            support_bundle::run(&args, &mut anstream::stdout().lock())?;
        }
        Command::Init(args) => init::run(&args, &mut init::Person::standard()?)?,
        Command::Demo(args) => demo::run(&args)?,
        Command::MockUpstream(args) => {
            block_on(mock_upstream::run(args))?.map_err(|error| mock_failed(&error))?;
        }
        Command::Credentials(args) => {
            quiet_logs()?;
            let mut console =
                credentials::Console::standard(anstream::stdout(), anstream::stderr())?;
            credentials::run(&args, &mut console, &sealed_store)?;
        }
        Command::Audit(args) => return audit(&args),
        Command::Explain(args) => explain::run(&args, &mut anstream::stdout().lock())?,
        Command::Operations(args) => {
            operations::run(&args, &mut anstream::stdout().lock(), &mut anstream::stderr())?;
        }
        Command::Profiles(args) => {
            quiet_logs()?;
            return block_on(profiles::run(&args, &mut anstream::stdout().lock()))?;
        }
        Command::Policy(args) => {
            quiet_logs()?;
            return policy::run(&args, &mut anstream::stdout().lock(), &mut anstream::stderr());
        }
        Command::Config(args) => return config::run(&args, &mut anstream::stdout().lock()),
        Command::Completions(args) => args.run(Cli::command(), &mut anstream::stdout().lock())?,
        Command::Man(args) => args.run(Cli::command(), &mut anstream::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn audit(args: &audit::AuditArgs) -> Result<ExitCode, Failure> {
    quiet_logs()?;
    let done = if args.reads_lines() {
        args.run_on_lines(io::stdin().lock(), &mut anstream::stdout().lock())
    } else {
        let trails = match args.source() {
            Ok(directories) => audit::Trails::at(directories),
            Err(files) => {
                let loaded = ConfigFiles { named: files.to_vec() }.load()?;
                audit::Trails::of(&loaded.settings).configured(loaded.effective.to_toml())
            }
        };
        let streams = audit::Streams {
            out: &mut anstream::stdout().lock(),
            notes: &mut anstream::stderr(),
            width: terminal_width(),
        };
        args.run(&trails, streams)
    };
    match done {
        Ok(audit::AuditExit::Success) => Ok(ExitCode::SUCCESS),
        Ok(audit::AuditExit::Wrong | audit::AuditExit::NotCovered) => Ok(ExitCode::from(1)),
        Ok(audit::AuditExit::NotProved) => Ok(ExitCode::from(3)),
        Err(error) => Err(error.into()),
    }
}

/// The width of the terminal that standard output is.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// Runs a future on a small runtime of its own. Threads that still wait for a file are left behind.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let output = runtime.block_on(future);
            runtime.shutdown_background();
            Ok(output)
        }
        Err(error) => Err(Failure::failed(format!("cannot start: {error}"))),
    }
}

/// The log of commands that end: warnings only, for people.
fn quiet_logs() -> Result<(), Failure> {
    start_log(Some(LogFormat::Pretty), "warn".to_owned())
}

fn start_log(format: Option<LogFormat>, level: String) -> Result<(), Failure> {
    init_logs(&LogSettings { format, level })
        .map_err(|error| Failure::failed(format!("the log cannot be started: {error}")))
}

/// The sealed store of a credential set, from the configuration.
fn sealed_store(files: &[PathBuf], name: &str) -> Result<credentials::StorePlace, String> {
    let files = ConfigFiles { named: files.to_vec() };
    let loaded = files.load().map_err(|problems| problems.to_string())?;
    let set = loaded.settings.credentials.into_values().find(|set| set.name.as_str() == name);
    match set.map(|set| set.source) {
        Some(SourceSettings::Sealed { file, key_file }) => {
            Ok(credentials::StorePlace { file, key_file })
        }
        Some(_) => Err(format!("the credentials `{name}` do not come from a sealed store")),
        None => Err(format!("the configuration has no credentials `{name}`")),
    }
}

fn mock_failed(error: &mock_upstream::MockUpstreamError) -> Failure {
    let text = Chain(error).to_string();
    let failure = if error.is_usage() { Failure::usage(text) } else { Failure::failed(text) };
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_waits_for_a_file_holds_up_no_end() {
        let (answer, mount) = mpsc::channel::<()>();
        let read = async { drop(tokio::task::spawn_blocking(move || mount.recv())) };
        block_on(read).unwrap();
        drop(answer);
    }
}
