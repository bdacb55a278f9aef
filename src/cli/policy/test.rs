//! `policy test`: whether a configuration decides as a file expects.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use serde::Serialize;

use super::expectations::{Expected, Request, What, read};
use crate::{
    cli::{
        ConfigFiles, Failure,
        decision::{Decision, Decisions, Expectation, Line, Verdict},
    },
    domain::{Operation, ProfileName, UNIDENTIFIED, visible},
    error::Kind,
};

/// Tests who may do what against expectations in a file.
///
/// Each `[[expect]]` names a request (`request`, `operation`, or `method` and `path`), a `caller`, and a `verdict` as
/// `explain --expect` takes it; or an `operation` and `only`, the callers who may use it. `profile` is
/// the profile that the request names. The exit code is 1 if an
/// expectation is not met.
#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// Where the configuration is.
    #[command(flatten)]
    files: ConfigFiles,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// A file of expectations. May be repeated.
    #[arg(value_name = "FILE", required = true)]
    expectations: Vec<PathBuf>,
}

/// What came of one expectation.
#[derive(Debug, Serialize)]
struct Outcome {
    /// `FILE:LINE`.
    place: String,
    met: bool,
    /// What is otherwise than expected, and why.
    found: Vec<String>,
    /// What is as expected, and may be so by mistake.
    notes: Vec<String>,
}

/// Tests, and prints what is not met.
pub(super) fn run(args: &TestArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let loaded = args.files.load()?.for_serving()?;
    let decisions = Decisions::of(&loaded.settings);
    let mut mistakes = Vec::new();
    let files = args.expectations.iter();
    let expected: Vec<_> = files.flat_map(|path| read(path, &decisions, &mut mistakes)).collect();
    if !mistakes.is_empty() {
        return Err(Failure::Mistakes(mistakes, "nothing was tested"));
    }
    let outcomes: Vec<_> =
        expected.into_iter().map(|expected| judge(&decisions, expected)).collect();
    let unmet = outcomes.iter().filter(|outcome| !outcome.met).count();
    if args.json {
        let met = outcomes.len() - unmet;
        let summary = serde_json::json!({ "met": met, "unmet": unmet, "expectations": outcomes });
        writeln!(out, "{summary:#}")?;
    } else {
        print(&outcomes, unmet, out)?;
    }
    Ok(ExitCode::from(u8::from(unmet > 0)))
}

fn print(outcomes: &[Outcome], unmet: usize, out: &mut impl Write) -> io::Result<()> {
    for Outcome { place, found, notes, .. } in outcomes {
        for found in found {
            writeln!(out, "{place}: {}", visible(found))?;
        }
        for note in notes {
            writeln!(out, "note: {place}: {}", visible(note))?;
        }
    }
    let (all, met) = (outcomes.len(), outcomes.len() - unmet);
    let word = if all == 1 { "expectation" } else { "expectations" };
    match unmet {
        0 => writeln!(out, "{all} {word}, all met"),
        unmet => writeln!(out, "{all} {word}: {met} met, {unmet} not met"),
    }
}

fn judge(decisions: &Decisions<'_>, Expected { place, what }: Expected<'_>) -> Outcome {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    match what {
        What::Verdict { entrance, requests, verdict } => {
            let listener = &entrance.listener().name;
            for request in &requests {
                let Request { method, target, fields, profile } = request;
                let decision = decisions.decide(&entrance, Line { method, target }, fields);
                let (request, becomes) = (in_words(request, &decision), decision.in_words());
                let why = &decision.why;
                let other = decision.profile.as_ref().filter(|_| profile.is_some());
                if let Some(other) = other.filter(|other| profile.as_ref() != Some(other)) {
                    found.push(format!(
                        "{request} on `{listener}` is for the profile `{other}`, whatever it names"
                    ));
                } else if !verdict.is_met(&decision) {
                    found.push(format!(
                        "expected `{verdict}`, and {request} on `{listener}` is {becomes}: {why}"
                    ));
                } else if verdict == Expectation::REFUSED && !is_about_the_caller(&decision) {
                    notes.push(format!(
                        "{request} on `{listener}` is {becomes} for any caller: {why}"
                    ));
                }
            }
        }
        What::Only { pattern, operations, callers, profile } => {
            found = beyond(decisions, &pattern, &operations, &callers, profile.as_ref());
        }
    }
    Outcome { place, met: found.is_empty(), found, notes }
}

/// Whether a request is refused because of who calls: another one may be refused for a slip in the file.
fn is_about_the_caller(decision: &Decision) -> bool {
    matches!(decision.error, Some(Kind::NotAllowed | Kind::Unidentified | Kind::ProfileNotAllowed))
}

/// `` `GET /accounts/…` (`subtenant.list`) of `billing` ``
fn in_words(Request { method, target, .. }: &Request, decision: &Decision) -> String {
    let path = target.split('?').next().unwrap_or_default();
    let caller = decision.caller_name().unwrap_or(UNIDENTIFIED);
    match decision.operation_name() {
        Some(operation) => format!("`{method} {path}` (`{operation}`) of `{caller}`"),
        None => format!("`{method} {path}` of `{caller}`"),
    }
}

/// Who else may use one of the operations, and which of the callers may use none.
fn beyond(
    decisions: &Decisions<'_>,
    pattern: &str,
    operations: &[Arc<Operation>],
    callers: &BTreeSet<String>,
    profile: Option<&ProfileName>,
) -> Vec<String> {
    let mut may: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for operation in operations {
        let everybody = match profile {
            Some(profile) => decisions.for_everybody_with(profile, operation),
            None => decisions.for_everybody(operation),
        };
        for (caller, decision) in everybody {
            if matches!(decision.verdict, Verdict::Allowed | Verdict::Reported) {
                let why = match decision.verdict {
                    Verdict::Reported => "`policy.mode` only reports".to_owned(),
                    _ => decision.why,
                };
                may.entry(caller).or_default().push((operation.name(), why));
            }
        }
    }
    let named: Vec<_> = callers.iter().map(|name| format!("`{name}`")).collect();
    let with = profile.map_or_else(String::new, |name| format!(" with the profile `{name}`"));
    let only = match named.as_slice() {
        [] => format!("expected that nobody may use `{pattern}`{with}"),
        named => format!("expected that only {} may use `{pattern}`{with}", named.join(", ")),
    };
    let others = may.iter().filter(|(caller, _)| !callers.contains(**caller));
    let others = others.map(|(caller, used)| {
        let names: Vec<_> = used.iter().map(|(name, _)| *name).collect();
        let why = used.first().map_or("", |(_, why)| why.as_str());
        format!("{only}, and `{caller}` may use {}: {why}", names.join(", "))
    });
    let without = callers.iter().filter(|name| !may.contains_key(name.as_str()));
    let without = without.map(|name| format!("{only}, and `{name}` may use none of it"));
    others.chain(without).collect()
}
