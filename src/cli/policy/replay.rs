//! `policy replay`: what a configuration would do with the calls on the audit trail.
//!
//! A record has the listener, the proof of the caller, the method and the path of a call, so the call goes through
//! the decision again, with the field that names its profile. It has no query values, no other header fields, and of
//! a certificate one name only.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::{
    audit::CallLine,
    cli::{
        ConfigFiles, Failure,
        audit::{AuditExit, CallFilter, FoundContent, Trails, search},
        decision::{Decisions, Field, Line, PLACEHOLDER_ID, Verdict, profile_field},
        time::Zone,
    },
    domain::{UNIDENTIFIED, visible},
    error::Kind,
};

/// Says what a configuration would do with the calls on the audit trail: which it would refuse that were
/// served, and which it would let through that were refused.
///
/// The exit code is 1 if a call that was served would be refused, or if the trail does not cover the period that is
/// asked for. Standard error says what the trail covers.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The configuration to try.
    #[command(flatten)]
    files: ConfigFiles,
    /// The trail's directory, if it is not that of the configuration; more of them, such as those of replicas, are
    /// read as one trail
    #[arg(long = "directory", value_name = "DIR", num_args = 1..)]
    directories: Vec<PathBuf>,
    #[command(flatten)]
    filter: CallFilter,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What changes for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    /// It was served, and would be refused.
    Refused,
    /// It was served, and would be served and reported.
    Reported,
    /// The rules refused it, and would let it through.
    Allowed,
}

/// Calls that change alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Group {
    change: Change,
    caller: String,
    /// The operation of the record; `None` if it matched none.
    operation: Option<String>,
    /// The profile of the record, if that decides; `None` if it does not.
    profile: Option<String>,
}

/// How many calls of a group there are.
#[derive(Debug, Serialize)]
struct Tally {
    calls: u64,
    first: String,
    last: String,
    /// The rule that decides about the first of them.
    why: String,
}

/// What the replay found.
#[derive(Debug, Default)]
struct Found {
    groups: BTreeMap<Group, Tally>,
    judged: u64,
    /// Calls whose record has too little to decide about them.
    unjudged: u64,
    /// Calls that were refused for another reason than the rules.
    refused_otherwise: u64,
    /// Calls that change and that are in no group, because there are too many groups.
    ungrouped: u64,
}

pub(super) fn run(
    args: &ReplayArgs,
    out: &mut impl Write,
    notes: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let loaded = args.files.load()?.for_serving()?;
    let trails = Trails::of(&loaded.settings).or_at(&args.directories);
    let decisions = Decisions::of(&loaded.settings);
    let mut found = Found::default();
    let findings = search(&trails, &args.filter, |line| {
        if let FoundContent::Call(call) = line.content {
            found.note(&decisions, call);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if args.json {
        writeln!(out, "{:#}", found.to_json())?;
    } else {
        found.print(args.filter.zone(), out)?;
    }
    found.tell(notes)?;
    let is_covered = findings.conclude(notes)? == AuditExit::Success;
    if found.judged == 0 {
        writeln!(notes, "no call was judged, so this says nothing of the configuration")?;
    }
    let is_no = found.calls(Change::Refused) > 0 || found.judged == 0 || !is_covered;
    Ok(ExitCode::from(u8::from(is_no)))
}

impl Found {
    fn note(&mut self, decisions: &Decisions<'_>, call: &CallLine<'_>) {
        // The gateway's own calls need no permission.
        if call.cause.is_some() {
            return;
        }
        let was_served = call.outcome != "refused";
        if !was_served && !is_by_rules(call.error.as_deref()) {
            self.refused_otherwise += 1;
            return;
        }
        let Some(path) = call.path.as_deref().and_then(path_of) else {
            self.unjudged += 1;
            return;
        };
        self.judged += 1;
        let proof = call.caller_proof.as_deref().unwrap_or_default();
        let (verdict, error, why) = match decisions.recorded_entrance(&call.listener, proof) {
            Some(entrance) => {
                let line = Line { method: &call.method, target: &path };
                let body = body_of(call).filter(|_| was_served);
                let profile = call.profile.as_deref().and_then(profile_field);
                let fields: Vec<_> = body.into_iter().chain(profile).collect();
                let decision = decisions.decide(&entrance, line, &fields);
                (decision.verdict, decision.error.map(Kind::label), decision.why)
            }
            None => (Verdict::Refused, None, format!("there is no listener `{}`", call.listener)),
        };
        let change = match (was_served, verdict) {
            (true, Verdict::Refused) => Change::Refused,
            (true, Verdict::Reported) => Change::Reported,
            (false, Verdict::Allowed | Verdict::Reported | Verdict::Answered) => Change::Allowed,
            (true, Verdict::Allowed | Verdict::Answered) | (false, Verdict::Refused) => return,
        };
        let caller = call.caller.as_deref().unwrap_or(UNIDENTIFIED).to_owned();
        let operation = call.operation.as_deref().map(str::to_owned);
        let decides = if was_served { error } else { call.error.as_deref() };
        let profile = call.profile.as_deref().filter(|_| decides.is_some_and(is_about_profiles));
        let profile = profile.map(str::to_owned);
        self.count(Group { change, caller, operation, profile }, &call.time, why);
    }

    fn count(&mut self, group: Group, time: &str, why: String) {
        if let Some(calls) = self.groups.get_mut(&group) {
            calls.calls += 1;
            time.clone_into(&mut calls.last);
        } else if self.groups.len() < MOST_GROUPS {
            let (first, last) = (time.to_owned(), time.to_owned());
            self.groups.insert(group, Tally { calls: 1, first, last, why });
        } else {
            self.ungrouped += 1;
        }
    }

    fn of(&self, change: Change) -> impl Iterator<Item = (&Group, &Tally)> {
        self.groups.iter().filter(move |(group, _)| group.change == change)
    }

    fn calls(&self, change: Change) -> u64 {
        self.of(change).map(|(_, calls)| calls.calls).sum()
    }

    /// `14 calls of 3 callers`
    fn counted(&self, change: Change) -> String {
        let calls = self.calls(change);
        let callers: std::collections::BTreeSet<_> =
            self.of(change).map(|(group, _)| &group.caller).collect();
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let named = callers.len() as u64;
        format!("{calls} call{} of {named} caller{}", plural(calls), plural(named))
    }

    fn print(&self, zone: &Zone, out: &mut impl Write) -> io::Result<()> {
        let refused = self.counted(Change::Refused);
        writeln!(out, "would refuse {refused}, of {} that can be judged", self.judged)?;
        for (change, what) in [
            (Change::Reported, "would let through and report"),
            (Change::Allowed, "would let through, and they were refused:"),
        ] {
            if self.calls(change) > 0 {
                writeln!(out, "{what} {}", self.counted(change))?;
            }
        }
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "WOULD BE",
            "CALLER",
            "OPERATION",
            "PROFILE",
            "CALLS",
            "FIRST",
            "LAST",
            "RULE",
        ]);
        for (Group { change, caller, operation, profile }, calls) in &self.groups {
            let change = match change {
                Change::Refused => "refused",
                Change::Reported => "reported",
                Change::Allowed => "allowed",
            };
            table.add_row([
                change.to_owned(),
                visible(caller).into_owned(),
                visible(operation.as_deref().unwrap_or("none")).into_owned(),
                visible(profile.as_deref().unwrap_or("any")).into_owned(),
                calls.calls.to_string(),
                zone.show(&calls.first),
                zone.show(&calls.last),
                visible(&calls.why).into_owned(),
            ]);
        }
        if let Some(column) = table.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(out, "\n{}", table.trim_fmt())
    }

    /// What the replay cannot know.
    fn tell(&self, notes: &mut dyn Write) -> io::Result<()> {
        for (count, what) in [
            (self.unjudged, "have no path on record, or a part of it, and were not judged"),
            (
                self.refused_otherwise,
                "were refused for another reason than the rules, and were not judged",
            ),
            (
                self.ungrouped,
                "change as well, and are in no line: there are too many callers and operations",
            ),
        ] {
            if count > 0 {
                writeln!(notes, "{count} calls {what}")?;
            }
        }
        writeln!(
            notes,
            "a record has no query values, of the header fields only the profile's name, and of a certificate one name"
        )
    }

    fn to_json(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            group: &'a Group,
            #[serde(flatten)]
            calls: &'a Tally,
        }
        let rows: Vec<_> = self.groups.iter().map(|(group, calls)| Row { group, calls }).collect();
        serde_json::json!({
            "judged": self.judged,
            "would_refuse": self.calls(Change::Refused),
            "would_report": self.calls(Change::Reported),
            "would_allow": self.calls(Change::Allowed),
            "not_judged": self.unjudged,
            "refused_otherwise": self.refused_otherwise,
            "ungrouped": self.ungrouped,
            "changes": rows,
        })
    }
}

