//! `fleet wait`: waits until every member of a fleet uses a version of credentials.

use std::{collections::BTreeSet, io::Write, time::Duration};

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::AdminTarget;
use crate::{
    cli::Failure,
    domain::{Span, visible},
    fleet::{InUse, Members, Seen},
};

/// Waits until every member of the fleet uses that version of the credentials.
#[derive(Debug, clap::Args)]
pub(super) struct FleetWaitArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// The version, as `status` shows it.
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// The credential set; needed if the members have several.
    #[arg(long, value_name = "NAME", conflicts_with = "profile")]
    set: Option<String>,
    /// The profile, such as a member of a template.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// How many members there are at least. One that cannot reach the store is not seen, and may use the old version.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    members: usize,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: Span,
}

/// Waits, and says what it waited for if that is in vain.
pub(super) async fn wait(args: &FleetWaitArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = args.target.admin()?;
    let end = Instant::now() + *args.timeout;
    loop {
        let answer = admin.ask(Method::GET, "/fleet").await?;
        let late = match (answer.status, serde_json::from_str::<Members>(&answer.text)) {
            (StatusCode::OK, Ok(members)) => match args.late(&members)? {
                late if late.is_empty() => {
                    let count = members.members.len();
                    writeln!(out, "all of {count} members use {}", visible(&args.version))?;
                    return Ok(());
                }
                late => late,
            },
            // The store is away for a moment.
            (StatusCode::SERVICE_UNAVAILABLE, _) => vec![answer.text.trim_end().to_owned()],
            _ => return Err(admin.refused(&answer)),
        };
        if Instant::now() >= end {
            return Err(in_vain(&late, args));
        }
        sleep(EVERY.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

impl FleetWaitArgs {
    /// What is waited for: members that do not use the version, and what they use.
    fn late(&self, Members { members, unreadable }: &Members) -> Result<Vec<String>, Failure> {
        let all = || members.iter().flat_map(|seen| &seen.record.credentials);
        let sets: BTreeSet<_> = all().map(|used| &used.set).collect();
        if self.set.is_none() && self.profile.is_none() && sets.len() > 1 {
            return Err(Failure::usage("the members have several credential sets")
                .hint("name one with `--set`, or a profile with `--profile`"));
        }
        let mut late: Vec<_> = members.iter().filter_map(|seen| self.uses(seen)).collect();
        if *unreadable > 0 {
            late.push(format!("{unreadable} records that cannot be read"));
        }
        if members.len() < self.members {
            late.push(format!("only {} members are there", members.len()));
        }
        if !all().any(|used| self.is_meant(used)) {
            late.push("no member has such credentials".to_owned());
        }
        Ok(late)
    }

    /// What a member uses, if it is not the version.
    fn uses(&self, Seen { record, .. }: &Seen) -> Option<String> {
        let name = visible(&record.instance);
        let mut meant = record.credentials.iter().filter(|used| self.is_meant(used)).peekable();
        if meant.peek().is_none() && record.more > 0 {
            return Some(format!("{name} (does not name all of its profiles)"));
        }
        let other = meant.find(|used| used.version.as_ref() != Some(&self.version))?;
        let version = other.version.as_deref().unwrap_or("none");
        Some(format!("{name} ({} uses {})", visible(other.profile.as_str()), visible(version)))
    }

    fn is_meant(&self, used: &InUse) -> bool {
        self.set.as_ref().is_none_or(|set| *set == used.set)
            && self.profile.as_ref().is_none_or(|profile| *profile == used.profile.as_str())
    }
}

fn in_vain(late: &[String], args: &FleetWaitArgs) -> Failure {
    let named: Vec<_> = late.iter().take(MOST_NAMED).map(String::as_str).collect();
    let more = match late.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let version = visible(&args.version);
    let after = args.timeout;
    Failure::failed(format!(
        "{version} is not in use everywhere after {after}: {}{more}",
        named.join(", ")
    ))
    .hint("keep the old secret; `fleet status` shows every member")
}

/// A gateway reads the members once a second at most.
const EVERY: Duration = Duration::from_secs(1);
/// The members that are named.
const MOST_NAMED: usize = 20;
