//! Ranges of stored responses, and stored 206 responses (RFC 9110 §14, RFC 9111 §3.3).

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The range of a whole response that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum RequestedRange {
    /// All bytes: there is no `Range`, it is invalid, or it names several ranges. A server may ignore it.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Bytes beyond the end.
    Unsatisfiable,
}

impl RequestedRange {
    /// Reads the `Range` of a request for `length` bytes.
    pub(in crate::proxy::cache) fn of(request: &HeaderMap, length: usize) -> Self {
        let line = only(request, &header::RANGE);
        line.and_then(|line| Self::read(line.as_bytes(), length)).unwrap_or(Self::Whole)
    }

    fn read(line: &[u8], length: usize) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let (unit, spec) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        let number = |text: &str| -> Option<usize> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(usize::MAX))
        };
        let range = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            (Some(first), None) if last.is_empty() => first..length,
            (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
            _ => return None,
        };
        Some(if range.is_empty() { Self::Unsatisfiable } else { Self::Bytes(range) })
    }
}

/// Which bytes of the complete response a stored 206 has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct StoredRange {
    first: usize,
    /// The end that `Content-Range` announced, exclusive.
    end: usize,
    /// The complete length, if it is known.
    complete: Option<usize>,
    /// The `Range` of the request that it answered.
    asked: Box<[u8]>,
}

impl StoredRange {
    /// Reads the `Content-Range` of a 206. `None` for several ranges in one response.
    pub(in crate::proxy::cache) fn read(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let asked = only(request, &header::RANGE)?.as_bytes().into();
        let line = only(response, &header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, complete) = line.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let complete = if complete == "*" { None } else { Some(complete.parse().ok()?) };
        let is_valid = first <= last && complete.is_none_or(|complete| last < complete);
        let end = last.checked_add(1)?;
        is_valid.then_some(Self { first, end, complete, asked })
    }

    /// Whether a body has no more bytes than `Content-Range` announced. It may have fewer.
    pub(in crate::proxy::cache) fn can_hold(&self, length: usize) -> bool {
        self.end.checked_sub(self.first).is_some_and(|announced| length <= announced)
    }

    /// Which of the `length` stored bytes answer a request, and the position of the first of them in the
    /// complete response. The same `Range` as before gets all bytes.
    ///
    /// `Content-Range` may have announced more bytes than came. A stored suffix still ends with the last
    /// byte, and a request for all bytes from some position may get fewer (RFC 9110 §15.3.7).
    pub(in crate::proxy::cache) fn bytes_for(
        &self,
        request: &HeaderMap,
        length: usize,
    ) -> Option<(Range<usize>, usize)> {
        let line = only(request, &header::RANGE)?.as_bytes();
        if line == &*self.asked {
            return Some((0..length, self.first));
        }
        let complete = self.complete?;
        let has_end = self.end == complete;
        if let (true, Some(wanted), Some(sent)) = (has_end, suffix(line), suffix(&self.asked)) {
            let (first, at) = (length.checked_sub(wanted)?, self.end.checked_sub(wanted)?);
            return (wanted <= sent).then_some((first..length, at));
        }
        let RequestedRange::Bytes(range) = RequestedRange::of(request, complete) else {
            return None;
        };
        let start = range.start.checked_sub(self.first)?;
        let mut end = range.end.checked_sub(self.first)?;
        if has_end && line.ends_with(b"-") {
            end = end.min(length);
        }
        (start < end && end <= length).then_some((start..end, range.start))
    }

    /// `Content-Range` of `length` bytes from position `at` of the complete response.
    pub(in crate::proxy::cache) fn content_range(
        &self,
        at: usize,
        length: usize,
    ) -> Option<HeaderValue> {
        content_range(Some(&(at..at.checked_add(length)?)), self.complete?)
    }

    /// The bytes that it takes in memory.
    pub(in crate::proxy::cache) fn heap_bytes(&self) -> usize {
        self.asked.len()
    }
}

/// The number of last bytes that a `Range` like `bytes=-5` asks for.
fn suffix(range: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(range).ok()?;
    let (unit, spec) = text.split_once('=')?;
    let digits = spec.trim().strip_prefix('-')?;
    let is_suffix = unit.trim().eq_ignore_ascii_case("bytes")
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_suffix.then(|| digits.parse().ok()).flatten().filter(|count| *count > 0)
}

