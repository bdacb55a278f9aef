//! Parses the head of an HTTP/1 request as strictly as RFC 9112 states it, and tells how its body is
//! framed.
//!
//! Where the RFC allows leniency, two recipients can be lenient in two ways, and request smuggling uses
//! the difference. So nothing is repaired, and a framing field has one spelling: `Content-Length: 5`, not
//! ` 5 `, `05` or `5, 5`.

use http::uri::PathAndQuery;

use crate::{
    domain::{TargetError, check_target_bytes, escaped_target},
    proxy::call::ParseError,
};

/// How a request's body is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Checks a complete head, with the empty line at its end.
pub fn check(head: &[u8], max_fields: usize) -> Result<Framing, ParseError> {
    // Old clients send an empty line before a request (RFC 9112 §2.2).
    let mut rest = head.strip_prefix(b"\r\n").unwrap_or(head);
    let version = request_line(line(&mut rest)?)?;
    let mut fields = FramingFields { version, count: 0, length: None, chunked: false };
    loop {
        let line = line(&mut rest)?;
        if line.is_empty() {
            // The caller has found the end of the head, so nothing follows it.
            return if rest.is_empty() { fields.framing() } else { Err(ParseError::LineEnd) };
        }
        fields.count += 1;
        if fields.count > max_fields {
            return Err(ParseError::HeadTooLarge);
        }
        fields.see(line)?;
    }
}

/// Checks the request line of an incomplete head, if the line is complete.
pub fn check_request_line(head: &[u8]) -> Option<Result<(), ParseError>> {
    let mut rest = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = line(&mut rest).ok()?;
    Some(request_line(line).map(|_| ()))
}

/// The method and the escaped target of a head, for the record of its refusal.
pub fn method_and_target(head: &[u8]) -> Option<(&str, PathAndQuery)> {
    let mut rest = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = line(&mut rest).ok()?;
    let (method, line) = split_at(line, b' ').filter(|(method, _)| is_method(method))?;
    let (target, version) = split_at_last_space(line)?;
    let target = escaped_target(target).filter(|target| target.as_str().starts_with('/'))?;
    version.starts_with(b"HTTP/").then_some((std::str::from_utf8(method).ok()?, target))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// Takes the next line, without its CR LF.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ParseError> {
    let (line, tail) = split_at(rest, b'\n').ok_or(ParseError::LineEnd)?;
    *rest = tail;
    line.strip_suffix(b"\r").ok_or(ParseError::LineEnd)
}

fn request_line(line: &[u8]) -> Result<Version, ParseError> {
    if line.contains(&b'\r') {
        return Err(ParseError::LineEnd);
    }
    let (method, line) = split_at(line, b' ').ok_or(ParseError::RequestLine)?;
    let (target, version) = split_at(line, b' ').ok_or(ParseError::RequestLine)?;
    let version = check_version(version).map_err(|error| space_in_target(line).unwrap_or(error))?;
    if !is_method(method) {
        return Err(ParseError::Method);
    }
    check_target(method, target)?;
    Ok(version)
}

/// The error for a path with a space in it, which is not encoded.
fn space_in_target(line: &[u8]) -> Option<ParseError> {
    let (target, version) = split_at_last_space(line)?;
    let is_path = target.starts_with(b"/") && check_version(version).is_ok();
    let error = check_target_bytes(target).err().filter(|_| is_path)?;
    Some(ParseError::Target(error))
}

fn is_method(method: &[u8]) -> bool {
    !method.is_empty() && method.len() <= MAX_METHOD && method.iter().all(|byte| is_tchar(*byte))
}

fn check_target(method: &[u8], target: &[u8]) -> Result<(), ParseError> {
    check_target_bytes(target).map_err(ParseError::Target)?;
    let form_is_known = match target.first() {
        Some(b'/') => true,
        // The server as a whole (RFC 9112 §3.2.4).
        Some(b'*') => target.len() == 1 && method == b"OPTIONS",
        // `CONNECT` is refused later, and an absolute target is compared with `Host`. Both are rare, so
        // they may cost a parse: hyper itself would answer a target that it cannot parse, unrecorded.
        Some(_) => {
            (method == b"CONNECT" || has_http_scheme(target)) && http::Uri::try_from(target).is_ok()
        }
        None => false,
    };
    if form_is_known { Ok(()) } else { Err(ParseError::Target(TargetError::NotAbsolute)) }
}

fn has_http_scheme(target: &[u8]) -> bool {
    [&b"http://"[..], b"https://"].iter().any(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && target.len() > scheme.len()
    })
}

