//! The canonical request target.
//!
//! The path that the policy matches is byte for byte the path that is sent. A path that two servers
//! could read differently is refused, not normalised: path rules are bypassed where a proxy matches one
//! reading and sends another.

use std::{fmt, ops::BitOr, str::FromStr};

use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;

use super::target_bytes::{Unencoded, is_target_byte};

/// A path and query with exactly one reading.
///
/// The path begins with `/` and has only the characters of RFC 3986 §3.3, without `;`. It has no empty
/// segments and no dot segments. It does not percent-encode unreserved characters (`%2E`), separators
/// (`%2F`, `%5C`, `%3B`, `%25`), control characters or invalid UTF-8 (some decoders read `%C0%AF` as a
/// slash). The query is kept byte for byte, and a `%` in it begins a percent-encoding.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalTarget(PathAndQuery);

impl CanonicalTarget {
    /// Checks the path and query of a request.
    pub fn parse(target: PathAndQuery) -> Result<Self, TargetError> {
        if !is_plain(target.path().as_bytes()) {
            check_path(target.path())?;
        }
        if target.query().is_some() {
            check_query(&target)?;
        }
        Ok(Self(target))
    }

    /// The path, as received and sent.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The query after the `?`, as received and sent.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// Path and query, as received and sent.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Path and query, for a URI.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.0
    }

    /// The names of the query's parameters, in order, each once. The values are left out, because they
    /// have names, addresses and identity numbers.
    pub fn query_keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        let pairs = self.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for pair in pairs {
            // Without `=` the whole text could be a value, so it has no name.
            let key = pair.split_once('=').map_or("(no name)", |(key, _)| key);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

impl FromStr for CanonicalTarget {
    type Err = TargetError;

    /// Checks a target in the form of a path (RFC 9112 §3.2.1).
    fn from_str(text: &str) -> Result<Self, TargetError> {
        check_target_bytes(text.as_bytes())?;
        if !text.starts_with('/') {
            return Err(TargetError::NotAbsolute);
        }
        Self::parse(text.parse().map_err(|_| TargetError::NotAbsolute)?)
    }
}

impl fmt::Debug for CanonicalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may have personal data, and debug output ends in a log.
        write!(f, "{}{}", self.path(), if self.query().is_some() { "?…" } else { "" })
    }
}

/// Whether a path is canonical at first sight, as nearly every path is: it has only `pchar` and `/`, no
/// empty segment and no segment that begins with a dot. There is no early exit, so that the loop
/// vectorises.
fn is_plain(path: &[u8]) -> bool {
    let Some((b'/', rest)) = path.split_first() else { return false };
    let bytes = rest.iter().map(|byte| ODD.get(usize::from(*byte)).copied().unwrap_or(1));
    let begins = |(before, byte): (&u8, &u8)| *before == b'/' && matches!(byte, b'/' | b'.');
    let segments = path.iter().zip(rest).map(|pair| u8::from(begins(pair)));
    (bytes.fold(0, BitOr::bitor) | segments.fold(0, BitOr::bitor)) == 0
}

/// 0 for `/` and the bytes of [`is_path_byte`], 1 for all others.
#[expect(
    clippy::indexing_slicing,
    reason = "a constant is evaluated by the compiler, which checks the index"
)]
const ODD: [u8; 256] = {
    let mut odd = [1; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte == b'/' || is_path_byte(byte) {
            odd[byte as usize] = 0;
        }
        byte += 1;
    }
    odd
};

/// Refuses a target that has bytes which must be encoded. There is no early exit, so that the loop
/// vectorises.
pub fn check_target_bytes(target: &[u8]) -> Result<(), TargetError> {
    if target.iter().fold(true, |all, byte| all & is_target_byte(*byte)) {
        return Ok(());
    }
    Unencoded::find(target).map_or(Ok(()), |unencoded| Err(TargetError::Unencoded(unencoded)))
}

