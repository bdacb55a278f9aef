//! Tests the profiles: the credentials of each and the way to its upstream.
//!
//! The members of a template are many, and only some are looked at: one by its name, a sample, or all that the
//! template's source can list. The way to the upstream is the same for all of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{Report, Step, advice, credentials, machine::Clock, upstream, upstream::Looked};
use crate::{
    cli::probe::ProbeTrail,
    config::{Settings, types::Profile},
    credentials::{CredentialSet, Sources, load, members},
    domain::{CredentialsName, ProfileName},
    error::Chain,
};

/// Which profiles to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileChoice {
    /// All, with every member that a source can list.
    All,
    /// All that have tables of their own, and some members of each template.
    Sample,
    /// One.
    Named(ProfileName),
}

impl FromStr for ProfileChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "all" => Self::All,
            "sample" => Self::Sample,
            name => Self::Named(ProfileName::new(name)),
        })
    }
}

/// Looks at the chosen profiles. Returns the clocks of their vaults and upstreams.
pub(super) async fn look(
    settings: &Settings,
    running: Option<&Value>,
    call: bool,
    choice: Option<&ProfileChoice>,
    report: &mut Report,
) -> Vec<Clock> {
    if let Some(ProfileChoice::Named(name)) = choice {
        return look_at_profile(name, settings, running, call, report).await;
    }
    let (mut sets, mut clocks) = (BTreeMap::new(), Vec::new());
    let sources = Sources::default();
    for (name, set) in &settings.credentials {
        if is_template(settings, name) {
            let why = "a template: `--profile` NAME, `sample` or `all` looks at its members";
            report.push(Step::skipped(format!("credentials {name}"), why));
            continue;
        }
        let (read, observed) = credentials::look(set, &sources, running, report).await;
        if let Some(read) = read {
            sets.insert(name, read);
        }
        clocks.extend(observed.and_then(|observed| {
            let ahead = observed.clock_offset()?;
            Some(Clock { said_by: format!("the vault of {name}"), ahead })
        }));
    }
    for (name, profile) in &settings.profiles {
        let looked = Looked { name, table: name, profile, settings };
        if name.template().is_none() {
            let set = sets.get(&profile.credentials).filter(|_| call).ok_or(NO_CALL);
            clocks.extend(upstream::look(looked, set, report).await);
            continue;
        }
        let why = "made with the credentials of a member";
        clocks.extend(upstream::look(looked, Err(why), report).await);
        if let Some(choice) = choice {
            look_at_members(looked, &sources, choice, call, report).await;
        }
    }
    clocks
}

/// Looks at one profile, which has a table of its own or is a member of a template, step by step.
async fn look_at_profile(
    name: &ProfileName,
    settings: &Settings,
    running: Option<&Value>,
    call: bool,
    report: &mut Report,
) -> Vec<Clock> {
    let found = settings.profile(name).and_then(|(table, profile)| {
        Some((table, profile, set_of(name, table, profile, settings)?))
    });
    let Some((table, profile, set)) = found else {
        let known: Vec<_> = settings.profiles.keys().map(ProfileName::as_str).collect();
        let hint = format!("the configuration has: {}", known.join(", "));
        let step = Step::bad(format!("profile {name}"), "no table has this name or matches it");
        report.push(step.advise(Some(hint)));
        return Vec::new();
    };
    let (read, observed) = credentials::look(&set, &Sources::default(), running, report).await;
    let vault = observed.and_then(|observed| {
        let ahead = observed.clock_offset()?;
        Some(Clock { said_by: format!("the vault of {name}"), ahead })
    });
    let read = read.as_ref().filter(|_| call).ok_or(NO_CALL);
    let looked = Looked { name, table, profile, settings };
    let upstream = upstream::look(looked, read, report).await;
    vault.into_iter().chain(upstream).collect()
}

/// Looks at the way to a profile's upstream, and sends a request with the set, if there is one.
pub(in crate::cli) async fn look_at_upstream(
    name: &ProfileName,
    settings: &Settings,
    set: Option<&CredentialSet>,
    report: &mut Report,
) {
    if let Some((table, profile)) = settings.profile(name) {
        let looked = Looked { name, table, profile, settings };
        upstream::look(looked, set.ok_or(NO_CALL), report).await;
    }
}

/// The settings of a profile's credentials.
pub(in crate::cli) fn set_of<'a>(
    name: &ProfileName,
    table: &ProfileName,
    profile: &Profile,
    settings: &'a Settings,
) -> Option<Cow<'a, crate::credentials::Settings>> {
    let set = settings.credentials.get(&profile.credentials)?;
    Some(match table.template() {
        Some(_) => Cow::Owned(set.for_member(name)),
        None => Cow::Borrowed(set),
    })
}

