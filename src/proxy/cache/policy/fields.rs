//! Which of the fields that matter to the cache a request has.
//!
//! Every hit passes here, and few requests have any of these fields. One pass over the names is cheaper
//! than a lookup for each field.

use http::HeaderMap;

/// The fields of a request that matter to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::cache) struct RequestFieldSet(u8);

impl RequestFieldSet {
    pub(in crate::proxy::cache) fn of(request: &HeaderMap) -> Self {
        let found = request.keys().fold(0, |found, name| {
            found
                | match name.as_str() {
                    "cache-control" => CACHE_CONTROL,
                    "authorization" | "cookie" => CREDENTIALS,
                    "range" => RANGE,
                    "if-none-match" | "if-modified-since" => CONDITION,
                    "if-match" | "if-unmodified-since" => CONDITION_FOR_UPSTREAM,
                    _ => 0,
                }
        });
        Self(found)
    }

    /// `Cache-Control`.
    pub(in crate::proxy::cache) fn has_cache_control(self) -> bool {
        self.has(CACHE_CONTROL)
    }

    /// `Authorization` or `Cookie`: the response is for this caller alone. RFC 9111 §3.5 lets some
    /// such responses be shared, but no field says that a response does not depend on a session.
    pub(in crate::proxy::cache) fn has_credentials(self) -> bool {
        self.has(CREDENTIALS)
    }

    /// `Range`.
    pub(in crate::proxy::cache) fn has_range(self) -> bool {
        self.has(RANGE)
    }

    /// A condition that the cache evaluates (RFC 9111 §4.3.2).
    pub(in crate::proxy::cache) fn has_condition(self) -> bool {
        self.has(CONDITION)
    }

    /// A condition that only the upstream may evaluate (RFC 9111 §4.3.2).
    pub(in crate::proxy::cache) fn has_condition_for_upstream(self) -> bool {
        self.has(CONDITION_FOR_UPSTREAM)
    }

    fn has(self, field: u8) -> bool {
        self.0 & field != 0
    }
}

const CACHE_CONTROL: u8 = 1;
const CREDENTIALS: u8 = 2;
const RANGE: u8 = 4;
const CONDITION: u8 = 8;
const CONDITION_FOR_UPSTREAM: u8 = 16;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_field_is_found_among_others() {
        type Question = fn(RequestFieldSet) -> bool;
        let questions: [Question; 5] = [
            RequestFieldSet::has_cache_control,
            RequestFieldSet::has_credentials,
            RequestFieldSet::has_range,
            RequestFieldSet::has_condition,
            RequestFieldSet::has_condition_for_upstream,
        ];
        for (name, found) in [
            ("cache-control", 0),
            ("authorization", 1),
            ("cookie", 1),
            ("range", 2),
            ("if-none-match", 3),
            ("if-modified-since", 3),
            ("if-match", 4),
            ("if-unmodified-since", 4),
            ("if-range", 5),
            ("accept", 5),
        ] {
            let mut request = HeaderMap::new();
            for name in ["host", name, "user-agent"] {
                request.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
            }
            let fields = RequestFieldSet::of(&request);
            for (at, question) in questions.iter().enumerate() {
                assert_eq!(question(fields), at == found, "{name} {at}");
            }
        }
        assert_eq!(RequestFieldSet::of(&HeaderMap::new()), RequestFieldSet::default());
    }
}
