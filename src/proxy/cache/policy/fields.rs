//! Which of a request's fields the cache heeds, found in one pass.
//!
//! Every hit comes through here, and hardly a request has one of them. So the few names that are
//! there are looked at once, and no field is looked up that is not.

use http::HeaderMap;

/// The fields a request has, of those that the cache heeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Fields(u8);

impl Fields {
    pub(in crate::proxy::cache) fn of(request: &HeaderMap) -> Self {
        let found = request.keys().fold(0, |found, name| {
            found
                | match name.as_str() {
                    "cache-control" => CACHE_CONTROL,
                    "authorization" => AUTHORIZATION,
                    "range" => RANGE,
                    "if-none-match" | "if-modified-since" => CONDITION,
                    "if-match" | "if-unmodified-since" => CONDITION_FOR_UPSTREAM,
                    _ => 0,
                }
        });
        Self(found)
    }

    /// Whether it says what it wants of the cache.
    pub(in crate::proxy::cache) fn ask(self) -> bool {
        self.has(CACHE_CONTROL)
    }

    /// Whether a caller proves with it who they are to the upstream (RFC 9111 §3.5).
    pub(in crate::proxy::cache) fn are_authorized(self) -> bool {
        self.has(AUTHORIZATION)
    }

    /// Whether it wants a part.
    pub(in crate::proxy::cache) fn want_part(self) -> bool {
        self.has(RANGE)
    }

    /// Whether it has a condition that the cache answers (RFC 9111 §4.3.2).
    pub(in crate::proxy::cache) fn are_conditional(self) -> bool {
        self.has(CONDITION)
    }

    /// Whether it has a condition that only the upstream may answer (RFC 9111 §4.3.2).
    pub(in crate::proxy::cache) fn are_for_upstream(self) -> bool {
        self.has(CONDITION_FOR_UPSTREAM)
    }

    fn has(self, field: u8) -> bool {
        self.0 & field != 0
    }
}

const CACHE_CONTROL: u8 = 1;
const AUTHORIZATION: u8 = 2;
const RANGE: u8 = 4;
const CONDITION: u8 = 8;
const CONDITION_FOR_UPSTREAM: u8 = 16;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_field_is_found_among_others() {
        type Question = fn(Fields) -> bool;
        let questions: [Question; 5] = [
            Fields::ask,
            Fields::are_authorized,
            Fields::want_part,
            Fields::are_conditional,
            Fields::are_for_upstream,
        ];
        for (name, found) in [
            ("cache-control", 0),
            ("authorization", 1),
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
            let fields = Fields::of(&request);
            for (at, question) in questions.iter().enumerate() {
                assert_eq!(question(fields), at == found, "{name} {at}");
            }
        }
        assert_eq!(Fields::of(&HeaderMap::new()), Fields::default());
    }
}