/// Whether a call was refused by a rule of the configuration.
fn is_by_rules(error: Option<&str>) -> bool {
    let rules = [
        Kind::NotAllowed,
        Kind::Unidentified,
        Kind::OperationUnknown,
        Kind::ProfileNotAllowed,
        Kind::ProfileNotNamed,
    ];
    rules.iter().any(|kind| error == Some(kind.label()))
}

/// Whether an error depends on the profile of the call.
fn is_about_profiles(error: &str) -> bool {
    let kinds = [Kind::ProfileNotAllowed, Kind::ProfileUnknown];
    kinds.iter().any(|kind| error == kind.label())
}

/// The path of a record as it was sent; `None` if a part of it is missing. An object whose UUID is hashed gets one
/// that no object has: which object it is decides nothing.
fn path_of(recorded: &str) -> Option<String> {
    if !recorded.starts_with('/') || recorded.ends_with('…') {
        return None;
    }
    let mut path = String::with_capacity(recorded.len());
    let mut rest = recorded;
    while let Some((before, from)) = rest.split_once('~') {
        path.push_str(before);
        let hash =
            from.get(..HASH_DIGITS).filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()));
        path.push_str(hash.map_or("~", |_| PLACEHOLDER_ID));
        rest = from.get(hash.map_or(0, str::len)..).unwrap_or_default();
    }
    path.push_str(rest);
    Some(path)
}

/// The size of a body that was sent, for the limits.
fn body_of(call: &CallLine<'_>) -> Option<Field> {
    let size = Some(call.request_bytes).filter(|size| *size > 0)?;
    Some((header::CONTENT_LENGTH, HeaderValue::from(size)))
}

/// The digits of a hashed object's name, behind its `~`.
const HASH_DIGITS: usize = 32;
/// Callers times operations times changes. A trail that has more is no use as a table.
const MOST_GROUPS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hashed_object_becomes_one_that_can_be_matched() {
        let hashed = format!("/tenant/~{}/", "0a".repeat(16));
        assert_eq!(path_of(&hashed), Some(format!("/tenant/{PLACEHOLDER_ID}/")));
        for same in ["/a/~b/", "/~", "/a/~0a~0a", "/a/"] {
            assert_eq!(path_of(same).as_deref(), Some(same));
        }
        for missing in ["", "*", "/a/b…"] {
            assert_eq!(path_of(missing), None);
        }
    }
}
