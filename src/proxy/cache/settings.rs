//! `[cache]`: the settings of the cache, and the rule for a request.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{ByteSize, Operation, OperationPattern, PathPattern, Span};

/// The cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Cache")]
pub struct Settings {
    /// Whether responses are cached.
    pub enabled: bool,
    /// Memory for all entries together, including keys and header fields.
    pub max_bytes: ByteSize,
    /// The size of the largest response that is stored.
    pub max_entry_bytes: ByteSize,
    /// What the members of a fleet share.
    pub shared: SharedSettings,
    /// Which responses are stored. The first rule that matches decides; without one, a response is
    /// not stored.
    pub rules: Vec<Rule>,
    /// How long a call waits for another call that fetches the same response; then it fetches for
    /// itself. Five seconds, or `timeouts.request` if that is less.
    #[serde(skip)]
    pub collapse_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let subtenant = OperationPattern::Exactly("subtenant.get".into());
        Self {
            enabled: true,
            max_bytes: ByteSize::mebi(64),
            max_entry_bytes: ByteSize::mebi(1),
            shared: SharedSettings::default(),
            rules: vec![Rule { operations: vec![subtenant], ..Rule::default() }],
            collapse_wait: Duration::from_secs(5),
        }
    }
}

/// The shared cache: responses that one member of a fleet has fetched, for all others with the same credentials. They
/// are in the fleet's store, sealed with the `cache_key` of their profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "SharedCache")]
pub struct SharedSettings {
    /// Whether responses under rules with `shared` are shared. It takes 2 MiB of memory.
    pub enabled: bool,
    /// The size of the largest body that is shared.
    pub max_entry_bytes: ByteSize,
    /// How long a call waits for another member that fetches the same response; then it fetches for itself.
    pub fill_wait: Span,
}

impl Default for SharedSettings {
    fn default() -> Self {
        let (max_entry_bytes, fill_wait) = (ByteSize(256 * 1024), Span::from_millis(300));
        Self { enabled: false, max_entry_bytes, fill_wait }
    }
}

/// A rule of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "CacheRule")]
pub struct Rule {
    /// The operations under the rule. Only reads are stored, and `protectedidentity` never.
    pub operations: Vec<OperationPattern>,
    /// The paths under the rule, for requests that match no operation: `/a/path` or `/a/prefix/*`.
    pub paths: Vec<PathPattern>,
    /// How long a response is fresh that does not say so itself, whatever happens.
    pub ttl: Span,
    /// How long such a response is fresh while the gateway can prove that it has missed no notice of a
    /// change (`notices.event_log`). Default: `ttl`.
    pub coherent_ttl: Option<Span>,
    /// Types of objects whose changes also change what is under the rule, such as
    /// `subtenanttenantconnection`. A notice of one drops everything under the rule.
    pub depends_on: Vec<String>,
    /// How much longer a stale response is served while a new one is fetched (RFC 5861 §3).
    pub stale_while_revalidate: Span,
    /// How much longer a stale response is served while Pigello fails (RFC 5861 §4).
    pub stale_if_error: Span,
    /// How long a 404 or 410 is fresh if it states no lifetime.
    pub negative_ttl: Span,
    /// Whether a response with `Last-Modified` that states no freshness is fresh for a tenth of its
    /// age, if `ttl` is zero (RFC 9111 §4.2.2). Default: true for a rule over `paths`, false for one
    /// over `operations`.
    pub heuristic: Option<bool>,
    /// Whether the members of the fleet share the responses (`[cache.shared]`).
    pub shared: bool,
}

impl Rule {
    /// Whether the rule covers a request.
    pub fn matches(&self, operation: Option<&Operation>, path: &str) -> bool {
        match operation {
            Some(operation) => self.operations.iter().any(|pattern| pattern.matches(operation)),
            None => self.paths.iter().any(|pattern| pattern.matches(path)),
        }
    }

    /// Whether `Last-Modified` may give a response its lifetime (RFC 9111 §4.2.2).
    pub fn is_heuristic(&self) -> bool {
        self.heuristic.unwrap_or(!self.paths.is_empty())
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            paths: Vec::new(),
            // Short: `profile_picture` in a subtenant is a signed link that expires soon.
            ttl: Span::from_secs(60),
            coherent_ttl: None,
            depends_on: Vec::new(),
            stale_while_revalidate: Span::from_secs(0),
            stale_if_error: Span::from_secs(600),
            negative_ttl: Span::from_secs(0),
            heuristic: None,
            shared: false,
        }
    }
}

/// The first rule that covers a request, with its number. No rule covers people with a protected identity.
pub(super) fn find<'a>(
    rules: &'a [Arc<Rule>],
    operation: Option<&Operation>,
    path: &str,
) -> Option<(usize, &'a Arc<Rule>)> {
    let found = rules.iter().enumerate().find(|(_, rule)| rule.matches(operation, path))?;
    (!is_protected(operation, path)).then_some(found)
}

/// Checks the operation's name and the path, because neither a configured operation nor a rule for
/// paths may open the protected data.
pub(super) fn is_protected(operation: Option<&Operation>, path: &str) -> bool {
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
