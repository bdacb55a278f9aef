//! The decisions of RFC 9111 as functions of header fields, times and the operator's rule: what may be
//! stored, how long it is fresh, and whether it answers a request. Nothing here does I/O, locks or
//! waits.

pub(super) mod directives;
pub(super) mod fields;
pub(super) mod freshness;
pub(super) mod http_date;
mod list;
pub(super) mod range;
pub(super) mod reuse;
pub(super) mod storable;
pub(super) mod validation;
pub(super) mod vary;
