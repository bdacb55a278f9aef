//! `operations`: what can be called, and who may.
//!
//! With a configuration the list has its `[[operations]]` and says who may use what, as the policy decides it.
//! Without one it is the catalog of the Accounts API.

mod import;
mod print;

use std::{
    env,
    io::{self, Write},
    path::Path,
};

use clap::Subcommand;

use self::print::{Form, Listed};
use super::{ConfigFiles, Failure, terminal_width};
use crate::{
    app,
    config::{self, suggestion},
    domain::{Catalog, Operation, OperationPattern},
    process::files::open_named,
    proxy::stages::authorize::{AccessMatrix, AccessRow, Mode, Policy, Unmatched},
};

/// Lists the operations, and who may use them.
///
/// With a configuration it says who may use each operation; an operation of `[[operations]]` is marked with
/// a `+`. Exits with 1 if there is none to list.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    files: ConfigFiles,
    /// List only these: a pattern as in `allow` (`subtenant.*`, `*.get`), or a part of a name or path
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
    /// List only what this caller of the configuration may use
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Show a table with a column for each caller; if it does not fit, a list for each caller
    #[arg(long)]
    matrix: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV, with a column for each caller
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make `[[operations]]` from an OpenAPI description
    Import(import::Args),
}

/// Runs the command: the list to `out`, remarks to `notes`.
pub fn run(args: &Args, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    match &args.command {
        Some(Command::Import(args)) => import::run(args, out, notes),
        None => list(args, out, notes),
    }
}

fn list(args: &Args, out: &mut impl Write, notes: &mut impl Write) -> Result<(), Failure> {
    let known = Known::read(&args.files)?;
    let caller = args.caller.as_deref().map(|name| known.caller(name)).transpose()?;
    let wanted = args.pattern.as_deref().map(Wanted::new);
    let mut access = known.access;
    access.rows.retain(|row| wanted.as_ref().is_none_or(|wanted| wanted.takes(&row.operation)));
    if let (Some(pattern), true) = (&args.pattern, access.rows.is_empty()) {
        return Err(nothing_matches(pattern, &known.catalog_names));
    }
    if let Some(caller) = caller {
        access.rows.retain(|row| row.allowed.get(caller).is_some_and(|allowed| *allowed));
        if access.rows.is_empty() {
            let name = args.caller.as_deref().unwrap_or_default();
            return Err(Failure::failed(format!("`{name}` may use none of these operations")));
        }
    }
    let form = match args {
        Args { json: true, .. } => Form::Json,
        Args { csv: true, .. } => Form::Csv,
        Args { matrix: true, .. } => Form::Matrix,
        _ => Form::List,
    };
    let listed = Listed { access, with_policy: known.with_policy };
    print::print(&listed, form, terminal_width(), out)?;
    if matches!(form, Form::List | Form::Matrix) {
        known.remarks.iter().try_for_each(|remark| writeln!(notes, "note: {remark}"))?;
        let of_caller =
            known.profiles.iter().filter(|(name, _)| args.caller.as_ref() == Some(name));
        for (name, patterns) in of_caller {
            writeln!(notes, "note: `{name}` may use them with the profiles {patterns}")?;
        }
    }
    Ok(())
}

/// What is known: the catalog, and the policy if there is a configuration.
struct Known {
    access: AccessMatrix,
    catalog_names: Vec<String>,
    with_policy: bool,
    remarks: Vec<&'static str>,
    /// The callers whose entries list profiles, with these.
    profiles: Vec<(String, String)>,
}

