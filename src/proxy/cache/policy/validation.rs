//! Conditional requests: those of callers, answered from memory, and the cache's own (RFC 9110 §13).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::http_date;

/// What tells one state of an object from another.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy::cache) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<(SystemTime, HeaderValue)>,
    /// Stands in for `Last-Modified` where that is missing (RFC 9111 §4.3.2).
    date: Option<SystemTime>,
}

impl Validators {
    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Self {
        let last_modified = headers.get(header::LAST_MODIFIED).cloned();
        Self {
            etag: headers.get(header::ETAG).filter(|tag| !tag.is_empty()).cloned(),
            last_modified: last_modified
                .and_then(|value| http_date::parse(value.as_bytes()).map(|time| (time, value))),
            date: http_date::read(headers, &header::DATE),
        }
    }

    /// Whether the upstream can be asked if the object still is what it was.
    pub(in crate::proxy::cache) fn can_ask(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Makes a request ask for the object only if it changed (RFC 9111 §4.3.1). The caller's own
    /// conditions go: they are answered when the object is known.
    pub(in crate::proxy::cache) fn ask(&self, request: &mut HeaderMap) {
        for name in CONDITIONS {
            request.remove(name);
        }
        if let Some(etag) = &self.etag {
            request.insert(header::IF_NONE_MATCH, etag.clone());
        }
        if let Some((_, value)) = &self.last_modified {
            request.insert(header::IF_MODIFIED_SINCE, value.clone());
        }
    }

    /// Whether a 304 is about this object (RFC 9111 §4.3.4): it names no other validator.
    pub(in crate::proxy::cache) fn confirmed_by(&self, not_modified: &HeaderMap) -> bool {
        let told = Self::read(not_modified);
        match (&told.etag, &self.etag) {
            (Some(told), Some(ours)) => weakly_equal(told.as_bytes(), ours.as_bytes()),
            (Some(_), None) => false,
            (None, _) => match (&told.last_modified, &self.last_modified) {
                (Some((told, _)), Some((ours, _))) => told == ours,
                (Some(_), None) => false,
                (None, _) => true,
            },
        }
    }

    /// Whether a caller that sends these conditions has the object already (RFC 9111 §4.3.2).
    pub(in crate::proxy::cache) fn not_modified_for(&self, request: &HeaderMap) -> bool {
        if request.contains_key(header::IF_NONE_MATCH) {
            return request
                .get_all(header::IF_NONE_MATCH)
                .iter()
                .any(|value| self.matches(value.as_bytes()));
        }
        let Some(since) = http_date::read(request, &header::IF_MODIFIED_SINCE) else {
            return false;
        };
        let changed = self.last_modified.as_ref().map(|(time, _)| *time).or(self.date);
        changed.is_some_and(|changed| changed <= since)
    }

    /// Whether the range a caller asks for is of this very object (RFC 9110 §13.1.5).
    pub(in crate::proxy::cache) fn in_range(&self, if_range: &HeaderValue) -> bool {
        let asked = if_range.as_bytes().trim_ascii();
        let is_strong = |tag: &[u8]| tag.starts_with(b"\"");
        if let Some(etag) = self.etag.as_ref().filter(|tag| is_strong(tag.as_bytes()))
            && is_strong(asked)
        {
            return etag.as_bytes() == asked;
        }
        // A date is a strong validator only if the object was a second old when it was sent (§8.8.2.2).
        let strong = self.last_modified.as_ref().filter(|(changed, _)| {
            self.date
                .and_then(|date| date.duration_since(*changed).ok())
                .is_some_and(|d| d.as_secs() >= 1)
        });
        strong.is_some_and(|(_, value)| value.as_bytes() == asked)
    }

    /// Whether one of a list of entity tags, or `*`, is this object's.
    fn matches(&self, list: &[u8]) -> bool {
        if list.trim_ascii() == b"*" {
            return true;
        }
        let Some(ours) = &self.etag else { return false };
        entity_tags(list).any(|tag| weakly_equal(tag, ours.as_bytes()))
    }
}

/// Weak comparison (RFC 9110 §8.8.3.2).
fn weakly_equal(one: &[u8], two: &[u8]) -> bool {
    opaque(one) == opaque(two)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Splits `"a", W/"b"` at the commas outside the quotes: a tag may hold one.
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let mut quoted = false;
            let end = rest.iter().position(|byte| {
                quoted ^= *byte == b'"';
                *byte == b',' && !quoted
            });
            let at = end.unwrap_or(rest.len());
            let tag = rest.get(..at).unwrap_or_default().trim_ascii();
            rest = rest.get(at + 1..).unwrap_or_default();
            if !tag.is_empty() {
                return Some(tag);
            }
        }
    })
}