/// The value of a field that is not repeated.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// `Content-Range` of these bytes, or of an unsatisfiable range.
pub(in crate::proxy::cache) fn content_range(
    range: Option<&Range<usize>>,
    length: usize,
) -> Option<HeaderValue> {
    let text = match range {
        Some(range) => format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1)),
        None => format!("bytes */{length}"),
    };
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_eleven_bytes() {
        for (line, part) in [
            ("bytes=0-1", RequestedRange::Bytes(0..2)),
            ("bytes=1-", RequestedRange::Bytes(1..11)),
            ("bytes=-1", RequestedRange::Bytes(10..11)),
            ("bytes=-99", RequestedRange::Bytes(0..11)),
            ("bytes=5-99999999999999999999999", RequestedRange::Bytes(5..11)),
            ("Bytes = 10-10", RequestedRange::Bytes(10..11)),
            ("bytes=11-", RequestedRange::Unsatisfiable),
            ("bytes=11-12", RequestedRange::Unsatisfiable),
            ("bytes=-0", RequestedRange::Unsatisfiable),
            ("bytes=0-1,3-4", RequestedRange::Whole),
            ("bytes=2-1", RequestedRange::Whole),
            ("bytes=-", RequestedRange::Whole),
            ("bytes=a-b", RequestedRange::Whole),
            ("bytes=+1-2", RequestedRange::Whole),
            ("lines=0-1", RequestedRange::Whole),
            ("nonsense", RequestedRange::Whole),
        ] {
            let mut request = HeaderMap::new();
            request.insert(header::RANGE, HeaderValue::from_static(line));
            assert_eq!(RequestedRange::of(&request, 11), part, "{line}");
        }
        assert_eq!(RequestedRange::of(&HeaderMap::new(), 11), RequestedRange::Whole);
        assert_eq!(content_range(Some(&(0..2)), 11).unwrap(), "bytes 0-1/11");
        assert_eq!(content_range(None, 11).unwrap(), "bytes */11");
    }

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_stored_range_answers_requests_for_its_bytes() {
        let asked = headers(header::RANGE, "bytes=-5");
        let stored = |line| StoredRange::read(&asked, &headers(header::CONTENT_RANGE, line));
        for line in ["bytes 5-4/10", "bytes 0-10/10", "bytes */10", "lines 1-2/3", "bytes 0-1", "x"]
        {
            assert_eq!(stored(line), None, "{line}");
        }
        assert_eq!(
            StoredRange::read(&HeaderMap::new(), &headers(header::CONTENT_RANGE, "bytes 0-1/2")),
            None
        );
        let tail = stored("bytes 5-9/10").unwrap();
        let bytes = |line| tail.bytes_for(&headers(header::RANGE, line), 5).map(|(bytes, _)| bytes);
        assert_eq!(bytes("bytes=-5"), Some(0..5));
        assert_eq!(bytes("bytes=6-8"), Some(1..4));
        assert_eq!(bytes("bytes=6-"), Some(1..5));
        assert_eq!(bytes("bytes=-1"), Some(4..5));
        assert_eq!(bytes("bytes=4-8"), None);
        assert_eq!(bytes("bytes=20-"), None);
        assert_eq!(tail.content_range(6, 3).unwrap(), "bytes 6-8/10");
        // One byte did not come. It answers no request for that byte.
        let bytes = |line| tail.bytes_for(&headers(header::RANGE, line), 4);
        assert_eq!(bytes("bytes=6-9"), None);
        assert_eq!(bytes("bytes=9-"), None);
        assert_eq!(bytes("bytes=6-8"), Some((1..4, 6)));
        // A request for all bytes from some position gets fewer. A suffix is still the suffix.
        assert_eq!(bytes("bytes=6-"), Some((1..4, 6)));
        assert_eq!(bytes("bytes=-1"), Some((3..4, 9)));
        assert_eq!(bytes("bytes=-5"), Some((0..4, 5)));
        assert_eq!(bytes("bytes=-6"), None);
        // A body that is longer than it says is not stored, and would do no harm.
        assert!(tail.can_hold(5) && tail.can_hold(0) && !tail.can_hold(6));
        let short = stored("bytes 0-1/2").unwrap();
        assert_eq!(short.bytes_for(&headers(header::RANGE, "bytes=-4"), 9), None);
        // A range in the middle does not have the end.
        let middle = stored("bytes 2-5/10").unwrap();
        assert_eq!(middle.bytes_for(&headers(header::RANGE, "bytes=3-"), 4), None);
        assert_eq!(middle.bytes_for(&headers(header::RANGE, "bytes=-1"), 4), None);
        // Without the complete length it answers only the same `Range`.
        let unknown = stored("bytes 5-9/*").unwrap();
        assert_eq!(unknown.bytes_for(&headers(header::RANGE, "bytes=6-8"), 5), None);
        assert_eq!(unknown.bytes_for(&headers(header::RANGE, "bytes=-1"), 5), None);
        assert_eq!(unknown.bytes_for(&asked, 5), Some((0..5, 5)));
    }

    proptest::proptest! {
        /// A stored range answers with the bytes of the complete response.
        #[test]
        fn a_stored_range_answers_as_the_complete_response(first in 0usize..20, count in 1usize..20, line in "bytes=[0-9]{0,2}-[0-9]{0,2}") {
            let whole: Vec<usize> = (0..40).collect();
            let response = headers(header::CONTENT_RANGE, &format!("bytes {first}-{}/40", first + count - 1));
            let stored = StoredRange::read(&headers(header::RANGE, "bytes=x"), &response).unwrap();
            let request = headers(header::RANGE, &line);
            if let Some((bytes, at)) = stored.bytes_for(&request, count) {
                let RequestedRange::Bytes(range) = RequestedRange::of(&request, 40) else { panic!("{line}") };
                proptest::prop_assert_eq!(at, range.start);
                proptest::prop_assert_eq!(&whole[first..first + count][bytes], &whole[range]);
            }
        }

        #[test]
        fn a_requested_range_is_inside(line in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0usize..500) {
            let mut request = HeaderMap::new();
            request.insert(header::RANGE, line.parse().unwrap());
            if let RequestedRange::Bytes(range) = RequestedRange::of(&request, length) {
                proptest::prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
