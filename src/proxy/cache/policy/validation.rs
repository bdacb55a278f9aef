//! Conditional requests (RFC 9110 §13): those of callers, which the cache evaluates, and its own, which
//! validate a stored response at the upstream (RFC 9111 §4.3).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{http_date, list};

/// The validators of a stored response.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy::cache) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<(SystemTime, HeaderValue)>,
    /// Replaces a missing `Last-Modified` (RFC 9111 §4.3.2).
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

    /// Whether the upstream can validate the stored response.
    pub(in crate::proxy::cache) fn can_validate(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Makes a request conditional (RFC 9111 §4.3.1). It replaces the caller's own conditions, which the
    /// cache evaluates afterwards.
    pub(in crate::proxy::cache) fn make_conditional(&self, request: &mut HeaderMap) {
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

    /// Whether a response, a 304 as a rule, is about the stored response (RFC 9111 §4.3.4): it has no
    /// other validator.
    pub(in crate::proxy::cache) fn match_response(&self, response: &HeaderMap) -> bool {
        let theirs = Self::read(response);
        match (&theirs.etag, &self.etag) {
            (Some(theirs), Some(ours)) => weakly_equal(theirs.as_bytes(), ours.as_bytes()),
            (Some(_), None) => false,
            (None, _) => match (&theirs.last_modified, &self.last_modified) {
                (Some((theirs, _)), Some((ours, _))) => theirs == ours,
                (Some(_), None) => false,
                (None, _) => true,
            },
        }
    }

    /// Whether the response to a HEAD is about the stored response, whose body has `length` bytes
    /// (RFC 9111 §4.3.5).
    pub(in crate::proxy::cache) fn match_head(&self, head: &HeaderMap, length: usize) -> bool {
        let theirs = head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        theirs.is_none_or(|theirs| theirs.parse() == Ok(length)) && self.match_response(head)
    }

    /// Whether a request's conditions make the answer a 304 (RFC 9111 §4.3.2).
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

    /// Whether `If-Range`, if the request has one, is true (RFC 9110 §13.1.5).
    pub(in crate::proxy::cache) fn allow_range(&self, request: &HeaderMap) -> bool {
        let Some(if_range) = request.get(header::IF_RANGE) else { return true };
        let asked = if_range.as_bytes().trim_ascii();
        let is_strong = |tag: &[u8]| tag.starts_with(b"\"");
        if let Some(etag) = self.etag.as_ref().filter(|tag| is_strong(tag.as_bytes()))
            && is_strong(asked)
        {
            return etag.as_bytes() == asked;
        }
        // A date is a strong validator only if it is a second before `Date` (RFC 9110 §8.8.2.2).
        let strong = self.last_modified.as_ref().filter(|(changed, _)| {
            self.date
                .and_then(|date| date.duration_since(*changed).ok())
                .is_some_and(|d| d.as_secs() >= 1)
        });
        strong.is_some_and(|(_, value)| value.as_bytes() == asked)
    }

    /// Whether a list of entity tags, or `*`, includes the stored response's.
    fn matches(&self, list: &[u8]) -> bool {
        if list.trim_ascii() == b"*" {
            return true;
        }
        let Some(ours) = &self.etag else { return false };
        list::members(list, false).any(|tag| weakly_equal(tag, ours.as_bytes()))
    }
}

/// Weak comparison (RFC 9110 §8.8.3.2).
fn weakly_equal(one: &[u8], two: &[u8]) -> bool {
    opaque(one) == opaque(two)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The fields of a stored response after a 304 or HEAD response (RFC 9111 §3.2).
pub(in crate::proxy::cache) fn updated_fields(
    stored: &HeaderMap,
    response: &HeaderMap,
) -> HeaderMap {
    let mut headers = stored.clone();
    for name in response.keys().filter(|name| !DESCRIBES_BODY.contains(name)) {
        headers.remove(name);
        for value in response.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Fields that describe the stored bytes, so a 304 neither has nor changes them (RFC 9111 §3.2).
pub(in crate::proxy::cache) const DESCRIBES_BODY: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::TRANSFER_ENCODING,
];

const CONDITIONS: [HeaderName; 2] = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];

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
    fn a_callers_conditions_are_evaluated() {
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
            // `If-None-Match` comes before `If-Modified-Since`.
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
    fn a_304_with_another_validator_confirms_nothing() {
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
            let matches = validators(stored).match_response(&headers(told));
            assert_eq!(matches, confirmed, "{stored:?} {told:?}");
        }
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
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
            let request = headers(&[("if-range", if_range)]);
            assert_eq!(validators(stored).allow_range(&request), same, "{stored:?} {if_range:?}");
        }
    }

    #[test]
    fn the_caches_own_condition_replaces_the_callers() {
        let mut request =
            headers(&[("if-none-match", "\"x\""), ("if-modified-since", LATER), ("a", "1")]);
        let stored = validators(&[("etag", "W/\"a\""), ("last-modified", EARLIER)]);
        assert!(stored.can_validate() && !Validators::default().can_validate());
        stored.make_conditional(&mut request);
        assert_eq!(request.get(header::IF_NONE_MATCH).unwrap(), "W/\"a\"");
        assert_eq!(request.get(header::IF_MODIFIED_SINCE).unwrap(), EARLIER);
        assert!(request.contains_key("a"));
    }
}
