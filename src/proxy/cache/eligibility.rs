//! Which requests the cache has a part in. The stage decides here, and `explain` asks here.

use http::{HeaderMap, Method};

use super::{
    handle::Cache,
    policy::{directives::RequestDirectives, fields::RequestFieldSet},
    settings::{Rule, is_protected},
};
use crate::domain::Operation;

/// Why a request is neither answered from memory nor its response stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// `cache.enabled` is false.
    Off,
    /// It is no read.
    Method,
    /// No rule covers it.
    NoRule,
    /// It is about people with a protected identity.
    Protected,
    /// It has `Cache-Control: no-store`.
    NoStore,
    /// It has a body.
    Body,
    /// It has a condition that only the upstream may evaluate.
    Condition,
    /// It has a credential of the caller's own.
    Credentials,
}

impl Bypass {
    /// The reason, in words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Off => "the cache is switched off",
            Self::Method => "only GET and HEAD are answered from memory",
            Self::NoRule => "no [[cache.rules]] is for it",
            Self::Protected => "people under protection are never in memory",
            Self::NoStore => "the request says `no-store`",
            Self::Body => "the request has a body",
            Self::Condition => "Pigello has to evaluate `If-Match` or `If-Unmodified-Since`",
            Self::Credentials => "a credential of the caller's own goes up",
        }
    }
}

impl Cache {
    /// The rule under which a request may be answered from memory, and its response stored. `headers` are
    /// those that go up.
    pub fn eligible(
        &self,
        method: &Method,
        path: &str,
        operation: Option<&Operation>,
        headers: &HeaderMap,
        body_is_empty: bool,
    ) -> Result<&Rule, Bypass> {
        if !self.settings().enabled {
            return Err(Bypass::Off);
        }
        if !is_read(method) {
            return Err(Bypass::Method);
        }
        if is_protected(operation, path) {
            return Err(Bypass::Protected);
        }
        let (_, rule) = self.rule(operation, path).ok_or(Bypass::NoRule)?;
        let fields = RequestFieldSet::of(headers);
        let directives = RequestDirectives::of(fields, headers);
        bypass(fields, &directives, body_is_empty).map_or(Ok(rule), Err)
    }
}

/// Whether a request can be answered from memory.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Why a request under a rule goes past the cache.
pub(super) fn bypass(
    fields: RequestFieldSet,
    directives: &RequestDirectives,
    body_is_empty: bool,
) -> Option<Bypass> {
    if directives.no_store {
        Some(Bypass::NoStore)
    } else if !body_is_empty {
        Some(Bypass::Body)
    } else if fields.has_condition_for_upstream() {
        Some(Bypass::Condition)
    } else if fields.has_credentials() {
        Some(Bypass::Credentials)
    } else {
        None
    }
}
