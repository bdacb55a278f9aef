//! Checks `[[operations]]`, `[[callers]]` and `[policy]`: every pattern matches an operation, and
//! every caller can be identified.

use std::{num::NonZeroU32, sync::Arc};

use http::Method;

use super::checker::Checker;
use crate::{
    config::{
        key::{KeyPath, Shown},
        problem::nearest,
        types::{CallerEntry, Listener, OperationEntry},
    },
    domain::{
        Address, CallerLimits, CallerRule, Catalog, CatalogError, Operation, OperationPattern, Rate,
    },
    process::users,
    proxy::stages::authorize::{Access, Mode},
};

impl Checker<'_> {
    /// The built-in operations and the valid ones of the configuration.
    pub(super) fn catalog(&mut self) -> Option<Catalog> {
        let table = KeyPath::root().key("operations");
        let mut catalog = Catalog::new([])
            .map_err(|error| self.problem(&table, error.to_string(), "this is a bug; report it"))
            .ok()?;
        for (at, entry) in self.config.operations.iter().enumerate() {
            let key = table.index(at);
            let Some(operation) = self.operation(&key, entry) else { continue };
            if let Err(error) = catalog.add(operation) {
                let key = match error {
                    CatalogError::NameTaken(_) => key.key("name"),
                    _ => key.key("path"),
                };
                let hint = "an operation is told by its method and path; `operations` lists those that \
                            are known, `explain` shows which one a request is";
                self.problem(&key, error.to_string(), hint);
            }
        }
        Some(catalog)
    }

    fn operation(&mut self, key: &KeyPath, entry: &OperationEntry) -> Option<Operation> {
        let OperationEntry { name, method, path, body } = entry;
        // One by one, because the first that is wrong would hide the others.
        if let Err(error) = Operation::new(name, Method::GET, "/") {
            self.problem(&key.key("name"), error.to_string(), "like `realestate.get`");
        }
        if let Err(error) = Operation::new("entity.action", Method::GET, path) {
            let hint = "like `/objects/structural/realestate/{pk}/`";
            self.problem(&key.key("path"), error.to_string(), hint);
        }
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let operation = Operation::new(name, method, path).ok()?;
        Some(if *body { operation.with_body() } else { operation })
    }

    pub(super) fn callers(&mut self, catalog: &Catalog) -> Vec<Arc<CallerRule>> {
        let entries = self.config.callers.iter().enumerate();
        entries
            .map(|(at, caller)| {
                self.claims_of_others(at, caller);
                self.real_users(at, caller);
                self.visible_users(at, caller);
                self.exact_names(at, caller);
                self.can_be_known(at, caller);
                self.patterns(&key(at).key("allow"), &caller.allow, catalog);
                self.profiles_of_caller(&key(at), caller);
                Arc::new(CallerRule {
                    name: Arc::clone(&caller.name).into(),
                    unix_uids: caller.unix_uids.clone(),
                    tls_names: caller.tls_names.clone(),
                    allow: caller.allow.clone(),
                    profile: caller.profile.clone(),
                    profiles: caller.profiles.clone(),
                    forward: caller.forward.clone(),
                    limits: self.limits_of(at, caller),
                })
            })
            .collect()
    }

    /// Checks that each pattern matches at least one operation.
    pub(super) fn patterns(
        &mut self,
        key: &KeyPath,
        patterns: &[OperationPattern],
        catalog: &Catalog,
    ) {
        for pattern in patterns {
            if catalog.operations().iter().any(|operation| pattern.matches(operation)) {
                continue;
            }
            let text = pattern.to_string();
            let hint = match nearest(&text, known(pattern, catalog).iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`operations` lists them; [[operations]] adds others".to_owned(),
            };
            self.problem(key, format!("`{text}` stands for no operation"), hint);
        }
    }

    fn limits_of(&mut self, at: usize, caller: &CallerEntry) -> CallerLimits {
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

    /// If two entries had the same proof, the order of the file would decide who calls.
    fn claims_of_others(&mut self, at: usize, caller: &CallerEntry) {
        for (before, other) in self.config.callers.iter().enumerate().take(at) {
            let is_named = self.is_usable(&key(before).key("name"));
            let whose = if is_named { &*other.name } else { "another caller" };
            if caller.name == other.name {
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

    /// The overflow id stands for every user that a user namespace does not map.
    fn real_users(&mut self, at: usize, caller: &CallerEntry) {
        for uid in caller.unix_uids.iter().filter(|uid| users::is_overflow(**uid)) {
            self.problem(
                &key(at).key("unix_uids"),
                format!(
                    "user id {uid} is the kernel's overflow id: in a user namespace every user that is \
                     not mapped has it, so it proves nobody"
                ),
                "run the application as a user of its own, and the gateway where that user is seen \
                 (systemd: no PrivateUsers=yes)",
            );
        }
    }

    /// An id that is not mapped here is seen as the overflow id.
    fn visible_users(&mut self, at: usize, caller: &CallerEntry) {
        let hidden = |uid: &&u32| !users::is_mapped(**uid) && !users::is_overflow(**uid);
        for uid in caller.unix_uids.iter().filter(hidden) {
            self.warning(
                &key(at).key("unix_uids"),
                format!("the user namespace of this process does not map the user id {uid}, so it is never seen"),
                "run the gateway where that user is seen (systemd: no PrivateUsers=yes)",
            );
        }
    }

    fn exact_names(&mut self, at: usize, caller: &CallerEntry) {
        for name in caller.tls_names.iter().filter(|name| name.contains('*')) {
            self.problem(
                &key(at).key("tls_names"),
                format!("the name {} holds a `*`, and names are matched exactly", Shown(name)),
                "list each name of the caller's certificates",
            );
        }
    }

    fn can_be_known(&mut self, at: usize, caller: &CallerEntry) {
        let key = key(at);
        let any = |is: &dyn Fn(&Listener) -> bool| self.config.listeners.iter().any(is);
        let unix = any(&|listener| matches!(listener.address, Address::Unix(_)));
        let tls = any(&Listener::asks_for_certificates);
        let named = any(&|listener| listener.caller.as_ref() == Some(&caller.name));
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
        if caller.allow.is_empty() && self.config.policy.mode == Mode::Enforce {
            self.warning(
                &key.key("allow"),
                "is empty, so the caller is refused everything",
                "list operations, like [\"subtenant.get\"]",
            );
        }
    }

    pub(super) fn policy(&mut self) {
        let policy = &self.config.policy;
        let key = KeyPath::root().key("policy");
        if policy.unidentified() == Access::Allow && !self.config.callers.is_empty() {
            self.warning(
                &key.key("unidentified"),
                "callers that nobody knows may do more than those in [[callers]]",
                "write \"deny\" once every caller has its entry",
            );
        }
        if policy.mode == Mode::Report {
            self.warning(
                &key.key("mode"),
                "nothing is refused for want of permission; the trail says what would be",
                "write \"enforce\" once the trail shows no `would_refuse`",
            );
        }
    }
}

/// The valid patterns of that kind.
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
