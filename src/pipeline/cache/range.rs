//! Parts of a stored object (RFC 9110 §14).

use std::ops::Range;

use http::{HeaderMap, HeaderValue, header};

/// What part of an object a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no `Range`, one that cannot be read, or several. A server may ignore `Range`.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Bytes that it does not have.
    Unsatisfiable,
}

impl Part {
    /// Reads the `Range` of a request for an object of `length` bytes.
    pub(super) fn of(request: &HeaderMap, length: usize) -> Self {
        let mut lines = request.get_all(header::RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::read(line.as_bytes(), length).unwrap_or(Self::Whole),
            _ => Self::Whole,
        }
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

/// `Content-Range` of these bytes, or of none of them.
pub(super) fn content_range(range: Option<&Range<usize>>, length: usize) -> Option<HeaderValue> {
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
    fn parts_of_eleven_bytes() {
        for (line, part) in [
            ("bytes=0-1", Part::Bytes(0..2)),
            ("bytes=1-", Part::Bytes(1..11)),
            ("bytes=-1", Part::Bytes(10..11)),
            ("bytes=-99", Part::Bytes(0..11)),
            ("bytes=5-99999999999999999999999", Part::Bytes(5..11)),
            ("Bytes = 10-10", Part::Bytes(10..11)),
            ("bytes=11-", Part::Unsatisfiable),
            ("bytes=11-12", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=2-1", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("nonsense", Part::Whole),
        ] {
            let mut request = HeaderMap::new();
            request.insert(header::RANGE, HeaderValue::from_static(line));
            assert_eq!(Part::of(&request, 11), part, "{line}");
        }
        assert_eq!(Part::of(&HeaderMap::new(), 11), Part::Whole);
        assert_eq!(content_range(Some(&(0..2)), 11).unwrap(), "bytes 0-1/11");
        assert_eq!(content_range(None, 11).unwrap(), "bytes */11");
    }

    proptest::proptest! {
        #[test]
        fn a_part_is_inside(line in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0usize..500) {
            let mut request = HeaderMap::new();
            request.insert(header::RANGE, line.parse().unwrap());
            if let Part::Bytes(range) = Part::of(&request, length) {
                proptest::prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