fn check_version(version: &[u8]) -> Result<Version, ParseError> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(ParseError::VersionUnsupported)
        }
        _ if version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP")) => {
            Err(ParseError::Version)
        }
        // Three words without a version are another protocol.
        _ if !version.contains(&b' ') && !version.is_empty() => Err(ParseError::NotHttp),
        _ => Err(ParseError::RequestLine),
    }
}

struct FramingFields {
    version: Version,
    count: usize,
    length: Option<u64>,
    chunked: bool,
}

impl FramingFields {
    fn see(&mut self, line: &[u8]) -> Result<(), ParseError> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.replace(plain_number(value)?).is_some() {
                return Err(ParseError::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if std::mem::replace(&mut self.chunked, true) {
                return Err(ParseError::TransferEncoding);
            }
            check_coding(value)?;
        }
        Ok(())
    }

    fn framing(self) -> Result<Framing, ParseError> {
        match (self.chunked, self.length, self.version) {
            (true, Some(_), _) => Err(ParseError::TwoLengths),
            (true, None, Version::Http10) => Err(ParseError::TransferEncoding),
            (true, None, Version::Http11) => Ok(Framing::Chunked),
            (false, None | Some(0), _) => Ok(Framing::Empty),
            (false, Some(length), _) => Ok(Framing::Length(length)),
        }
    }
}

/// Splits a field line into its name and the bytes after the colon.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(ParseError::FieldFold);
    }
    let (name, value) = split_at(line, b':').ok_or(ParseError::FieldName)?;
    if name.is_empty() || !name.iter().all(|byte| is_tchar(*byte)) {
        return Err(ParseError::FieldName);
    }
    if all(value, is_field_byte) {
        Ok((name, value))
    } else if value.contains(&b'\r') {
        Err(ParseError::LineEnd)
    } else {
        Err(ParseError::FieldValue)
    }
}

/// A number in its one usual spelling.
fn plain_number(value: &[u8]) -> Result<u64, ParseError> {
    let digits = value.strip_prefix(b" ").unwrap_or(value);
    if digits.is_empty()
        || digits.len() > MAX_DIGITS
        || !digits.iter().all(u8::is_ascii_digit)
        || (digits.len() > 1 && digits.first() == Some(&b'0'))
    {
        return Err(ParseError::ContentLength);
    }
    Ok(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn check_coding(value: &[u8]) -> Result<(), ParseError> {
    let value = value.trim_ascii();
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    // An unknown coding is a 501, but only if the end of the body is certain.
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).rev();
    let last_is_chunked =
        codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let others_are_codings = codings.all(|coding| {
        !coding.is_empty()
            && !coding.eq_ignore_ascii_case(b"chunked")
            && coding.iter().all(|byte| is_tchar(*byte))
    });
    if last_is_chunked && others_are_codings {
        Err(ParseError::CodingUnknown)
    } else {
        Err(ParseError::TransferEncoding)
    }
}

pub(super) fn split_at(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (left, right) = bytes.split_at_checked(memchr::memchr(at, bytes)?)?;
    Some((left, right.get(1..)?))
}

fn split_at_last_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (left, right) = line.split_at_checked(memchr::memrchr(b' ', line)?)?;
    Some((left, right.get(1..)?))
}

/// No early exit, so that the loop vectorises.
fn all(bytes: &[u8], is_right: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |right, byte| right & is_right(*byte))
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) fn is_tchar(byte: u8) -> bool {
    TCHARS.get(usize::from(byte)).copied().unwrap_or(false)
}

const TCHARS: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &mut [bool] = &mut table;
    let mut byte: u8 = 0;
    while let [place, tail @ ..] = rest {
        *place = stands_in_a_token(byte);
        byte = byte.wrapping_add(1);
        rest = tail;
    }
    table
};

