//! What may be cached, and for how long: checked settings, and the rule for one request.

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
    /// Bytes that everything stored may take, keys and header fields included.
    pub max_bytes: u64,
    /// Bytes that one response may take; a longer one streams past the cache.
    pub max_entry_bytes: usize,
    /// How long a call waits for another one that fetches the same object; then it asks for itself.
    /// The call it waits for has its own deadline, so that deadline is the right value.
    pub collapse_wait: Duration,
    /// The first rule that matches a request decides.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    /// 64 MiB, 1 MiB a response, and the one default rule: `subtenant.get` for 60 s.
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

/// One checked `[[cache.rules]]` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The operations it is for.
    pub operations: Vec<OperationPattern>,
    /// The paths it is for, among requests that match no operation.
    pub paths: Vec<PathPattern>,
    /// Freshness of a success where the response itself states none. Zero: none.
    pub ttl: Duration,
    /// How long a stale response may be served while it is fetched anew (RFC 5861 §3), where the
    /// response itself does not say.
    pub stale_while_revalidate: Duration,
    /// How long a stale response may be served while the upstream fails (RFC 5861 §4), where the
    /// response itself does not say.
    pub stale_if_error: Duration,
    /// Freshness of 404 and 410 where the response itself states none. Zero: none.
    pub negative_ttl: Duration,
    /// Whether a tenth of a response's age since `Last-Modified` is its freshness where nothing else
    /// states one (RFC 9111 §4.2.2).
    pub heuristic: bool,
}

impl Rule {
    /// Whether the rule is for this request.
    pub fn matches(&self, operation: Option<&Operation>, path: &str) -> bool {
        match operation {
            Some(operation) => self.operations.iter().any(|pattern| pattern.matches(operation)),
            None => self.paths.iter().any(|pattern| pattern.matches(path)),
        }
    }
}

impl Default for Rule {
    /// The default freshness, for nothing yet.
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

/// The rule for a request, if it may be cached at all. The first one that matches decides.
///
/// People under protection are never in the cache, whatever a rule says.
pub(super) fn find<'a>(
    rules: &'a [Arc<Rule>],
    operation: Option<&Operation>,
    path: &str,
) -> Option<&'a Arc<Rule>> {
    let rule = rules.iter().find(|rule| rule.matches(operation, path))?;
    (!is_protected(operation, path)).then_some(rule)
}

/// By name, and by path: neither an operation of the configuration nor a free path rule opens what no
/// rule may.
fn is_protected(operation: Option<&Operation>, path: &str) -> bool {
    operation.is_some_and(Operation::is_protected_identity)
        || PROTECTED.find(path.as_bytes()).is_some()
}

/// Made once: every hit's path is looked through.
static PROTECTED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("protectedidentity"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builtin_operations;

    fn operation(name: &str) -> Operation {
        builtin_operations().find(|operation| operation.name() == name).unwrap()
    }

    #[test]
    fn the_default_is_one_operation() {
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
