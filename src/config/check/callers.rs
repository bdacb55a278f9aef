//! Operations, callers and policy: every pattern means something, and every caller can be known.

use std::{num::NonZeroU32, sync::Arc};

use http::Method;

use super::Checker;
use crate::{
    config::{
        key::{KeyPath, Shown},
        problem::nearest,
        raw::{self, Name, Written},
        settings::{Access, Mode, PolicySettings, Unmatched},
    },
    domain::{
        Address, CallerLimits, CallerRule, Catalog, CatalogError, Operation, OperationPattern, Rate,
    },
};

/// The built-in operations and those of the configuration that are in order.
pub(super) fn catalog(checker: &mut Checker<'_>) -> Option<Catalog> {
    let mut own: Vec<Operation> = Vec::new();
    let raw = checker.raw;
    for (at, entry) in raw.operations.iter().enumerate() {
        let key = KeyPath::root().key("operations").index(at);
        let Some(operation) = operation(checker, &key, entry) else { continue };
        // One at a time, so that each problem has its own key.
        match Catalog::new(own.iter().cloned().chain([operation.clone()])) {
            Ok(_) => own.push(operation),
            Err(error) => {
                let key = match error {
                    CatalogError::NameTaken(_) | CatalogError::Name => key.key("name"),
                    _ => key.key("path"),
                };
                let hint = "an operation is told by its method and path; \
                            `explain` shows which one a request is";
                checker.problem(&key, error.to_string(), hint);
            }
        }
    }
    match Catalog::new(own) {
        Ok(catalog) => Some(catalog),
        Err(error) => {
            let key = KeyPath::root().key("operations");
            checker.problem(&key, error.to_string(), "rename the operation or change its path");
            None
        }
    }
}

fn operation(
    checker: &mut Checker<'_>,
    key: &KeyPath,
    entry: &raw::Operation,
) -> Option<Operation> {
    let mut check = |key: &str, name: &str, path: &str, hint: &str, at: &KeyPath| {
        if let Err(error) = Operation::new(name, Method::GET, path) {
            checker.problem(&at.key(key), error.to_string(), hint);
        }
    };
    // One by one, because the first of them that is wrong would hide the others.
    if let Some(name) = &entry.name {
        check("name", name, "/", "like `realestate.get`", key);
    }
    if let Some(path) = &entry.path {
        check("path", "entity.action", path, "like `/objects/structural/realestate/{pk}/`", key);
    }
    let method = Method::from_bytes(entry.method.as_ref()?.as_str().as_bytes()).ok()?;
    Operation::new(entry.name.as_ref()?, method, entry.path.as_ref()?).ok()
}

