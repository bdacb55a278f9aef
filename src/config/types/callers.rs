//! `[[callers]]`, `[policy]`, `[[operations]]` and `[problems]`: who may do what, and the errors that
//! callers get.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Method;
use crate::{
    domain::{
        CallerCredential, Name, OperationPattern, ProblemBase, ProfileName, ProfilePattern, Text,
    },
    proxy::stages::authorize::{Access, Mode, Unmatched},
};

/// One caller: how it is identified, and what it may do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Caller")]
pub struct CallerEntry {
    /// Its name in the audit trail.
    #[schemars(with = "Text<Name>")]
    pub name: Arc<str>,
    /// User ids of the processes that are this caller on a Unix socket.
    #[serde(default)]
    pub unix_uids: Vec<u32>,
    /// URI or DNS names in a verified client certificate, matched exactly:
    /// `spiffe://corp/billing`.
    #[serde(default)]
    pub tls_names: Vec<Arc<str>>,
    /// Operations that it may use: `subtenant.get`, `subtenant.*`, `*.get`, or `*` for all.
    /// `pigello-gateway operations` lists them.
    pub allow: Vec<OperationPattern>,
    /// The profile of all its calls, on listeners without one.
    pub profile: Option<ProfileName>,
    /// Profiles that it may name in its requests: `customer-acme`, `nordic-*`, or `*` for all. Without it, it uses
    /// only the one that its listener or `profile` names.
    #[serde(default)]
    pub profiles: Vec<ProfilePattern>,
    /// Credentials of the caller's own that go up to Pigello beside the seven values: `"authorization"`,
    /// `"cookie"`. All others are removed. An answer to a request that has one is for this caller alone:
    /// it is not cached, and a 401 says nothing of the seven values.
    #[serde(default)]
    pub forward: Vec<CallerCredential>,
    /// Calls a second; more are refused with a 429. Without it, no limit.
    pub rate: Option<u32>,
    /// Calls at once before `rate` applies. Default: the value of `rate`.
    pub burst: Option<u32>,
    /// Calls at the same time. Without it, no limit.
    pub concurrency: Option<u32>,
}

/// What happens to callers and requests that no entry names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Policy")]
pub struct PolicySettings {
    /// Callers that match no `[[callers]]` entry. Default: `deny` if there is an entry, else
    /// `allow`.
    pub unidentified: Option<Access>,
    /// Requests that match no operation.
    pub unmatched: Unmatched,
    /// Whether a refusal takes effect or is only recorded.
    pub mode: Mode,
}

impl PolicySettings {
    /// What happens to callers that match no entry.
    pub fn unidentified(&self) -> Access {
        self.unidentified.unwrap_or(Access::Deny)
    }
}

/// The errors that callers get.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Problems")]
pub struct ProblemSettings {
    /// The prefix of a problem document's `type`, before the error's name. Default:
    /// `urn:pigello-gateway:problem:`, which names an error without a link. If the manual is
    /// published, write the address of its page of errors: `https://docs.example.org/errors.html#`.
    /// On a laptop the admin listener has such a page: `http://127.0.0.1:9901/errors/`. Callers
    /// compare the `type`, so do not change it later.
    pub base: Option<ProblemBase>,
}

/// An operation in addition to the built-in ones. `pigello-gateway operations import` makes entries from an
/// OpenAPI description.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Operation")]
pub struct OperationEntry {
    /// `entity.action` in lower case: `realestate.get`.
    pub name: String,
    /// The method. The `GET` operation includes `HEAD`.
    #[schemars(with = "Text<Method>")]
    pub method: String,
    /// The path. A variable segment is written `{pk}` and is a UUID.
    pub path: String,
    /// Whether a `GET`, `HEAD`, `DELETE` or `OPTIONS` may have a body. HTTP defines none for them, and an
    /// upstream that ignores it reads it as another request, so it is refused with a 400. Requests with
    /// other methods may always have one.
    #[serde(default)]
    pub body: bool,
}
