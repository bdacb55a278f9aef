//! Which calls lead to a profile: on which listener, of which caller, and by what it is named.
//!
//! The order is that of a call: the listener, the caller's entry, then the request (its host or its field).

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::{
    app,
    cli::decision::Decisions,
    config::{Settings, types::Listener},
    domain::{Caller, PROFILE_PLACE, ProfileName, ProfilePattern, Proof, UNIDENTIFIED},
    proxy::{call::ChosenBy, stages::authorize::Access},
};

/// Calls that lead to a profile, and may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Way {
    pub(super) listener: String,
    pub(super) caller: String,
    /// What names the profile.
    pub(super) named_by: NamedBy,
    /// The hosts that name it, if the request does.
    pub(super) hosts: Vec<String>,
    /// The operations that the caller may use; `None` if no entry says so.
    pub(super) allow: Option<Vec<String>>,
}

/// What names the profile of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NamedBy {
    /// `profile` of the listener.
    Listener,
    /// `profile` of the caller's entry.
    Caller,
    /// The host, or the field `Pigello-Gateway-Profile`.
    Request,
}

/// The ways to one profile.
pub(super) fn to_profile(name: &ProfileName, settings: &Settings) -> BTreeSet<Way> {
    let (decisions, policy) = (Decisions::of(settings), app::policy(settings));
    let mut ways = BTreeSet::new();
    for listener in &settings.listeners {
        let names = decisions.callers().into_iter().map(Some).chain([None]);
        for caller in names.filter_map(|caller| caller_on(&decisions, listener, caller)) {
            let rule = match &caller {
                Caller::Known { rule, .. } => rule.as_deref(),
                Caller::Unidentified { .. } if policy.unidentified == Access::Deny => continue,
                Caller::Unidentified { .. } => None,
            };
            let own = rule.and_then(|rule| rule.profile.as_ref());
            let (named_by, by, leads) = match (&listener.profile, own) {
                (Some(fixed), _) => (NamedBy::Listener, ChosenBy::Listener, fixed == name),
                (None, Some(own)) => (NamedBy::Caller, ChosenBy::Caller, own == name),
                (None, None) => (NamedBy::Request, ChosenBy::Request, name.is_nameable()),
            };
            if !leads || policy.permits_profile(&caller, name, by).is_err() {
                continue;
            }
            ways.insert(Way {
                listener: listener.name.to_string(),
                caller: caller.name().map_or(UNIDENTIFIED, |name| name).to_owned(),
                named_by,
                hosts: if named_by == NamedBy::Request { hosts(listener) } else { Vec::new() },
                allow: rule.map(|rule| rule.allow.iter().map(ToString::to_string).collect()),
            });
        }
    }
    ways
}

/// The ways to some profile of a table.
pub(super) fn to_table(table: &ProfileName, settings: &Settings) -> BTreeSet<Way> {
    let Some(pattern) = table.template() else { return to_profile(table, settings) };
    let exactly = |name: &ProfileName| ProfilePattern::Exactly(name.clone());
    let listeners = settings.listeners.iter().filter_map(|listener| listener.profile.as_ref());
    let entries = settings.callers.iter().filter_map(|rule| rule.profile.as_ref());
    let listed = settings.callers.iter().flat_map(|rule| rule.profiles.iter().cloned());
    let named = listeners.chain(entries).map(exactly).chain(listed);
    let members = named.filter_map(|named| named.common(&pattern));
    let of_table = members.filter(|name| settings.profile(name).is_some_and(|(of, _)| of == table));
    of_table.flat_map(|name| to_profile(&name, settings)).collect()
}

/// The caller of that name on a listener, if it can be proved there; without a name, whoever comes in and is nobody
/// else.
fn caller_on(
    decisions: &Decisions<'_>,
    listener: &Listener,
    caller: Option<&str>,
) -> Option<Caller> {
    let Some(name) = caller else {
        return listener
            .caller
            .is_none()
            .then_some(Caller::Unidentified { proof: Proof::Listener });
    };
    decisions.entrance(Some(listener.name.as_str()), Some(name)).ok()?;
    let rules = &decisions.settings().callers;
    Some(Caller::Known {
        rule: rules.iter().find(|rule| &*rule.name == name).cloned(),
        name: name.into(),
        proof: Proof::Listener,
    })
}

fn hosts(listener: &Listener) -> Vec<String> {
    let hosts = listener.allowed_hosts.iter();
    hosts.filter(|host| host.contains(PROFILE_PLACE)).cloned().collect()
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, caller, named_by, hosts, allow } = self;
        write!(f, "`{caller}` on `{listener}`, ")?;
        match named_by {
            NamedBy::Listener => f.write_str("whose calls all go there")?,
            NamedBy::Caller => f.write_str("as its entry says")?,
            NamedBy::Request => {
                f.write_str("by the field Pigello-Gateway-Profile")?;
                hosts.iter().try_for_each(|host| write!(f, " or the host {host}"))?;
            }
        }
        match allow {
            Some(allow) if allow.is_empty() => f.write_str("; it may use nothing"),
            Some(allow) => write!(f, "; it may use {}", allow.join(", ")),
            None => Ok(()),
        }
    }
}