/// Checks a path, byte by byte.
fn check_path(path: &str) -> Result<(), TargetError> {
    let Some(mut rest) = path.as_bytes().strip_prefix(b"/") else {
        return Err(TargetError::NotAbsolute);
    };
    let mut is_encoded = false;
    // The bytes of the segment so far, and how many are dots.
    let (mut length, mut dots) = (0_usize, 0_usize);
    while let Some((&byte, tail)) = rest.split_first() {
        let at = path.len() - rest.len();
        rest = tail;
        match byte {
            b'/' if length == 0 => return Err(TargetError::EmptySegment),
            b'/' if is_dots(length, dots) => return Err(TargetError::DotSegment),
            b'/' => (length, dots) = (0, 0),
            b'%' => {
                let (digits, tail) =
                    tail.split_at_checked(2).ok_or(TargetError::PercentEncoding(at))?;
                check_encoded(hex_byte(digits).ok_or(TargetError::PercentEncoding(at))?)?;
                is_encoded = true;
                length += 1;
                rest = tail;
            }
            b';' => return Err(TargetError::PathParameter),
            b'\\' => return Err(TargetError::Backslash),
            byte if is_path_byte(byte) => {
                length += 1;
                dots += usize::from(byte == b'.');
            }
            _ => {
                let unencoded = Unencoded::at(path.as_bytes(), at);
                return Err(unencoded.map_or(TargetError::NotAbsolute, TargetError::Unencoded));
            }
        }
    }
    if is_dots(length, dots) {
        return Err(TargetError::DotSegment);
    }
    if is_encoded && percent_decode_str(path).decode_utf8().is_err() {
        return Err(TargetError::EncodedBytes);
    }
    Ok(())
}

/// Whether a segment is `.` or `..`.
const fn is_dots(length: usize, dots: usize) -> bool {
    length == dots && (length == 1 || length == 2)
}

/// `pchar` of RFC 3986 §3.3, without `;` and `%`.
const fn is_path_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

/// The byte that two hexadecimal digits encode.
fn hex_byte(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    let all_are_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_are_digits.then(|| u8::from_str_radix(text, 16).ok())?
}

fn check_encoded(byte: u8) -> Result<(), TargetError> {
    match byte {
        b'/' | b'\\' | b'%' | b';' => Err(TargetError::EncodedSeparator),
        0..=0x1f | 0x7f => Err(TargetError::EncodedControl),
        // An unreserved character means the same with and without encoding (RFC 3986 §6.2.2.2).
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Err(TargetError::EncodedUnreserved)
        }
        _ => Ok(()),
    }
}

/// No rule matches a query. It has no byte that must be encoded, and no `%` that decoders read in
/// different ways.
fn check_query(target: &PathAndQuery) -> Result<(), TargetError> {
    let bytes = target.as_str().as_bytes();
    check_target_bytes(bytes)?;
    let broken = memchr::memchr_iter(b'%', bytes)
        .find(|at| bytes.get(at + 1..at + 3).and_then(hex_byte).is_none());
    broken.map_or(Ok(()), |at| Err(TargetError::PercentEncoding(at)))
}

