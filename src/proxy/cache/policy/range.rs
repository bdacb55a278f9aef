//! Parts: of what is stored whole, and what is stored in part (RFC 9110 §14, RFC 9111 §3.3).

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What part of an object a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) enum Part {
    /// All of it: no `Range`, one that cannot be read, or several. A server may ignore `Range`.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// Bytes that it does not have.
    Unsatisfiable,
}

impl Part {
    /// Reads the `Range` of a request for an object of `length` bytes.
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

/// Where the bytes of a stored 206 stand in the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct Piece {
    first: usize,
    /// Behind the last of the bytes that were announced.
    end: usize,
    /// The length of the whole, if it is known.
    whole: Option<usize>,
    /// The `Range` that it answers, as it was asked.
    asked: Box<[u8]>,
}

impl Piece {
    /// Reads the `Content-Range` of a 206. Several parts in one answer are not stored.
    pub(in crate::proxy::cache) fn read(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let asked = only(request, &header::RANGE)?.as_bytes().into();
        let line = only(response, &header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, whole) = line.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
        let is_valid = first <= last && whole.is_none_or(|whole| last < whole);
        let end = last.checked_add(1)?;
        is_valid.then_some(Self { first, end, whole, asked })
    }

    /// Which of its `length` bytes answer a request, and where the first of them stands in the whole:
    /// all of them if it is the request that they were sent for.
    ///
    /// What `Content-Range` promised beyond the bytes that came is not there. But what was sent as the
    /// last so many bytes ends with the last ones, and who wants all from some point to the end may be
    /// answered with fewer (RFC 9110 §15.3.7).
    pub(in crate::proxy::cache) fn bytes_for(
        &self,
        request: &HeaderMap,
        length: usize,
    ) -> Option<(Range<usize>, usize)> {
        let line = only(request, &header::RANGE)?.as_bytes();
        if line == &*self.asked {
            return Some((0..length, self.first));
        }
        let whole = self.whole?;
        let has_end = self.end == whole;
        if let (true, Some(wanted), Some(sent)) = (has_end, suffix(line), suffix(&self.asked)) {
            let is_held = wanted <= sent.min(length);
            return is_held.then(|| (length - wanted..length, self.end - wanted));
        }
        let Part::Bytes(range) = Part::of(request, whole) else { return None };
        let start = range.start.checked_sub(self.first)?;
        let mut end = range.end.checked_sub(self.first)?;
        if has_end && line.ends_with(b"-") {
            end = end.min(length);
        }
        (start < end && end <= length).then_some((start..end, range.start))
    }

    /// `Content-Range` of `length` bytes from this one of the whole on.
    pub(in crate::proxy::cache) fn content_range(
        &self,
        at: usize,
        length: usize,
    ) -> Option<HeaderValue> {
        content_range(Some(&(at..at + length)), self.whole?)
    }

    /// The bytes it takes in memory.
    pub(in crate::proxy::cache) fn heap_bytes(&self) -> usize {
        self.asked.len()
    }
}

/// How many of the last bytes a `Range` asks for, if it is of that form.
fn suffix(range: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(range).ok()?;
    let (unit, spec) = text.split_once('=')?;
    let digits = spec.trim().strip_prefix('-')?;
    let is_suffix = unit.trim().eq_ignore_ascii_case("bytes")
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_suffix.then(|| digits.parse().ok()).flatten().filter(|count| *count > 0)
}

/// The value of a field that must stand once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// `Content-Range` of these bytes, or of none of them.
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

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn pieces_of_a_whole() {
        let asked = headers(header::RANGE, "bytes=-5");
        let piece = |line| Piece::read(&asked, &headers(header::CONTENT_RANGE, line));
        for line in ["bytes 5-4/10", "bytes 0-10/10", "bytes */10", "lines 1-2/3", "bytes 0-1", "x"]
        {
            assert_eq!(piece(line), None, "{line}");
        }
        assert_eq!(
            Piece::read(&HeaderMap::new(), &headers(header::CONTENT_RANGE, "bytes 0-1/2")),
            None
        );
        let tail = piece("bytes 5-9/10").unwrap();
        let bytes = |line| tail.bytes_for(&headers(header::RANGE, line), 5).map(|(bytes, _)| bytes);
        assert_eq!(bytes("bytes=-5"), Some(0..5));
        assert_eq!(bytes("bytes=6-8"), Some(1..4));
        assert_eq!(bytes("bytes=6-"), Some(1..5));
        assert_eq!(bytes("bytes=-1"), Some(4..5));
        assert_eq!(bytes("bytes=4-8"), None);
        assert_eq!(bytes("bytes=20-"), None);
        assert_eq!(tail.content_range(6, 3).unwrap(), "bytes 6-8/10");
        // One byte of it is missing: what needs that is not answered.
        let bytes = |line| tail.bytes_for(&headers(header::RANGE, line), 4);
        assert_eq!(bytes("bytes=6-9"), None);
        assert_eq!(bytes("bytes=9-"), None);
        assert_eq!(bytes("bytes=6-8"), Some((1..4, 6)));
        // From some point to the end as much as there is; and the last ones are the last.
        assert_eq!(bytes("bytes=6-"), Some((1..4, 6)));
        assert_eq!(bytes("bytes=-1"), Some((3..4, 9)));
        assert_eq!(bytes("bytes=-5"), Some((0..4, 5)));
        assert_eq!(bytes("bytes=-6"), None);
        // What is in the middle has no end.
        let middle = piece("bytes 2-5/10").unwrap();
        assert_eq!(middle.bytes_for(&headers(header::RANGE, "bytes=3-"), 4), None);
        assert_eq!(middle.bytes_for(&headers(header::RANGE, "bytes=-1"), 4), None);
        // Without the length of the whole only the same request is answered.
        let unknown = piece("bytes 5-9/*").unwrap();
        assert_eq!(unknown.bytes_for(&headers(header::RANGE, "bytes=6-8"), 5), None);
        assert_eq!(unknown.bytes_for(&headers(header::RANGE, "bytes=-1"), 5), None);
        assert_eq!(unknown.bytes_for(&asked, 5), Some((0..5, 5)));
    }

    proptest::proptest! {
        /// A piece answers with exactly the bytes that the whole would answer with.
        #[test]
        fn a_piece_answers_as_the_whole(first in 0usize..20, count in 1usize..20, line in "bytes=[0-9]{0,2}-[0-9]{0,2}") {
            let whole: Vec<usize> = (0..40).collect();
            let response = headers(header::CONTENT_RANGE, &format!("bytes {first}-{}/40", first + count - 1));
            let piece = Piece::read(&headers(header::RANGE, "bytes=x"), &response).unwrap();
            let request = headers(header::RANGE, &line);
            if let Some((bytes, at)) = piece.bytes_for(&request, count) {
                let Part::Bytes(range) = Part::of(&request, 40) else { panic!("{line}") };
                proptest::prop_assert_eq!(at, range.start);
                proptest::prop_assert_eq!(&whole[first..first + count][bytes], &whole[range]);
            }
        }

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
