//! Checks `[cache]`: a rule is only for responses that may be stored.

use std::time::Duration;

use super::checker::Checker;
use crate::{
    config::key::KeyPath,
    domain::{Catalog, OperationPattern},
    proxy::{
        cache::{Rule, Settings},
        stages::authorize::Unmatched,
    },
};

impl Checker<'_> {
    pub(super) fn cache(&mut self, catalog: &Catalog) -> Settings {
        let cache = &self.config.cache;
        let table = KeyPath::root().key("cache");
        if cache.enabled && cache.max_bytes.0 == 0 {
            self.problem(
                &table.key("max_bytes"),
                "must be more than zero",
                "switch the cache off with `enabled = false`",
            );
        }
        let entry = table.key("max_entry_bytes");
        if self.locations.is_set(&entry) && cache.max_entry_bytes > cache.max_bytes {
            self.problem(
                &entry,
                "is more than `cache.max_bytes`, which holds all entries together",
                "make it smaller",
            );
        }
        self.shared_cache(&table.key("shared"));
        for (at, rule) in cache.rules.iter().enumerate() {
            self.cache_rule(&table.key("rules").index(at), rule, catalog);
        }
        Settings { max_entry_bytes: cache.max_entry_bytes.min(cache.max_bytes), ..cache.clone() }
    }

    fn shared_cache(&mut self, table: &KeyPath) {
        let (cache, config) = (&self.config.cache, self.config);
        let shared = cache.rules.iter().position(|rule| rule.shared);
        if !cache.shared.enabled {
            if let Some(at) = shared {
                let key = KeyPath::root().key("cache").key("rules").index(at).key("shared");
                self.warning(
                    &key,
                    "has no effect, because nothing is shared",
                    "write `enabled = true` in [cache.shared], or remove it",
                );
            }
            return;
        }
        let enabled = table.key("enabled");
        if config.fleet.is_none() {
            self.problem(
                &enabled,
                "members of a fleet share responses over its store, and there is no [fleet]",
                "add [fleet] and [fleet.store], or remove it",
            );
        }
        if shared.is_none() {
            self.warning(
                &enabled,
                "no rule has `shared = true`, so nothing is shared",
                "write it into a [[cache.rules]]",
            );
        }
        let keyless = config.profiles.iter().filter(|(_, profile)| profile.cache_key.is_none());
        let keyless: Vec<_> = keyless.map(|(name, _)| name.clone()).collect();
        if keyless.len() == config.profiles.len() {
            self.problem(
                &enabled,
                "no profile has a `cache_key`, so nothing can be shared",
                "add `cache_key = { source = \"vault\", path = \"pigello/production-cache\" }` to a profile",
            );
            return;
        }
        for name in keyless {
            self.warning(
                &KeyPath::root().key("profiles").key(name.as_str()),
                "has no `cache_key`, so its responses are not shared",
                "add one if they should be",
            );
        }
        if *cache.shared.fill_wait > LONGEST_FILL_WAIT {
            self.problem(
                &table.key("fill_wait"),
                "is more than two seconds, after which nobody knows that another member fetches",
                "write \"300ms\", or as long as most answers of Pigello take",
            );
        }
    }

    fn cache_rule(&mut self, key: &KeyPath, rule: &Rule, catalog: &Catalog) {
        let lists = ["operations", "paths"];
        // An entry with the wrong form has been reported, and is not in the list any more.
        let are_empty = lists.iter().all(|list| !self.locations.is_set(&key.key(*list).index(0)));
        if rule.operations.is_empty() && rule.paths.is_empty() && are_empty {
            self.problem(
                key,
                "the rule is for nothing",
                "list `operations`, like [\"subtenant.get\"], or `paths`",
            );
        }
        self.patterns(&key.key("operations"), &rule.operations, catalog);
        for pattern in &rule.operations {
            self.storable(&key.key("operations"), pattern, catalog);
        }
        if !rule.paths.is_empty() && self.config.policy.unmatched == Unmatched::Deny {
            self.warning(
                &key.key("paths"),
                "requests that match no operation are refused, so the rule never applies",
                "name them with [[operations]], or write `unmatched = \"forward\"` in [policy]",
            );
        }
    }

    /// A pattern over many operations simply does not apply to those that may not be stored. A
    /// pattern over nothing else is a mistake, and about protected identities a dangerous one.
    fn storable(&mut self, key: &KeyPath, pattern: &OperationPattern, catalog: &Catalog) {
        let of = |entity: &str| entity == "protectedidentity";
        let shielded = match pattern {
            OperationPattern::Entity(entity) => of(entity),
            OperationPattern::Exactly(name) => {
                name.split_once('.').is_some_and(|(entity, _)| of(entity))
            }
            OperationPattern::Any | OperationPattern::Action(_) => false,
        };
        if shielded {
            self.problem(
                key,
                format!("`{pattern}` is about people under protection, and is never stored"),
                "remove it; these calls always go to Pigello",
            );
            return;
        }
        let mut matched =
            catalog.operations().iter().filter(|operation| pattern.matches(operation)).peekable();
        if matched.peek().is_some()
            && matched.all(|operation| operation.method() != http::Method::GET)
        {
            self.problem(
                key,
                format!("`{pattern}` only changes things, and only reads are stored"),
                "name a read, like `subtenant.get`",
            );
        }
    }
}

/// The time of a lease.
const LONGEST_FILL_WAIT: Duration = Duration::from_secs(2);
