//! The rules about requests and fields that stages, the admin listener and `explain` share: host
//! names, browsers, methods, hop-by-hop fields, which of a caller's fields go up, and content codings.
//!
//! They depend on a message alone. A stage decides when a rule applies.

mod browser;
pub(in crate::proxy) mod content_coding;
mod fields;
pub(in crate::proxy) mod hop_by_hop;
mod host;
mod method;
mod reserved;
mod upward;

use http::request;

pub use self::{
    browser::refuse_browsers,
    host::{HostRules, ProfileHost},
    upward::{Withheld, withheld_fields},
};
pub(in crate::proxy) use self::{
    browser::{close_to_pages, strip_grants},
    fields::join_cookies,
    method::PROXIED_METHODS,
    reserved::{holds_secret, strip_reserved, to_send},
    upward::{has_credentials, strip as strip_request, strip_credentials},
};
use crate::{domain::ProfileName, error::Error};

/// Refuses a request that no listener with these hosts serves, whatever its target is. `serve` and `explain`
/// both decide here. Returns the profile that the host names.
pub fn check_head(
    hosts: &HostRules,
    head: &request::Parts,
    body_is_empty: bool,
) -> Result<Option<ProfileName>, Error> {
    method::refuse_methods(&head.method)?;
    let profile = hosts.check(head.version, &head.uri, &head.headers)?;
    fields::check(head.version, &head.uri, &head.headers, body_is_empty)?;
    refuse_browsers(&head.headers)?;
    browser::refuse_navigation(&head.headers)?;
    hop_by_hop::refuse_expectations(&head.headers)?;
    Ok(profile)
}
