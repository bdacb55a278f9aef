//! Ranges of stored responses (RFC 9110 §14). The upstream is never asked for one.

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

    proptest::proptest! {
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