/// Why a target is not canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// `*` or an authority.
    #[error("the request target is not a path")]
    NotAbsolute,
    /// A character that must be percent-encoded.
    #[error("{0}")]
    Unencoded(Unencoded),
    /// `%` without two hexadecimal digits, at this byte.
    #[error("the target holds `%` without two hexadecimal digits at byte {0}; write it as `%25`")]
    PercentEncoding(usize),
    /// `%2F`, `%5C`, `%25`, `%3B`.
    #[error("the path holds an encoded separator (%2F, %5C, %25 or %3B)")]
    EncodedSeparator,
    /// `%00` and the like.
    #[error("the path holds an encoded control character")]
    EncodedControl,
    /// `%2E`, `%41`: an encoded unreserved character.
    #[error("the path encodes a character that must stand as it is")]
    EncodedUnreserved,
    /// `%C0%AF`: invalid UTF-8.
    #[error("the path encodes bytes that are no UTF-8")]
    EncodedBytes,
    /// `;`.
    #[error("the path holds a path parameter (;)")]
    PathParameter,
    /// `\`.
    #[error("the path holds a backslash")]
    Backslash,
    /// `//`.
    #[error("the path holds an empty segment (//); write one `/`")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path holds a dot segment")]
    DotSegment,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(target: &str) -> Result<CanonicalTarget, TargetError> {
        CanonicalTarget::parse(target.parse().unwrap())
    }

    #[test]
    fn canonical_targets_pass_unchanged() {
        for target in [
            "/",
            "/accounts/users/customer/subtenant/list/",
            "/a/b.json?x=1",
            "/list/?category!=3&id__in!=a,b",
            "/list/?q=%2F%2e&&empty=&x",
            "/files/r%C3%A4kning.pdf",
            "/a/...",
            "/a/..b/",
        ] {
            let parsed = parse(target).unwrap();
            assert_eq!(parsed.as_str(), target);
        }
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for (target, error) in [
            ("*", TargetError::NotAbsolute),
            ("/a/..%2fb/", TargetError::EncodedSeparator),
            ("/a%2Fb", TargetError::EncodedSeparator),
            ("/a%5cb", TargetError::EncodedSeparator),
            ("/a%252fb", TargetError::EncodedSeparator),
            ("/a%3bb", TargetError::EncodedSeparator),
            ("/%2e%2e/", TargetError::EncodedUnreserved),
            ("/%61dmin/", TargetError::EncodedUnreserved),
            ("/a%00", TargetError::EncodedControl),
            ("/a%0d%0a", TargetError::EncodedControl),
            ("/a%c0%afb", TargetError::EncodedBytes),
            ("/a%e0%80%afb/", TargetError::EncodedBytes),
            ("/r%E4kning", TargetError::EncodedBytes),
            ("/r%C3/%A4kning", TargetError::EncodedBytes),
            ("/r%C3", TargetError::EncodedBytes),
            ("/a%zz", TargetError::PercentEncoding(2)),
            ("/a%2", TargetError::PercentEncoding(2)),
            ("/a%+1", TargetError::PercentEncoding(2)),
            ("/a?q=100%", TargetError::PercentEncoding(8)),
            ("/a?q=%2f%4g", TargetError::PercentEncoding(8)),
            ("/a;x=1/", TargetError::PathParameter),
            ("/a//b", TargetError::EmptySegment),
            ("//a", TargetError::EmptySegment),
            ("/a/./b", TargetError::DotSegment),
            ("/a/../b", TargetError::DotSegment),
            ("/a/..", TargetError::DotSegment),
        ] {
            assert_eq!(parse(target).err(), Some(error), "{target}");
        }
    }

    #[test]
    fn a_character_that_must_be_encoded_is_named_in_path_and_query() {
        for target in ["/aÅ", "/a{", "/a?q=Å", "/a?q=\"x\"", "/a#f", "/a b"] {
            let error = target.parse::<CanonicalTarget>().unwrap_err();
            assert!(matches!(error, TargetError::Unencoded(_)), "{target}: {error:?}");
        }
        assert_eq!("a".parse::<CanonicalTarget>(), Err(TargetError::NotAbsolute));
        assert_eq!("http://x/".parse::<CanonicalTarget>(), Err(TargetError::NotAbsolute));
        // Browsers and Node.js send these as they are.
        assert!("/a?filter={\"x\"}".parse::<CanonicalTarget>().is_err());
        assert!("/a?filter[x]={1|2}^".parse::<CanonicalTarget>().is_ok());
    }

    proptest! {
        /// A path that passes at first sight passes the full check.
        #[test]
        fn plain_paths_pass_the_full_check(path in "/([a-c/.;%\\\\#é]|%2[0-9f]){0,8}") {
            prop_assert!(!is_plain(path.as_bytes()) || check_path(&path) == Ok(()), "{}", path);
        }
    }

    #[test]
    fn each_byte_is_plain_or_not() {
        for byte in 0..=u8::MAX {
            let plain = is_plain(&[b'/', b'a', byte]);
            assert_eq!(plain, byte == b'/' || is_path_byte(byte), "{byte:#x}");
        }
        for path in ["/", "/a/", "/a.b/c"] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
        for path in ["", "a", "//", "/a//", "/.", "/a/.b", "/a/.."] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn query_keys_have_no_values() {
        let target = parse("/l/?ssn=199001012385&ssn__in!=a,b&&_page=1&ssn=x&canary").unwrap();
        assert_eq!(target.query_keys(), ["ssn", "ssn__in!", "_page", "(no name)"]);
        assert!(!format!("{target:?}").contains("199001012385"));
    }
}