const fn stands_in_a_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether a byte may be in a field value (RFC 9110 §5.5): the tab is the only control character.
const fn is_field_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// The longest known method has 17 bytes (`UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 32;
/// The most digits of a length.
const MAX_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(head: &str) -> Result<Framing, ParseError> {
        check(head.as_bytes(), 10)
    }

    fn unencoded(target: &str) -> ParseError {
        ParseError::Target(check_target_bytes(target.as_bytes()).unwrap_err())
    }

    #[test]
    fn plain_requests_pass() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Framing::Empty),
            ("\r\nGET /a?b=c HTTP/1.0\r\n\r\n", Framing::Empty),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Framing::Empty),
            ("GET HTTP://x/ HTTP/1.1\r\nHost: x\r\n\r\n", Framing::Empty),
            ("POST / HTTP/1.1\r\nContent-Length:5\r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", Framing::Empty),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("GET / HTTP/1.1\r\nX: \t a\u{e5}\t\r\nY:\r\n\r\n", Framing::Empty),
        ] {
            assert_eq!(checked(head), Ok(framing), "{head:?}");
        }
        let known = |head: &[u8]| {
            let (method, target) = method_and_target(head)?;
            Some(format!("{method} {target}"))
        };
        assert_eq!(known(b"\r\nGET /a HTTP/1.1\r\n\r\n").as_deref(), Some("GET /a"));
        assert_eq!(known(b"GET /a b HTTP/1.1\r\n\r\n").as_deref(), Some("GET /a%20b"));
        assert_eq!(known(b"GET http://x/\xe5 HTTP/1.1\r\n\r\n").as_deref(), Some("GET /%E5"));
        assert_eq!(known(b"G@T / HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        for (head, error) in [
            ("GET / HTTP/1.1\nHost: x\r\n\r\n", ParseError::LineEnd),
            ("GET / HTTP/1.1\rHost: x\r\n\r\n", ParseError::LineEnd),
            ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", ParseError::LineEnd),
            ("GET  / HTTP/1.1\r\n\r\n", ParseError::RequestLine),
            ("GET\t/ HTTP/1.1\r\n\r\n", ParseError::RequestLine),
            ("GET HTTP/1.1\r\n\r\n", ParseError::RequestLine),
            ("GET /a b HTTP/1.1\r\n\r\n", unencoded("/a b")),
            ("GET /#f HTTP/1.1\r\n\r\n", unencoded("/#f")),
            ("GET * HTTP/1.1\r\n\r\n", ParseError::Target(TargetError::NotAbsolute)),
            ("GET /\u{e9} HTTP/1.1\r\n\r\n", unencoded("/\u{e9}")),
            ("GET / /x HTTP/1.1 \r\n\r\n", ParseError::RequestLine),
            ("GET ftp://x/ HTTP/1.1\r\n\r\n", ParseError::Target(TargetError::NotAbsolute)),
            ("GET http:///\\x//x/a HTTP/1.1\r\n\r\n", ParseError::Target(TargetError::NotAbsolute)),
            ("CONNECT a\\b:443 HTTP/1.1\r\n\r\n", ParseError::Target(TargetError::NotAbsolute)),
            ("GET / HTTP/1.2\r\n\r\n", ParseError::VersionUnsupported),
            ("GET / HTTP/1\r\n\r\n", ParseError::Version),
            ("GET / http/1.1\r\n\r\n", ParseError::Version),
            ("GET / HTTP/ 1.1\r\n\r\n", ParseError::Version),
            ("G@T / HTTP/1.1\r\n\r\n", ParseError::Method),
            ("INVALID CONNECTION PREFACE\r\n\r\n", ParseError::NotHttp),
            ("GET / HTTP/1.1\r\n X: a\r\n\r\n", ParseError::FieldFold),
            ("GET / HTTP/1.1\r\nX : a\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\nX\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\nX: \0\r\n\r\n", ParseError::FieldValue),
            ("POST / HTTP/1.1\r\nContent-Length: 5 \r\n\r\n", ParseError::ContentLength),
            ("POST / HTTP/1.1\r\nContent-Length: 05\r\n\r\n", ParseError::ContentLength),
            ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", ParseError::ContentLength),
            (
                "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                ParseError::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ParseError::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                ParseError::TwoLengths,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: ,chunked\r\n\r\n",
                ParseError::TransferEncoding,
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: \r\n\r\n", ParseError::TransferEncoding),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                ParseError::TransferEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
                ParseError::TransferEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                ParseError::CodingUnknown,
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ParseError::TransferEncoding),
        ] {
            assert_eq!(checked(head), Err(error), "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(11));
        assert_eq!(checked(&many), Err(ParseError::HeadTooLarge));
    }

    proptest! {
        /// A head that passes has a target that `http` can parse.
        #[test]
        fn a_target_that_passes_is_a_uri(target in "[!-~]{1,40}") {
            let head = format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if checked(&head).is_ok() {
                let uri = ["/", &target].concat().parse::<http::Uri>();
                prop_assert!(uri.is_ok(), "{}", target);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any_verdict = check(&bytes, 10);
        }
    }
}
