//! The checked settings of the cache, and the rule for a request.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use memchr::memmem::Finder;

use crate::domain::{Operation, OperationPattern, PathPattern};

/// The checked `[cache]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is cached.
    pub enabled: bool,
    /// Bytes that all stored responses may take, keys and header fields included.
    pub max_bytes: u64,
    /// Bytes that one response may take. A larger one is not stored.
    pub max_entry_bytes: usize,
    /// How long a call waits for another call's fetch of the same response before it makes its own. The
    /// deadline of a call is the right value, because it bounds the other call too.
    pub collapse_wait: Duration,
    /// The first rule that matches a request applies.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    /// 64 MiB, 1 MiB for one response, and one rule: `subtenant.get` for 60 s.
    fn default() -> Self {
        Self {
            enabled: true,
            max_bytes: 64 << 20,
            max_entry_bytes: 1 << 20,
            collapse_wait: Duration::from_secs(30),
            rules: vec![Rule {
                operations: vec![OperationPattern::Exactly("subtenant.get".into())],
                ..Rule::default()
            }],
        }
    }
}

/// A checked `[[cache.rules]]` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operations under this rule.
    pub operations: Vec<OperationPattern>,
    /// The paths under this rule, for requests that match no operation.
    pub paths: Vec<PathPattern>,
    /// The freshness lifetime of a 200 that states none. Zero gives none.
    pub ttl: Duration,
    /// How long a stale response may be served while it is revalidated (RFC 5861 §3), unless the response
    /// states it.
    pub stale_while_revalidate: Duration,
    /// How long a stale response may be served while the upstream fails (RFC 5861 §4), unless the response
    /// states it.
    pub stale_if_error: Duration,
    /// The freshness lifetime of a 404 or 410 that states none. Zero gives none.
    pub negative_ttl: Duration,
    /// Whether a tenth of the time since `Last-Modified` is the lifetime of a response without another
    /// one (RFC 9111 §4.2.2).
    pub heuristic: bool,
}

impl Rule {
    /// Whether the rule covers a request.
    pub fn matches(&self, operation: Option<&Operation>, path: &str) -> bool {
        match operation {
            Some(operation) => self.operations.iter().any(|pattern| pattern.matches(operation)),
            None => self.paths.iter().any(|pattern| pattern.matches(path)),
        }
    }
}

impl Default for Rule {
    /// The default lifetimes, for no request.
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            paths: Vec::new(),
            ttl: Duration::from_mins(1),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::from_mins(10),
            negative_ttl: Duration::ZERO,
            heuristic: false,
        }
    }
}

/// The first rule that covers a request. No rule covers people with a protected identity.
pub(super) fn find<'a>(
    rules: &'a [Arc<Rule>],
    operation: Option<&Operation>,
    path: &str,
) -> Option<&'a Arc<Rule>> {
    let rule = rules.iter().find(|rule| rule.matches(operation, path))?;
    (!is_protected(operation, path)).then_some(rule)
}

/// Checks the operation's name and the path, because neither a configured operation nor a rule for
/// paths may open the protected data.
fn is_protected(operation: Option<&Operation>, path: &str) -> bool {
    operation.is_some_and(Operation::is_protected_identity)
        || PROTECTED.find(path.as_bytes()).is_some()
}

/// Made once, because every hit's path is searched.
static PROTECTED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("protectedidentity"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builtin_operations;

    fn operation(name: &str) -> Operation {
        builtin_operations().find(|operation| operation.name() == name).unwrap()
    }

    #[test]
    fn the_default_rule_covers_one_operation() {
        let rules: Vec<_> = Settings::default().rules.into_iter().map(Arc::new).collect();
        let cached: Vec<_> = builtin_operations()
            .filter(|operation| find(&rules, Some(operation), "/").is_some())
            .map(|operation| operation.name().to_owned())
            .collect();
        assert_eq!(cached, ["subtenant.get"]);
        assert!(find(&rules, None, "/anything").is_none());
    }

    #[test]
    fn protected_identity_is_never_cached() {
        let rule = Rule {
            operations: vec![OperationPattern::Any, "protectedidentity.*".parse().unwrap()],
            paths: vec!["/*".parse().unwrap()],
            ..Rule::default()
        };
        let rules = [Arc::new(rule)];
        for name in ["protectedidentity.get", "protectedidentity.list"] {
            assert!(find(&rules, Some(&operation(name)), "/").is_none(), "{name}");
        }
        let own = Operation::new("mine.get", http::Method::GET, "/x/protectedidentity/{pk}/");
        for path in ["/accounts/users/customer/protectedidentity/x", "/protectedidentity"] {
            assert!(find(&rules, None, path).is_none(), "{path}");
            assert!(find(&rules, Some(own.as_ref().unwrap()), path).is_none(), "{path}");
        }
        assert!(find(&rules, Some(&operation("tenant.list")), "/").is_some());
        assert!(find(&rules, None, "/free/path").is_some());
    }
}
