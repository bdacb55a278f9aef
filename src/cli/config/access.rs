//! Who may do what under one configuration, and how that differs under another.
//!
//! What is compared is what becomes of each operation for each caller. So a pattern that is written in another way
//! is no difference, and a rule that no listener leads to gives no access.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{
    cli::{
        check::proofs,
        decision::{Decisions, Line, Verdict},
    },
    config::Settings,
    domain::{CallerRule, ProfilePattern, UNIDENTIFIED},
};

/// Who may do what: the operations of each caller, by name.
#[derive(Debug)]
pub(super) struct AccessRights {
    callers: BTreeMap<String, Caller>,
    /// Every operation of the catalogue.
    operations: BTreeSet<String>,
}

/// One caller.
#[derive(Debug)]
struct Caller {
    may: BTreeSet<String>,
    /// How it is known.
    proofs: String,
    /// The profiles that its entry lists or names.
    profiles: BTreeSet<ProfilePattern>,
}

/// What changes for one caller.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct CallerChange {
    pub(super) caller: String,
    pub(super) change: Presence,
    /// The operations that it may use now.
    pub(super) gained: BTreeSet<String>,
    /// The operations that it may no longer use.
    pub(super) lost: BTreeSet<String>,
    /// The profiles that it may use now.
    pub(super) profiles_gained: Vec<String>,
    /// The profiles that it may no longer use.
    pub(super) profiles_lost: Vec<String>,
    /// How it was known, and how it is known now.
    pub(super) proofs: [Option<String>; 2],
}

/// Whether a caller is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Presence {
    New,
    Gone,
    Kept,
}

impl AccessRights {
    pub(super) fn of(settings: &Settings) -> Self {
        let decisions = Decisions::of(settings);
        let proofs = |name: &str| {
            let rule = settings.callers.iter().find(|rule| &*rule.name == name);
            rule.map_or_else(|| "known by its listener".to_owned(), |rule| proofs(rule, settings))
        };
        let profiles = |name: &str| {
            let rules = settings.callers.iter().filter(|rule| &*rule.name == name);
            let own = |rule: &CallerRule| rule.profile.clone().map(ProfilePattern::Exactly);
            rules.flat_map(|rule| rule.profiles.iter().cloned().chain(own(rule))).collect()
        };
        let caller = |name: &str| Caller {
            may: BTreeSet::new(),
            proofs: proofs(name),
            profiles: profiles(name),
        };
        let named = decisions.callers().into_iter();
        let mut callers: BTreeMap<_, _> =
            named.map(|name| (name.to_owned(), caller(name))).collect();
        let (may, profiles) = (BTreeSet::new(), BTreeSet::new());
        let nobody = Caller { may, proofs: String::new(), profiles };
        callers.insert(UNIDENTIFIED.to_owned(), nobody);
        for operation in settings.catalog.operations() {
            for (caller, decision) in decisions.for_everybody(operation) {
                // Under `mode = "report"` the rules are the same; the mode is told by itself.
                if decision.verdict == Verdict::Allowed
                    && let Some(caller) = callers.get_mut(caller)
                {
                    caller.may.insert(operation.name().to_owned());
                }
            }
        }
        for (name, caller) in &mut callers {
            let entrance = match name.as_str() {
                UNIDENTIFIED => decisions.strangers_entrance(),
                name => decisions.entrance(None, Some(name)).ok(),
            };
            let decision = entrance.map(|entrance| decisions.decide(&entrance, NO_OPERATION, &[]));
            if decision.is_some_and(|decision| decision.verdict == Verdict::Allowed) {
                caller.may.insert(ANYTHING_ELSE.to_owned());
            }
        }
        let operations = settings.catalog.operations().iter();
        let operations = operations.map(|operation| operation.name().to_owned()).collect();
        Self { callers, operations }
    }