const CONDITIONS: [HeaderName; 4] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE];

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    const LATER: &str = "Thu, 02 Jan 2020 00:00:00 GMT";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn validators(lines: &[(&'static str, &str)]) -> Validators {
        Validators::read(&headers(lines))
    }

    #[test]
    fn callers_conditions() {
        for (stored, asked, not_modified) in [
            (&[("etag", "\"a\"")][..], &[("if-none-match", "\"a\"")][..], true),
            (&[("etag", "W/\"a\"")], &[("if-none-match", "\"a\"")], true),
            (&[("etag", "\"a\"")], &[("if-none-match", "W/\"a\"")], true),
            (&[("etag", "\"a\"")], &[("if-none-match", "\"1\", \"a\", \"2\"")], true),
            (&[("etag", "\"a\"")], &[("if-none-match", "\"1\",W/\"a\"")], true),
            (&[("etag", "\"a,b\"")], &[("if-none-match", "\"1\", \"a,b\"")], true),
            (&[("etag", "\"a\"")], &[("if-none-match", "\"1\""), ("if-none-match", "\"a\"")], true),
            (&[("etag", "\"a\"")], &[("if-none-match", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[("if-none-match", "a")], false),
            (&[("etag", "\"a\"")], &[("if-none-match", "*")], true),
            (&[("etag", "\"a\"")], &[], false),
            (&[], &[("if-none-match", "\"a\"")], false),
            // `If-None-Match` stands before `If-Modified-Since`.
            (
                &[("etag", "\"a\""), ("last-modified", EARLIER)],
                &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
                false,
            ),
            (&[("last-modified", EARLIER)], &[("if-modified-since", EARLIER)], true),
            (&[("last-modified", EARLIER)], &[("if-modified-since", LATER)], true),
            (&[("last-modified", LATER)], &[("if-modified-since", EARLIER)], false),
            (&[("last-modified", EARLIER)], &[("if-modified-since", "soon")], false),
            (&[("date", EARLIER)], &[("if-modified-since", LATER)], true),
            (&[("date", LATER)], &[("if-modified-since", EARLIER)], false),
        ] {
            assert_eq!(
                validators(stored).not_modified_for(&headers(asked)),
                not_modified,
                "{stored:?} {asked:?}"
            );
        }
    }

    #[test]
    fn a_304_must_name_no_other_validator() {
        for (stored, told, confirmed) in [
            (&[("etag", "\"a\"")][..], &[("etag", "\"a\"")][..], true),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], &[], true),
            (&[("last-modified", EARLIER)], &[("etag", "\"b\"")], false),
            (&[("last-modified", EARLIER)], &[("last-modified", EARLIER)], true),
            (&[("last-modified", EARLIER)], &[("last-modified", LATER)], false),
            (&[("last-modified", EARLIER)], &[], true),
        ] {
            let confirmed_by = validators(stored).confirmed_by(&headers(told));
            assert_eq!(confirmed_by, confirmed, "{stored:?} {told:?}");
        }
    }

    #[test]
    fn a_range_is_of_one_state() {
        for (stored, if_range, same) in [
            (&[("etag", "\"a\"")][..], "\"a\"", true),
            (&[("etag", "\"a\"")], "\"b\"", false),
            (&[("etag", "W/\"a\"")], "W/\"a\"", false),
            (&[("etag", "\"a\"")], "W/\"a\"", false),
            (&[("last-modified", EARLIER), ("date", LATER)], EARLIER, true),
            (&[("last-modified", EARLIER), ("date", EARLIER)], EARLIER, false),
            (&[("last-modified", EARLIER), ("date", LATER)], LATER, false),
            (&[("last-modified", EARLIER)], EARLIER, false),
            (&[], "\"a\"", false),
        ] {
            let if_range = HeaderValue::from_str(if_range).unwrap();
            assert_eq!(validators(stored).in_range(&if_range), same, "{stored:?} {if_range:?}");
        }
    }

    #[test]
    fn the_caches_own_question_replaces_the_callers() {
        let mut request =
            headers(&[("if-none-match", "\"x\""), ("range", "bytes=0-1"), ("a", "1")]);
        let stored = validators(&[("etag", "W/\"a\""), ("last-modified", EARLIER)]);
        assert!(stored.can_ask() && !Validators::default().can_ask());
        stored.ask(&mut request);
        assert_eq!(request.get(header::IF_NONE_MATCH).unwrap(), "W/\"a\"");
        assert_eq!(request.get(header::IF_MODIFIED_SINCE).unwrap(), EARLIER);
        assert!(!request.contains_key(header::RANGE) && request.contains_key("a"));
    }
}