impl Known {
    fn read(files: &ConfigFiles) -> Result<Self, Failure> {
        if !is_configured(files) {
            let catalog = Catalog::new([]).map_err(|error| Failure::failed(error.to_string()))?;
            let row = |operation| AccessRow { operation, allowed: Vec::new() };
            let rows = catalog.operations().iter().cloned().map(row).collect();
            let access = AccessMatrix { callers: Vec::new(), rows };
            return Ok(Self::new(access, &catalog, None));
        }
        let settings = files.load()?.for_serving()?.settings;
        let policy = app::policy(&settings);
        let access = policy.matrix(&settings.callers);
        let listing = settings.callers.iter().filter(|rule| !rule.profiles.is_empty());
        let listing = listing.map(|rule| {
            let patterns: Vec<_> = rule.profiles.iter().map(ToString::to_string).collect();
            (rule.name.to_string(), patterns.join(", "))
        });
        let profiles = listing.collect();
        Ok(Self { profiles, ..Self::new(access, &policy.catalog, Some(&policy)) })
    }

    fn new(access: AccessMatrix, catalog: &Catalog, policy: Option<&Policy>) -> Self {
        let mut remarks = Vec::new();
        match policy {
            None => {
                remarks.push("without a configuration (`--config`) nobody knows who may use them");
            }
            Some(policy) => {
                if policy.mode == Mode::Report {
                    remarks.push("`policy.mode` is \"report\": every call passes, and the trail says which would not");
                }
                if policy.unmatched == Unmatched::Forward {
                    remarks.push(
                        "`policy.unmatched` is \"forward\": with `*` other requests pass as well",
                    );
                }
            }
        }
        let names = catalog.operations().iter().map(|operation| operation.name().to_owned());
        Self {
            access,
            catalog_names: names.collect(),
            with_policy: policy.is_some(),
            remarks,
            profiles: Vec::new(),
        }
    }

    /// The place of a caller in the matrix.
    fn caller(&self, name: &str) -> Result<usize, Failure> {
        if !self.with_policy {
            return Err(Failure::usage("--caller needs a configuration")
                .hint("name it with --config, or with the variable PIGELLO_GATEWAY_CONFIG"));
        }
        let callers = &self.access.callers;
        callers.iter().position(|known| **known == *name).ok_or_else(|| {
            let known: Vec<_> = callers.iter().map(AsRef::as_ref).collect();
            let text = format!("the configuration has no caller `{}`", name.escape_debug());
            let failure = Failure::usage(text);
            match suggestion(name, &known, "it has") {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })
    }
}

/// Whether a configuration is named, or lies in the usual place.
fn is_configured(files: &ConfigFiles) -> bool {
    let is_named = !files.named.is_empty()
        || env::var_os(config::CONFIG_VARIABLE).is_some_and(|named| !named.is_empty());
    // A file that only its owner may read is none to somebody who looks something up.
    is_named || open_named(Path::new(config::DEFAULT_PATH)).is_ok()
}

/// Which operations are listed.
enum Wanted {
    Pattern(OperationPattern),
    /// A part of a name, a path or a method, in lower case.
    Part(String),
}

impl Wanted {
    fn new(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Part(text.to_ascii_lowercase()), Self::Pattern)
    }

    fn takes(&self, operation: &Operation) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.matches(operation),
            Self::Part(part) => {
                operation.name().contains(part)
                    || operation.template().to_ascii_lowercase().contains(part)
                    || operation.method().as_str().eq_ignore_ascii_case(part)
            }
        }
    }
}

fn nothing_matches(pattern: &str, names: &[String]) -> Failure {
    let failure = Failure::failed(format!("no operation is like `{}`", pattern.escape_debug()));
    let mut known: Vec<String> = Vec::new();
    for (entity, action) in names.iter().filter_map(|name| name.split_once('.')) {
        // A word is compared with words, a name with names, a pattern with patterns.
        known.push(match pattern.split_once('.') {
            None => entity.to_owned(),
            Some((_, "*")) => format!("{entity}.*"),
            Some(("*", _)) => format!("*.{action}"),
            Some(_) => format!("{entity}.{action}"),
        });
    }
    known.dedup();
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let hint = suggestion(pattern, &known, "there are");
    failure.hint(hint.unwrap_or_else(|| "`pigello-gateway operations` lists all".to_owned()))
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