impl Checker<'_> {
    pub(super) fn callers(&mut self, catalog: &Catalog) -> Vec<Arc<CallerRule>> {
        let raw = self.raw;
        let entries = raw.callers.iter().enumerate();
        entries
            .filter_map(|(at, caller)| {
                self.claims_of_others(at, caller);
                self.exact_names(at, caller);
                self.can_be_known(at, caller);
                let allow = self.patterns(&key(at).key("allow"), &caller.allow, catalog);
                let limits = self.limits_of(at, caller);
                Some(Arc::new(CallerRule {
                    name: caller.name.as_ref()?.as_str().into(),
                    unix_uids: caller.unix_uids.clone(),
                    tls_names: caller.tls_names.iter().map(|name| name.as_str().into()).collect(),
                    allow,
                    limits,
                }))
            })
            .collect()
    }

    /// Checks that each pattern stands for at least one operation.
    pub(super) fn patterns(
        &mut self,
        key: &KeyPath,
        written: &[Written<OperationPattern>],
        catalog: &Catalog,
    ) -> Vec<OperationPattern> {
        let patterns: Vec<_> = written.iter().map(|written| written.0.clone()).collect();
        for pattern in &patterns {
            if catalog.operations().iter().any(|operation| pattern.matches(operation)) {
                continue;
            }
            let text = pattern.to_string();
            let hint = match nearest(&text, known(pattern, catalog).iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`check` lists the operations; [[operations]] adds others".to_owned(),
            };
            self.problem(key, format!("`{text}` stands for no operation"), hint);
        }
        patterns
    }

    fn limits_of(&mut self, at: usize, caller: &raw::Caller) -> CallerLimits {
        let mut above_zero = |name: &str, value: Option<u32>| {
            let number = NonZeroU32::new(value?);
            if number.is_none() {
                let hint = "leave the key out for no limit, or `allow` empty for no calls";
                self.problem(&key(at).key(name), "must be above 0", hint);
            }
            number
        };
        let rate = above_zero("rate", caller.rate);
        let burst = above_zero("burst", caller.burst);
        let concurrency = above_zero("concurrency", caller.concurrency);
        if burst.is_some() && caller.rate.is_none() {
            let hint = "say how many calls a second follow the burst: `rate`";
            self.problem(&key(at).key("burst"), "means nothing without `rate`", hint);
        }
        CallerLimits {
            rate: rate.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) }),
            concurrency: concurrency.and_then(|calls| calls.try_into().ok()),
        }
    }

    /// Two entries that one proof fits would make the order of the file decide who calls.
    fn claims_of_others(&mut self, at: usize, caller: &raw::Caller) {
        let raw = self.raw;
        for other in raw.callers.iter().take(at) {
            let whose = other.name.as_ref().map_or("another caller", Name::as_str);
            if caller.name.is_some() && caller.name == other.name {
                self.problem(
                    &key(at).key("name"),
                    format!("another caller is named `{whose}`"),
                    "put all it is known by and may do into one entry",
                );
            }
            for uid in caller.unix_uids.iter().filter(|uid| other.unix_uids.contains(uid)) {
                self.problem(
                    &key(at).key("unix_uids"),
                    format!("user id {uid} is also that of `{whose}`"),
                    "a user id stands for one caller; run the applications as different users",
                );
            }
            for name in caller.tls_names.iter().filter(|name| other.tls_names.contains(name)) {
                self.problem(
                    &key(at).key("tls_names"),
                    format!("the name {} is also that of `{whose}`", Shown(name)),
                    "a certificate name stands for one caller",
                );
            }
        }
    }

    fn exact_names(&mut self, at: usize, caller: &raw::Caller) {
        for name in caller.tls_names.iter().filter(|name| name.contains('*')) {
            self.problem(
                &key(at).key("tls_names"),
                format!("the name {} holds a `*`, and names are matched exactly", Shown(name)),
                "list each name of the caller's certificates",
            );
        }
    }

    fn can_be_known(&mut self, at: usize, caller: &raw::Caller) {
        let raw = self.raw;
        let key = key(at);
        let address = |listener: &raw::Listener| listener.address.clone().map(|written| written.0);
        let unix = raw
            .listeners
            .iter()
            .any(|listener| matches!(address(listener), Some(Address::Unix(_))));
        let tls = raw
            .listeners
            .iter()
            .any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
        let named = caller.name.is_some()
            && raw.listeners.iter().any(|listener| listener.caller == caller.name);
        if !caller.unix_uids.is_empty() && !unix {
            self.warning(
                &key.key("unix_uids"),
                "no listener is a Unix socket, so no user id is ever seen",
                "add a listener with `address = \"unix:/…\"`",
            );
        }
        if !caller.tls_names.is_empty() && !tls {
            self.warning(
                &key.key("tls_names"),
                "no listener asks for client certificates, so no name is ever seen",
                "add [listeners.tls] with `client_ca`",
            );
        }
        if !named && caller.unix_uids.is_empty() && caller.tls_names.is_empty() {
            self.warning(
                &key,
                "nothing proves this caller, so it never calls",
                "give it `unix_uids` or `tls_names`, or name it as a listener's `caller`",
            );
        }
        if caller.name.is_some() && caller.allow.is_empty() && raw.policy.mode == raw::Mode::Enforce
        {
            self.warning(
                &key.key("allow"),
                "is empty, so the caller is refused everything",
                "list operations, like [\"subtenant.get\"]",
            );
        }
    }

    pub(super) fn policy(&mut self) -> PolicySettings {
        let raw = self.raw;
        let named = !raw.callers.is_empty();
        let unidentified = match raw.policy.unidentified {
            Some(raw::Unidentified::Allow) => Access::Allow,
            Some(raw::Unidentified::Deny) | None => Access::Deny,
        };
        let key = KeyPath::root().key("policy");
        if unidentified == Access::Allow && named {
            self.warning(
                &key.key("unidentified"),
                "callers that nobody knows may do more than those in [[callers]]",
                "write \"deny\" once every caller has its entry",
            );
        }
        if raw.policy.mode == raw::Mode::Report {
            self.warning(
                &key.key("mode"),
                "nothing is refused for want of permission; the trail says what would be",
                "write \"enforce\" once the trail shows no `would_refuse`",
            );
        }
        PolicySettings {
            unidentified,
            unmatched: match raw.policy.unmatched {
                raw::Unmatched::Deny => Unmatched::Deny,
                raw::Unmatched::Forward => Unmatched::Forward,
            },
            mode: match raw.policy.mode {
                raw::Mode::Enforce => Mode::Enforce,
                raw::Mode::Report => Mode::Report,
            },
        }
    }
}

/// What a pattern of that kind could have been.
fn known(pattern: &OperationPattern, catalog: &Catalog) -> Vec<String> {
    let operations = catalog.operations().iter();
    operations
        .map(|operation| match pattern {
            OperationPattern::Entity(_) => format!("{}.*", operation.entity_name()),
            OperationPattern::Action(_) => format!("*.{}", operation.action_name()),
            OperationPattern::Any | OperationPattern::Exactly(_) => operation.name().to_owned(),
        })
        .collect()
}

fn key(at: usize) -> KeyPath {
    KeyPath::root().key("callers").index(at)
}