    /// The callers for whom something changes, compared with an earlier configuration.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<CallerChange> {
        let names: BTreeSet<_> = before.callers.keys().chain(self.callers.keys()).collect();
        let nothing = BTreeSet::new();
        let changes = names.into_iter().map(|name| {
            let (old, new) = (before.callers.get(name), self.callers.get(name));
            let may =
                |caller: Option<&Caller>| caller.map_or_else(|| nothing.clone(), |c| c.may.clone());
            let (could, can) = (may(old), may(new));
            let none = BTreeSet::new();
            let [had, has] = [old, new].map(|it| it.map_or(&none, |caller| &caller.profiles));
            CallerChange {
                caller: name.clone(),
                change: match (old, new) {
                    (None, _) => Presence::New,
                    (_, None) => Presence::Gone,
                    _ => Presence::Kept,
                },
                gained: &can - &could,
                lost: &could - &can,
                profiles_gained: beyond(has, had),
                profiles_lost: beyond(had, has),
                proofs: [old, new].map(|caller| caller.map(|caller| caller.proofs.clone())),
            }
        });
        changes.filter(CallerChange::is_one).collect()
    }

    /// Whether a caller may do nothing at all.
    pub(super) fn has_nothing(&self, caller: &str) -> bool {
        self.callers.get(caller).is_none_or(|caller| caller.may.is_empty())
    }

    /// What a caller may do, in words.
    pub(super) fn in_words(&self, used: &BTreeSet<String>) -> String {
        if used.is_empty() {
            return "use nothing".to_owned();
        }
        let (mut left, mut parts) = (used.clone(), Vec::new());
        let mut take = |all: BTreeSet<String>,
                        words: &dyn Fn(usize) -> String,
                        left: &mut BTreeSet<String>| {
            if all.len() > 1 && all.is_subset(left) {
                *left = &*left - &all;
                parts.push(words(all.len()));
            }
        };
        let every = |count: usize| format!("use every operation (`*`, {count})");
        take(self.operations.clone(), &every, &mut left);
        for entity in self.halves(|(entity, _)| entity) {
            let all = self.operations_with(|(of, _)| of == entity);
            take(
                all,
                &|count| format!("do everything with {entity} objects (`{entity}.*`, {count})"),
                &mut left,
            );
        }
        for action in self.halves(|(_, action)| action) {
            let all = self.operations_with(|(_, of)| of == action);
            let Some(verb) = verb(action) else { continue };
            take(
                all,
                &|count| format!("{verb} every kind of object (`*.{action}`, {count})"),
                &mut left,
            );
        }
        parts.extend(left.iter().map(|name| one_in_words(name)));
        parts.join("; ")
    }

    /// The parts of operation names, each once.
    fn halves<'s>(&'s self, half: impl Fn((&'s str, &'s str)) -> &'s str) -> BTreeSet<&'s str> {
        self.operations.iter().filter_map(|name| name.split_once('.')).map(half).collect()
    }

    fn operations_with(&self, is_one: impl Fn((&str, &str)) -> bool) -> BTreeSet<String> {
        let operations = self.operations.iter();
        operations.filter(|name| name.split_once('.').is_some_and(&is_one)).cloned().collect()
    }
}

impl CallerChange {
    fn is_one(&self) -> bool {
        let [was, is] = &self.proofs;
        let lists = [&self.profiles_gained, &self.profiles_lost];
        !self.gained.is_empty()
            || !self.lost.is_empty()
            || lists.into_iter().any(|patterns| !patterns.is_empty())
            || was != is
    }
}

/// The patterns that stand for profiles which the others do not stand for.
fn beyond(patterns: &BTreeSet<ProfilePattern>, others: &BTreeSet<ProfilePattern>) -> Vec<String> {
    let is_covered = |pattern: &ProfilePattern| others.iter().any(|other| other.covers(pattern));
    patterns.iter().filter(|pattern| !is_covered(pattern)).map(ToString::to_string).collect()
}

/// `` delete tenant objects (`tenant.delete`) ``
fn one_in_words(name: &str) -> String {
    let named = name.split_once('.').map(|(entity, action)| (entity, verb(action)));
    match named {
        Some((entity, Some(verb))) => format!("{verb} {entity} objects (`{name}`)"),
        _ if name == ANYTHING_ELSE => "send requests that match no operation".to_owned(),
        _ => format!("use `{name}`"),
    }
}

/// The verb for an action of the Accounts API.
fn verb(action: &str) -> Option<&'static str> {
    Some(match action {
        "get" => "read single",
        "list" => "list",
        "create" => "create",
        "update" => "change",
        "delete" => "delete",
        "bulk_write" => "write many",
        "invite" => "send invitations for",
        _ => return None,
    })
}

/// The name of all requests without an operation, which cannot be that of one.
const ANYTHING_ELSE: &str = "(no operation)";
/// A request that no operation of any catalogue has.
const NO_OPERATION: Line<'_> = Line { method: "GET", target: "/no/operation/has/this/path/" };
