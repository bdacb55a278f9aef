//! `audit suggest-policy`: the `[[callers]]` entries that would allow what was called.
//!
//! It reads what happened; whether that should be allowed is for a person to say. So nothing is
//! widened: operations are listed one by one, and what failed for want of permission is a comment.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::Path,
};

use clap::Args;

use super::{AuditError, TrailLocation, calls, filter::CallFilter};
use crate::audit::CallLine;

/// Suggests a policy.
#[derive(Debug, Args)]
pub(super) struct SuggestArgs {
    #[command(flatten)]
    pub(super) source: TrailLocation,
    #[command(flatten)]
    filter: CallFilter,
}

/// What one caller did.
#[derive(Debug, Default)]
struct Seen {
    listeners: BTreeSet<String>,
    uids: BTreeSet<u32>,
    certificates: BTreeSet<String>,
    /// Calls of each operation that were answered.
    allowed: BTreeMap<String, u64>,
    /// Calls of each operation that were refused for want of permission.
    refused: BTreeMap<String, u64>,
}

/// A caller's name, or what an unnamed caller proved.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Named(String),
    Proof(String),
    Nobody,
}

pub(super) fn run(
    args: &SuggestArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let mut callers: BTreeMap<Who, Seen> = BTreeMap::new();
    let mut unmatched = 0;
    calls::for_each(directory, &args.filter, |call, _| {
        match call.operation.as_deref() {
            Some(operation) => note(&mut callers, call, operation),
            None => unmatched += 1,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    print(&callers, unmatched, out).map_err(AuditError::Output)
}

fn note(callers: &mut BTreeMap<Who, Seen>, call: &CallLine<'_>, operation: &str) {
    let proof = call.caller_proof.as_deref().unwrap_or_default();
    let uid: Option<u32> =
        proof.strip_prefix("uid=").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let certificate = proof.strip_prefix("certificate=");
    let who = match (call.caller.as_deref(), uid) {
        (Some(name), _) => Who::Named(name.to_owned()),
        // The process id of an unnamed caller is another one each time.
        (None, Some(uid)) => Who::Proof(format!("uid {uid}")),
        (None, None) => certificate.map_or(Who::Nobody, |name| Who::Proof(name.to_owned())),
    };
    let seen = callers.entry(who).or_default();
    seen.listeners.insert(call.listener.clone().into_owned());
    seen.uids.extend(uid);
    seen.certificates.extend(certificate.map(ToOwned::to_owned));
    let refused =
        matches!(call.error.as_deref(), Some("operation_not_allowed" | "caller_unidentified"));
    let operations = if refused { &mut seen.refused } else { &mut seen.allowed };
    *operations.entry(operation.to_owned()).or_default() += 1;
}

fn print(callers: &BTreeMap<Who, Seen>, unmatched: u64, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "# What was called, as a policy. Read it before you use it: it allows what happened,"
    )?;
    writeln!(out, "# which need not be what should happen.")?;
    for (who, seen) in callers {
        writeln!(out)?;
        let name = match who {
            Who::Named(name) => name.clone(),
            Who::Proof(proof) => {
                writeln!(out, "# This caller has no name yet; it showed: {}", comment(proof))?;
                name_for(proof)
            }
            Who::Nobody => {
                let listeners: Vec<_> = seen.listeners.iter().map(|name| toml(name)).collect();
                let listeners = listeners.join(", ");
                writeln!(out, "# These calls proved nothing. They came in on {listeners}:")?;
                writeln!(out, "# `caller = \"anyone\"` there gives them this name.")?;
                "anyone".to_owned()
            }
        };
        writeln!(out, "[[callers]]\nname = {}", toml(&name))?;
        if !seen.uids.is_empty() {
            let uids: Vec<_> = seen.uids.iter().map(ToString::to_string).collect();
            writeln!(out, "unix_uids = [{}]", uids.join(", "))?;
        }
        if !seen.certificates.is_empty() {
            let names: Vec<_> = seen.certificates.iter().map(|name| toml(name)).collect();
            writeln!(out, "tls_names = [{}]", names.join(", "))?;
        }
        writeln!(out, "allow = [")?;
        for (operation, count) in &seen.allowed {
            writeln!(out, "    {:<36} # {count} calls", format!("{},", toml(operation)))?;
        }
        let refused = seen.refused.iter().filter(|(name, _)| !seen.allowed.contains_key(*name));
        for (operation, count) in refused {
            writeln!(
                out,
                "    # {:<34} # refused, {count} calls",
                format!("{},", toml(operation))
            )?;
        }
        writeln!(out, "]")?;
    }
    if unmatched > 0 {
        writeln!(
            out,
            "\n# {unmatched} calls matched no operation: `audit query --format json` shows their paths."
        )?;
    }
    Ok(())
}

/// A name for a caller that has none.
fn name_for(proof: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = proof.chars().map(word).collect();
    name.trim_matches('-').to_owned()
}

/// A TOML string: JSON's escapes are a part of TOML's.
fn toml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn comment(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