/// Whether only members of templates have values of this set.
fn is_template(settings: &Settings, set: &CredentialsName) -> bool {
    let mut tables = settings.profiles.iter().filter(|(_, table)| table.credentials == *set);
    let is_used = tables.clone().next().is_some();
    is_used && tables.all(|(name, _)| name.template().is_some())
}

/// The members of a template that its source has, without those of which another table has more to say.
pub(in crate::cli) async fn members_of(
    table: &ProfileName,
    settings: &Settings,
    sources: &Sources,
) -> Result<BTreeSet<ProfileName>, crate::credentials::LoadError> {
    let set = settings.profiles.get(table).and_then(|it| settings.credentials.get(&it.credentials));
    let Some(set) = set else { return Ok(BTreeSet::new()) };
    let mut names = members(set, sources).await?;
    names.retain(|name| settings.profile(name).is_some_and(|(of, _)| of == table));
    Ok(names)
}

/// Looks at the members of a template, a line each.
async fn look_at_members(
    template: Looked<'_>,
    sources: &Sources,
    choice: &ProfileChoice,
    call: bool,
    report: &mut Report,
) {
    let Looked { table, profile, settings, .. } = template;
    let what = format!("members of {table}");
    let names = match members_of(table, settings, sources).await {
        Ok(names) => names,
        Err(error) => {
            let set = settings.credentials.get(&profile.credentials);
            let hint = set.and_then(|set| advice::for_credentials(&error, set));
            report.push(Step::bad(what, Chain(&error).to_string()).advise(hint));
            return;
        }
    };
    let all = names.len();
    let chosen: BTreeSet<_> = match choice {
        ProfileChoice::Sample => fastrand::choose_multiple(names, SAMPLE).into_iter().collect(),
        ProfileChoice::All | ProfileChoice::Named(_) => names,
    };
    let trail = match call.then(|| ProbeTrail::open(settings)).transpose() {
        Ok(trail) => trail,
        Err(failure) => {
            let (text, hint) = failure.text();
            let text =
                format!("no call is made, because it would not be on the audit trail: {text}");
            report.push(Step::doubtful(&*what, text).advise(hint));
            None
        }
    };
    let mut progress = Progress { of: chosen.len(), done: 0, is_shown: io::stderr().is_terminal() };
    let mut steps = stream::iter(&chosen)
        .map(|name| look_at_member(Looked { name, ..template }, sources, trail.as_ref()))
        .buffered(AT_ONCE);
    let mut failed = 0;
    while let Some(step) = steps.next().await {
        failed += usize::from(step.is_bad());
        report.push(step);
        progress.one_more();
    }
    drop((steps, progress));
    if let Some(trail) = trail
        && let Err(error) = trail.close().await
    {
        report.push(upstream::found(what.clone(), Err(error), std::time::Duration::ZERO));
    }
    let looked_at = match chosen.len() {
        0 => return report.push(Step::doubtful(what, "the source has none")),
        some if some == all => format!("{all} in the source"),
        some => format!("{some} of {all} in the source were looked at"),
    };
    report.push(match failed {
        0 => Step::good(what, format!("{looked_at}; every one is in order")),
        failed => {
            Step::doubtful(what, format!("{looked_at}; {failed} are not in order, see above"))
        }
    });
}

/// Reads the credentials of a member, and tries them if there is a trail to put the call on.
async fn look_at_member(looked: Looked<'_>, sources: &Sources, trail: Option<&ProbeTrail>) -> Step {
    let Looked { name, table, profile, settings } = looked;
    let what = format!("profile {name}");
    let Some(set) = set_of(name, table, profile, settings) else {
        return Step::bad(what, "it has no credentials");
    };
    let read = match load(&set, sources).await.0 {
        Ok(read) => read,
        Err(error) => {
            let hint = advice::for_credentials(&error, &set);
            return Step::bad(what, Chain(&error).to_string()).advise(hint);
        }
    };
    let found = format!("all seven values, version {}", read.version());
    let Some(trail) = trail else { return Step::good(what, found) };
    tried(looked, &read, trail, what).await.after(&found)
}

async fn tried(looked: Looked<'_>, set: &CredentialSet, trail: &ProbeTrail, what: String) -> Step {
    let probe = match looked.probe(set) {
        Ok(probe) => probe,
        Err(step) => return step,
    };
    let began = Instant::now();
    let answer = probe.make_on(trail).await;
    upstream::found(what, answer, began.elapsed())
}

/// How far it is, on a terminal.
struct Progress {
    of: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    fn one_more(&mut self) {
        self.done += 1;
        if self.is_shown {
            // A failure to show the progress does not matter.
            drop(write!(io::stderr(), "\r\x1b[K{} of {} members", self.done, self.of));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

/// Why a profile is not called.
const NO_CALL: &str = "not made without credentials, or not wanted";
/// Enough to find what is wrong with all of them.
const SAMPLE: usize = 10;
/// A vault and Pigello have other callers.
const AT_ONCE: usize = 8;
