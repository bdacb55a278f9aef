//! The rules about requests and fields that stages, the admin listener and `explain` share: host
//! names, browsers, methods, hop-by-hop fields, and the fields that are Pigello's own.
//!
//! They are functions of a message alone. A stage decides when a rule applies.

mod browser;
pub(in crate::proxy) mod hop_by_hop;
mod host;
mod method;
mod reserved;

use http::HeaderMap;

pub use self::{
    browser::refuse_browsers, host::HostRules, method::refuse_methods, reserved::is_reserved,
};
pub(in crate::proxy) use self::{
    method::PROXIED_METHODS,
    reserved::{strip_reserved, without_spoofed},
};

/// The fields of a request that reach the upstream, without those that the gateway adds.
pub fn end_to_end(fields: &HeaderMap) -> HeaderMap {
    let mut fields = fields.clone();
    hop_by_hop::strip(&mut fields);
    hop_by_hop::strip_request_only(&mut fields);
    without_spoofed(&fields, 0)
}
