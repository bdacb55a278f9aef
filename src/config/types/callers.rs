//! `[[callers]]`, `[policy]`, `[[operations]]` and `[problems]`: who may do what, and what a
//! refused caller is told.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Method;
use crate::{
    domain::{Name, OperationPattern, ProblemBase, Text},
    proxy::stages::authorize::{Access, Mode, Unmatched},
};

/// One caller: how it is known, and what it may do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Caller")]
pub struct CallerEntry {
    /// Its name in the audit trail.
    #[schemars(with = "Text<Name>")]
    pub name: Arc<str>,
    /// User ids of processes that connect to a Unix socket.
    #[serde(default)]
    pub unix_uids: Vec<u32>,
    /// URI or DNS names in a verified client certificate, matched exactly:
    /// `spiffe://corp/billing`.
    #[serde(default)]
    pub tls_names: Vec<Arc<str>>,
    /// Operations it may use: `subtenant.get`, `subtenant.*`, `*.get`, or `*` for all.
    pub allow: Vec<OperationPattern>,
    /// Calls a second it may make; more are refused with a 429. Without it, no limit.
    pub rate: Option<u32>,
    /// Calls it may make at once before `rate` holds. Default: as many as `rate`.
    pub burst: Option<u32>,
    /// Calls it may have under way at the same time. Without it, no limit.
    pub concurrency: Option<u32>,
}

/// What becomes of what no entry names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub struct PolicySettings {
    /// Callers that match no `[[callers]]` entry. Default: `deny` as soon as there is an entry,
    /// `allow` without.
    pub unidentified: Option<Access>,
    /// Requests that match no operation.
    pub unmatched: Unmatched,
    /// Whether refusals are carried out or only written down.
    pub mode: Mode,
}

impl PolicySettings {
    /// What becomes of callers that match no entry.
    pub fn unidentified(&self) -> Access {
        self.unidentified.unwrap_or(Access::Deny)
    }
}

/// What callers are told of errors.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Problems")]
pub struct ProblemSettings {
    /// What the `type` of a problem document begins with; the error's name follows. Default:
    /// `urn:pigello-gateway:problem:`, which names an error and leads nowhere. Where the manual is
    /// published, its page of errors makes a link of it: `https://docs.example.org/errors.html#`; on
    /// a laptop the admin listener's own does: `http://127.0.0.1:9901/errors/`. Callers compare it,
    /// so choose once.
    pub base: Option<ProblemBase>,
}

/// An operation besides the built-in ones.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Operation")]
pub struct OperationEntry {
    /// `entity.action` in lower case: `realestate.get`.
    pub name: String,
    /// The method. `HEAD` belongs to the `GET` operation.
    #[schemars(with = "Text<Method>")]
    pub method: String,
    /// The path; a variable segment is written `{pk}` and is a UUID.
    pub path: String,
}
