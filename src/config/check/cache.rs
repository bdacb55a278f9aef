//! The cache: a rule is only for what may be stored.

use super::Checker;
use crate::{
    config::{
        key::KeyPath,
        raw::{self, Written},
        settings::{CacheRule, CacheSettings},
    },
    domain::{Catalog, OperationPattern},
};

impl Checker<'_> {
    pub(super) fn cache(&mut self, catalog: &Catalog) -> CacheSettings {
        let raw = self.raw;
        let cache = &raw.cache;
        let table = KeyPath::root().key("cache");
        if cache.enabled && cache.max_bytes.0.0 == 0 {
            self.problem(
                &table.key("max_bytes"),
                "must be more than zero",
                "switch the cache off with `enabled = false`",
            );
        }
        let entry_is_set = self.places.is_set(&table.key("max_entry_bytes"));
        if entry_is_set && cache.max_entry_bytes.0 > cache.max_bytes.0 {
            self.problem(
                &table.key("max_entry_bytes"),
                "is more than `cache.max_bytes`, which holds all entries together",
                "make it smaller",
            );
        }
        let rules = cache.rules.iter().enumerate();
        let rules = rules
            .map(|(at, rule)| self.cache_rule(&table.key("rules").index(at), rule, catalog))
            .collect();
        CacheSettings {
            enabled: cache.enabled,
            max_bytes: cache.max_bytes.0.0,
            max_entry_bytes: cache.max_entry_bytes.0.min(cache.max_bytes.0).0,
            rules,
        }
    }

    fn cache_rule(&mut self, key: &KeyPath, rule: &raw::CacheRule, catalog: &Catalog) -> CacheRule {
        // An entry that had the wrong form has been complained about, and is not there any more.
        let written = |list: &str| self.places.is_set(&key.key(list).index(0));
        if rule.operations.is_empty()
            && rule.paths.is_empty()
            && !written("operations")
            && !written("paths")
        {
            self.problem(
                key,
                "the rule is for nothing",
                "list `operations`, like [\"subtenant.get\"], or `paths`",
            );
        }
        let operations = self.patterns(&key.key("operations"), &rule.operations, catalog);
        for pattern in &operations {
            self.storable(&key.key("operations"), pattern, catalog);
        }
        if !rule.paths.is_empty() && self.raw.policy.unmatched == raw::Unmatched::Deny {
            self.warning(
                &key.key("paths"),
                "requests that match no operation are refused, so the rule never applies",
                "name them with [[operations]], or write `unmatched = \"forward\"` in [policy]",
            );
        }
        CacheRule {
            operations,
            paths: rule.paths.iter().map(|written| written.0.clone()).collect(),
            ttl: span(&rule.ttl),
            stale_while_revalidate: span(&rule.stale_while_revalidate),
            stale_if_error: span(&rule.stale_if_error),
            negative_ttl: span(&rule.negative_ttl),
            heuristic: rule.heuristic.unwrap_or(!rule.paths.is_empty()),
        }
    }

    /// A pattern that means many operations leaves out what may not be stored; one that means
    /// nothing else is a mistake, and about protected identities a dangerous one.
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

fn span(written: &Written<crate::domain::Span>) -> std::time::Duration {
    written.0.into()
}
