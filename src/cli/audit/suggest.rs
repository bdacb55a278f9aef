//! `audit suggest-policy`: prints `[[callers]]` entries that would allow the recorded calls.
//!
//! A person has to decide whether these calls should be allowed. So the suggestion does not widen
//! anything: it lists single operations, and refused operations are comments. Only the members of a template, if they
//! are many, become its pattern, with a remark.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
};

use clap::Args;

use super::{
    AuditExit, Streams,
    error::AuditError,
    filter::CallFilter,
    location::{TrailLocations, Trails},
    search::{FoundContent, search},
};
use crate::{
    audit::CallLine,
    domain::{ProfileName, ProfilePattern, is_visible, visible},
    process::users,
};

/// Suggests a policy.
#[derive(Debug, Args)]
pub(super) struct SuggestArgs {
    #[command(flatten)]
    pub(super) location: TrailLocations,
    #[command(flatten)]
    filter: CallFilter,
}

/// The calls of one caller.
#[derive(Debug, Default)]
struct CallerUsage {
    listeners: BTreeSet<String>,
    uids: BTreeSet<u32>,
    certificates: BTreeSet<String>,
    /// Allowed calls by operation.
    allowed: BTreeMap<String, u64>,
    /// Calls without permission, by operation.
    refused: BTreeMap<String, u64>,
    /// Calls by profile.
    profiles: BTreeMap<ProfileName, u64>,
    /// Calls for a profile that the caller may not use.
    refused_profiles: BTreeMap<ProfileName, u64>,
}

/// A caller's name, or the proof of an unnamed caller.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CallerKey {
    Named(String),
    Proof(String),
    /// A user whom the gateway's user namespace does not map.
    Unmapped,
    Unproven,
}

