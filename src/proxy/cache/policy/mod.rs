//! The decisions of RFC 9111: what may be stored, how long it is fresh, and which stored response
//! answers a request. Nothing here stores or waits.

pub(super) mod directives;
pub(super) mod fields;
pub(super) mod freshness;
pub(super) mod http_date;
pub(super) mod range;
pub(super) mod storable;
pub(super) mod validation;
pub(super) mod vary;
