//! The rules about requests and fields that stages, the admin listener and `explain` share: host
//! names, browsers, methods, hop-by-hop fields, and the fields that are Pigello's own.
//!
//! They are functions of a message alone. A stage decides when a rule applies.

mod browser;
mod fields;
pub(in crate::proxy) mod hop_by_hop;
mod host;
mod method;
mod reserved;

use http::{HeaderMap, request};

pub use self::{browser::refuse_browsers, host::HostRules, reserved::is_reserved};
pub(in crate::proxy) use self::{
    fields::join_cookies,
    method::PROXIED_METHODS,
    reserved::{holds_secret, strip_reserved, without_spoofed},
};
use crate::error::Error;

/// Refuses a request that no listener with these hosts serves, whatever its target is. `serve` and `explain`
/// both decide here.
pub fn check_head(
    hosts: &HostRules,
    head: &request::Parts,
    body_is_empty: bool,
) -> Result<(), Error> {
    method::refuse_methods(&head.method)?;
    hosts.check(head.version, &head.uri, &head.headers)?;
    fields::check(head.version, &head.uri, &head.headers, body_is_empty)?;
    refuse_browsers(&head.headers)?;
    hop_by_hop::refuse_expectations(&head.headers)
}

/// The fields of a request that reach the upstream, without those that the gateway adds.
pub fn end_to_end(fields: &HeaderMap) -> HeaderMap {
    let mut fields = fields.clone();
    hop_by_hop::strip(&mut fields);
    hop_by_hop::strip_request_only(&mut fields);
    without_spoofed(&fields, 0)
}