pub(super) fn run(
    args: &SuggestArgs,
    trails: &Trails,
    streams: &mut Streams<'_>,
) -> Result<AuditExit, AuditError> {
    let mut callers: BTreeMap<CallerKey, CallerUsage> = BTreeMap::new();
    let mut unmatched = 0;
    let findings = search(trails, &args.filter, |found| {
        if let FoundContent::Call(call) = found.content {
            match call.operation.as_deref() {
                // The gateway's own calls need no permission.
                _ if call.cause.is_some() => {}
                Some(operation) => note(&mut callers, call, operation),
                None => unmatched += 1,
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    print(&callers, &trails.templates, unmatched, streams.out).map_err(AuditError::Output)?;
    findings.conclude(streams.notes)
}

fn note(callers: &mut BTreeMap<CallerKey, CallerUsage>, call: &CallLine<'_>, operation: &str) {
    let proof = call.caller_proof.as_deref().unwrap_or_default();
    let seen: Option<u32> =
        proof.strip_prefix("uid=").and_then(|rest| rest.split(' ').next()?.parse().ok());
    // Older trails have the overflow id like any other.
    let uid = seen.filter(|uid| !users::is_overflow(*uid));
    let is_unmapped = proof.starts_with("unmapped ") || seen != uid;
    let certificate = proof.strip_prefix("certificate=");
    let key = match (call.caller.as_deref(), uid) {
        (Some(name), _) => CallerKey::Named(name.to_owned()),
        // Without the process id, which differs each time.
        (None, Some(uid)) => CallerKey::Proof(format!("uid {uid}")),
        (None, None) if is_unmapped => CallerKey::Unmapped,
        (None, None) => {
            certificate.map_or(CallerKey::Unproven, |name| CallerKey::Proof(name.to_owned()))
        }
    };
    let usage = callers.entry(key).or_default();
    usage.listeners.insert(call.listener.clone().into_owned());
    usage.uids.extend(uid);
    usage.certificates.extend(certificate.map(ToOwned::to_owned));
    let profile = call.profile.as_deref().map(ProfileName::new);
    match call.error.as_deref() {
        Some("profile_not_allowed") => {
            if let Some(profile) = profile {
                *usage.refused_profiles.entry(profile).or_default() += 1;
            }
            return;
        }
        // Nobody has it, so nobody needs it.
        Some("profile_unknown") => {}
        _ => {
            if let Some(profile) = profile {
                *usage.profiles.entry(profile).or_default() += 1;
            }
        }
    }
    let refused =
        matches!(call.error.as_deref(), Some("operation_not_allowed" | "caller_unidentified"));
    let operations = if refused { &mut usage.refused } else { &mut usage.allowed };
    *operations.entry(operation.to_owned()).or_default() += 1;
}

fn print(
    callers: &BTreeMap<CallerKey, CallerUsage>,
    templates: &[ProfilePattern],
    unmatched: u64,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(
        out,
        "# A policy that allows the recorded calls. Read it before you use it: it may allow calls"
    )?;
    writeln!(out, "# that should not happen.")?;
    for (key, usage) in callers {
        writeln!(out)?;
        let name = match key {
            CallerKey::Named(name) => name.clone(),
            CallerKey::Proof(proof) => {
                writeln!(out, "# This caller has no name. Its proof: {}", visible(proof))?;
                name_for(proof)
            }
            CallerKey::Unmapped => {
                let count: u64 = usage.allowed.values().chain(usage.refused.values()).sum();
                writeln!(
                    out,
                    "# {count} calls came from users that the gateway's user namespace does not map. Their id\n\
                     # stands for many users, so no entry can be for one of them. Run the gateway without that\n\
                     # namespace (systemd: no PrivateUsers=yes), and they are told apart."
                )?;
                continue;
            }
            CallerKey::Unproven => {
                let listeners: Vec<_> = usage.listeners.iter().map(|name| toml(name)).collect();
                let listeners = listeners.join(", ");
                writeln!(
                    out,
                    "# These calls had no proof of a caller. They arrived at {listeners}:"
                )?;
                writeln!(out, "# `caller = \"anyone\"` there gives them this name.")?;
                "anyone".to_owned()
            }
        };
        writeln!(out, "[[callers]]\nname = {}", toml(&name))?;
        if !usage.uids.is_empty() {
            let uids: Vec<_> = usage.uids.iter().map(ToString::to_string).collect();
            writeln!(out, "unix_uids = [{}]", uids.join(", "))?;
        }
        if !usage.certificates.is_empty() {
            let names: Vec<_> = usage.certificates.iter().map(|name| toml(name)).collect();
            writeln!(out, "tls_names = [{}]", names.join(", "))?;
        }
        writeln!(out, "allow = [")?;
        for (operation, count) in &usage.allowed {
            writeln!(out, "    {:<36} # {count} calls", format!("{},", toml(operation)))?;
        }
        let refused = usage.refused.iter().filter(|(name, _)| !usage.allowed.contains_key(*name));
        for (operation, count) in refused {
            writeln!(
                out,
                "    # {:<34} # refused, {count} calls",
                format!("{},", toml(operation))
            )?;
        }
        writeln!(out, "]")?;
        profiles(usage, templates, out)?;
    }
    if unmatched > 0 {
        writeln!(
            out,
            "\n# {unmatched} calls matched no operation: `audit query --format json` shows their paths."
        )?;
    }
    Ok(())
}

/// Lists the profiles, if the calls can have named them. A template stands for its members if they are many.
fn profiles(
    usage: &CallerUsage,
    templates: &[ProfilePattern],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let template_of = |name: &ProfileName| {
        let matching = templates.iter().filter(|template| template.matches(name));
        matching.max_by_key(|template| template.specificity())
    };
    let is_named = usage.profiles.len() > 1
        || !usage.refused_profiles.is_empty()
        || usage.profiles.keys().any(|name| template_of(name).is_some());
    if !is_named {
        return Ok(());
    }
    let mut members: BTreeMap<&ProfilePattern, (u64, u64)> = BTreeMap::new();
    for (name, calls) in &usage.profiles {
        if let Some(template) = template_of(name) {
            let (count, all) = members.entry(template).or_default();
            (*count, *all) = (*count + 1, *all + calls);
        }
    }
    members.retain(|_, (count, _)| *count >= MANY_MEMBERS);
    writeln!(out, "profiles = [")?;
    let mut line = |name: &str, remark: &str| {
        writeln!(out, "    {:<36} # {remark}", format!("{},", toml(name)))
    };
    for (template, (count, calls)) in &members {
        line(
            &template.to_string(),
            &format!("{calls} calls for {count} members; it allows all others too"),
        )?;
    }
    for (name, calls) in &usage.profiles {
        if template_of(name).is_none_or(|template| !members.contains_key(template)) {
            line(name.as_str(), &format!("{calls} calls"))?;
        }
    }
    for (name, calls) in usage.refused_profiles.iter().take(MOST_REFUSED) {
        writeln!(
            out,
            "    # {:<34} # refused, {calls} calls",
            format!("{},", toml(name.as_str()))
        )?;
    }
    if usage.refused_profiles.len() > MOST_REFUSED {
        writeln!(
            out,
            "    # and {} more that were refused",
            usage.refused_profiles.len() - MOST_REFUSED
        )?;
    }
    writeln!(out, "]")
}

/// So many members are not listed one by one.
const MANY_MEMBERS: u64 = 10;
/// A caller may ask for any name.
const MOST_REFUSED: usize = 20;

/// A name for a caller that has none.
fn name_for(proof: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = proof.chars().map(word).collect();
    name.trim_matches('-').to_owned()
}

/// A TOML string: JSON's escapes are a part of TOML's. What cannot be seen is escaped too.
fn toml(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let escape = |character: char| match character {
        seen if is_visible(seen) => seen.to_string(),
        other => format!("\\U{:08X}", u32::from(other)),
    };
    quoted.chars().map(escape).collect()
}
