//! Parses the head of an HTTP/1 request as strictly as RFC 9112 states it, and tells how its body is
//! framed.
//!
//! Where the RFC allows leniency, two recipients can be lenient in two ways, and request smuggling uses
//! the difference. So nothing is repaired: a head that another recipient could read in another way is
//! refused.

use std::{mem, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, uri::PathAndQuery,
};
use memchr::memmem::Finder;

use super::ParseError;
use crate::domain::{TargetError, check_target_bytes};

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

/// A head, and what the connection has to know of it.
#[derive(Debug)]
pub struct Head {
    /// The request without its body.
    pub request: Request<()>,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the caller will use the connection again (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the caller waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

/// Finds the next head in the bytes of a connection, which may come in pieces.
#[derive(Debug)]
pub struct HeadFinder {
    max_bytes: usize,
    max_fields: usize,
    /// The number of bytes that hold no end of a head.
    searched: usize,
}

impl HeadFinder {
    /// Finds heads within these limits.
    pub const fn new(max_bytes: usize, max_fields: usize) -> Self {
        Self { max_bytes, max_fields, searched: 0 }
    }

    /// Takes the next head out of the bytes; `None` if more of them are needed. After an error the
    /// bytes are as they were.
    pub fn find(&mut self, read: &mut BytesMut) -> Result<Option<Head>, ParseError> {
        let unsearched = read.get(self.searched..).unwrap_or_default();
        let Some(end) = END.find(unsearched) else {
            self.searched = read.len().saturating_sub(END_LENGTH - 1);
            return self.check_incomplete(read).map(|()| None);
        };
        let end = self.searched.saturating_add(end).saturating_add(END_LENGTH);
        if end > self.max_bytes {
            return Err(too_large(read));
        }
        let head = if end == read.len() { mem::take(read) } else { read.split_to(end) }.freeze();
        parse(&head, self.max_fields).map(Some).inspect_err(|_| {
            // The refusal tells its method and target.
            *read = BytesMut::from(&head[..]);
        })
    }

    /// Finds what stays wrong whatever follows.
    fn check_incomplete(&self, head: &[u8]) -> Result<(), ParseError> {
        let is_bare =
            |at: usize| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r');
        if memchr::memchr_iter(b'\n', head).any(is_bare) {
            return Err(ParseError::LineEnd);
        }
        if head.len() > self.max_bytes {
            return Err(too_large(head));
        }
        check_request_line(head)
    }
}

/// The error for a head over the limit, by the part that is over it.
fn too_large(head: &[u8]) -> ParseError {
    let line = memchr::memchr(b'\n', head).map_or(head, |end| head.get(..end).unwrap_or_default());
    match memchr::memchr(b' ', line) {
        None => ParseError::Method,
        Some(method) if method > MAX_METHOD => ParseError::Method,
        Some(_) if line.len() > MAX_TARGET => ParseError::TargetTooLong,
        Some(_) => ParseError::HeadTooLarge,
    }
}

/// Parses a complete head, with the empty line at its end. The parts of the request share its memory.
pub fn parse(head: &Bytes, max_fields: usize) -> Result<Head, ParseError> {
    let mut lines = Lines { head, at: 0 };
    // Old clients send an empty line before a request (RFC 9112 §2.2).
    if head.starts_with(b"\r\n") {
        lines.at = 2;
    }
    let (method, target, version) = request_line(lines.next()?)?;
    let uri = parse_target(&method, head.slice_ref(target))?;
    let count = memchr::memchr_iter(b'\n', head).count().saturating_sub(2);
    if count > max_fields {
        return Err(ParseError::HeadTooLarge);
    }
    let mut fields = HeaderMap::with_capacity(count);
    let mut framing = FramingFields { version, length: None, chunked: false };
    let mut connection = ConnectionOptions::default();
    let mut expects_continue = false;
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = field(line)?;
        let name = HeaderName::from_bytes(name).map_err(|_| ParseError::FieldName)?;
        match name {
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING => framing.see(&name, value)?,
            header::CONNECTION => connection.see(value),
            header::EXPECT => expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| {
            if value.contains(&b'\r') { ParseError::LineEnd } else { ParseError::FieldValue }
        })?;
        fields.append(name, value);
    }
    // The end of the head was found by its empty line, so nothing follows it.
    if lines.at != head.len() {
        return Err(ParseError::LineEnd);
    }
    let framing = framing.framing()?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = fields;
    let keep_alive = match version {
        Version::HTTP_11 => !connection.close,
        _ => connection.keep_alive && !connection.close,
    };
    Ok(Head { request, framing, keep_alive, expects_continue })
}

/// Checks the request line of an incomplete head, if the line is complete: a wrong one stays wrong.
pub fn check_request_line(head: &[u8]) -> Result<(), ParseError> {
    let mut lines = Lines { head, at: if head.starts_with(b"\r\n") { 2 } else { 0 } };
    match lines.next() {
        Ok(line) => request_line(line).map(|_| ()),
        Err(_) => Ok(()),
    }
}

/// The method and the target of a head that is refused, as far as it has them.
pub fn method_and_target(head: &[u8]) -> (Option<Method>, Option<&[u8]>) {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let line = memchr::memchr(b'\n', head).map_or(head, |end| head.get(..end).unwrap_or_default());
    let Some((method, rest)) = split_at(line.trim_ascii_end(), b' ') else { return (None, None) };
    let Some(method) = parse_method(method) else { return (None, None) };
    // A target may have spaces that should be encoded, so the version is the last word.
    let target = match memchr::memrchr(b' ', rest) {
        Some(end) => rest.get(..end).unwrap_or_default(),
        None => rest,
    };
    (Some(method), Some(target).filter(|target| target.starts_with(b"/")))
}

/// The lines of a head, which end with CR LF.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], ParseError> {
        let rest = self.head.get(self.at..).unwrap_or_default();
        let (line, _) = split_at(rest, b'\n').ok_or(ParseError::LineEnd)?;
        self.at = self.at.saturating_add(line.len()).saturating_add(1);
        line.strip_suffix(b"\r").ok_or(ParseError::LineEnd)
    }
}

fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), ParseError> {
    if line.contains(&b'\r') {
        return Err(ParseError::LineEnd);
    }
    let (method, line) = split_at(line, b' ').ok_or(ParseError::RequestLine)?;
    let (target, version) = split_at(line, b' ').ok_or(ParseError::RequestLine)?;
    let version = parse_version(version).map_err(|error| space_in_path(line).unwrap_or(error))?;
    let method = parse_method(method).ok_or(ParseError::Method)?;
    Ok((method, target, version))
}

/// The error for a path with a space in it, which is not encoded.
fn space_in_path(line: &[u8]) -> Option<ParseError> {
    let (path, version) = line.split_at_checked(memchr::memrchr(b' ', line)?)?;
    let is_path = path.starts_with(b"/") && parse_version(version.trim_ascii_start()).is_ok();
    check_target_bytes(path).err().filter(|_| is_path).map(ParseError::Target)
}

fn parse_method(method: &[u8]) -> Option<Method> {
    Method::from_bytes(method).ok().filter(|method| method.as_str().len() <= MAX_METHOD)
}

fn parse_target(method: &Method, target: Bytes) -> Result<Uri, ParseError> {
    check_target_bytes(&target).map_err(ParseError::Target)?;
    let not_a_path = ParseError::Target(TargetError::NotAbsolute);
    let uri = match target.first() {
        Some(b'/') => PathAndQuery::from_maybe_shared(target).map(Uri::from),
        // The server as a whole (RFC 9112 §3.2.4).
        Some(b'*') if target.len() == 1 && method == Method::OPTIONS => {
            PathAndQuery::from_maybe_shared(target).map(Uri::from)
        }
        // `CONNECT` is refused later, and an absolute target is compared with `Host`.
        Some(_) if method == Method::CONNECT || has_http_scheme(&target) => {
            Uri::from_maybe_shared(target)
        }
        _ => return Err(not_a_path),
    };
    uri.map_err(|_| not_a_path)
}

fn has_http_scheme(target: &[u8]) -> bool {
    [&b"http://"[..], b"https://"].iter().any(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && target.len() > scheme.len()
    })
}

fn parse_version(version: &[u8]) -> Result<Version, ParseError> {
    match version {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(ParseError::VersionUnsupported)
        }
        _ if version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP")) => {
            Err(ParseError::Version)
        }
        _ => Err(ParseError::RequestLine),
    }
}

/// The options of `Connection` that the server knows (RFC 9110 §7.6.1).
#[derive(Default)]
struct ConnectionOptions {
    close: bool,
    keep_alive: bool,
}

impl ConnectionOptions {
    fn see(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

struct FramingFields {
    version: Version,
    length: Option<u64>,
    chunked: bool,
}

impl FramingFields {
    fn see(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), ParseError> {
        if *name == header::CONTENT_LENGTH {
            if self.length.replace(plain_number(value)?).is_some() {
                return Err(ParseError::ContentLength);
            }
        } else {
            if mem::replace(&mut self.chunked, true) {
                return Err(ParseError::TransferEncoding);
            }
            check_coding(value)?;
        }
        Ok(())
    }

    fn framing(self) -> Result<Framing, ParseError> {
        match (self.chunked, self.length, self.version) {
            (true, Some(_), _) => Err(ParseError::TwoLengths),
            (true, None, Version::HTTP_11) => Ok(Framing::Chunked),
            (true, None, _) => Err(ParseError::TransferEncoding),
            (false, None | Some(0), _) => Ok(Framing::Empty),
            (false, Some(length), _) => Ok(Framing::Length(length)),
        }
    }
}

/// Splits a field line into its name and its value, without the white space around the value (RFC 9112
/// §5).
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(ParseError::FieldFold);
    }
    let (name, value) = split_at(line, b':').ok_or(ParseError::FieldName)?;
    Ok((name, trim_space(value)))
}

/// Removes optional white space: spaces and tabs (RFC 9110 §5.6.3).
fn trim_space(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A number in its one usual spelling (RFC 9110 §8.6).
fn plain_number(digits: &[u8]) -> Result<u64, ParseError> {
    if digits.is_empty()
        || digits.len() > MAX_DIGITS
        || !digits.iter().all(u8::is_ascii_digit)
        || (digits.len() > 1 && digits.first() == Some(&b'0'))
    {
        return Err(ParseError::ContentLength);
    }
    let digits = digits.iter().map(|digit| u64::from(digit & 0x0f));
    Ok(digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(digit)))
}

fn check_coding(value: &[u8]) -> Result<(), ParseError> {
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

/// `tchar` of RFC 9110 §5.6.2.
pub(in crate::proxy::server) fn is_tchar(byte: u8) -> bool {
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
pub(in crate::proxy::server) const fn is_field_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Made once, because each head is searched.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
const END_LENGTH: usize = 4;
/// A request line that is longer is a target over the limit.
const MAX_TARGET: usize = 8 * 1024;
/// The longest known method has 17 bytes (`UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 32;
/// The most digits of a length.
const MAX_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checked(head: &str) -> Result<Framing, ParseError> {
        parse(&Bytes::copy_from_slice(head.as_bytes()), 10).map(|head| head.framing)
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
            // White space around a value is no part of it (RFC 9110 §5.5).
            ("POST / HTTP/1.1\r\nContent-Length: \t 5 \t\r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("GET / HTTP/1.1\r\nX: \t a\u{e5}\t\r\nY:\r\n\r\n", Framing::Empty),
        ] {
            assert_eq!(checked(head), Ok(framing), "{head:?}");
        }
    }

    #[test]
    fn parts_of_a_head_are_as_they_were_sent() {
        let sent = "GET /a/?b=%C3 HTTP/1.1\r\nHost: x\r\nX-Any: \ta \u{e5}, b \r\nx-any:c\r\n\r\n";
        let head = parse(&Bytes::from(sent), 10).unwrap();
        assert_eq!(head.request.method(), Method::GET);
        assert_eq!(head.request.uri(), "/a/?b=%C3");
        let fields: Vec<_> = head.request.headers().get_all("x-any").iter().collect();
        assert_eq!(fields, ["a \u{e5}, b".as_bytes(), b"c"]);
    }

    #[test]
    fn the_connection_is_kept_as_the_caller_says() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: x\r\nConnection: close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ] {
            assert_eq!(parse(&Bytes::from(head), 10).unwrap().keep_alive, keep_alive, "{head:?}");
        }
    }

    #[test]
    fn a_refused_head_has_its_method_and_target() {
        let get = || Some(Method::GET);
        for (head, expected) in [
            (&b"\r\nGET /a HTTP/1.1\r\nX : y\r\n\r\n"[..], (get(), Some(&b"/a"[..]))),
            (b"GET /a?q=a b HTTP/1.1\r\n\r\n", (get(), Some(b"/a?q=a b"))),
            (b"GET /\xe5 HTTP/1.1\n\n", (get(), Some(b"/\xe5"))),
            (b"GET /aaaa", (get(), Some(b"/aaaa"))),
            (b"GET x HTTP/1.1\r\n\r\n", (get(), None)),
            (b"G@T / HTTP/1.1\r\n\r\n", (None, None)),
            (b"\x16\x03\x01", (None, None)),
        ] {
            assert_eq!(method_and_target(head), expected, "{head:?}");
        }
    }

    /// Finds the first head in bytes that come in pieces.
    fn find(bytes: &[u8], piece: usize) -> Result<Option<String>, ParseError> {
        let (mut finder, mut read) = (HeadFinder::new(1024, 20), BytesMut::new());
        for piece in bytes.chunks(piece) {
            read.extend_from_slice(piece);
            if let Some(head) = finder.find(&mut read)? {
                return Ok(Some(head.request.uri().to_string()));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_error_names_the_part_over_a_limit() {
        let long = "a".repeat(2000);
        for (head, error) in [
            (long.clone(), ParseError::Method),
            (format!("GET /{}", "a".repeat(9000)), ParseError::TargetTooLong),
            (format!("GET / HTTP/1.1\r\nX: {long}"), ParseError::HeadTooLarge),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(21)), ParseError::HeadTooLarge),
        ] {
            assert_eq!(find(head.as_bytes(), head.len()), Err(error));
        }
    }

    #[test]
    fn a_wrong_line_is_refused_before_the_head_is_complete() {
        for (head, error) in [
            ("GET / HTTP/1.1\n", ParseError::LineEnd),
            ("GET  / HTTP/1.1\r\n", ParseError::RequestLine),
            ("\x16\x03\x01\x02\n", ParseError::LineEnd),
        ] {
            assert_eq!(find(head.as_bytes(), 5), Err(error), "{head:?}");
        }
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
            ("INVALID CONNECTION PREFACE\r\n\r\n", ParseError::RequestLine),
            ("GET / HTTQ/1.1\r\n\r\n", ParseError::RequestLine),
            ("OPTIONS /x RTSP/1.0\r\n\r\n", ParseError::RequestLine),
            ("GET / HTTP/1.1\r\n X: a\r\n\r\n", ParseError::FieldFold),
            ("GET / HTTP/1.1\r\nX : a\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\nX\r\n\r\n", ParseError::FieldName),
            ("GET / HTTP/1.1\r\nX: \0\r\n\r\n", ParseError::FieldValue),
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
        /// The result does not depend on where the bytes are cut.
        #[test]
        fn the_result_does_not_depend_on_the_cuts(
            bytes in "(GET|POST) / HTTP/1.1\r\n(Host: x\r\n|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|\n| ){0,3}\r\n(abc){0,2}",
            cut in 1_usize..100,
        ) {
            let (at_once, in_pieces) = (find(bytes.as_bytes(), bytes.len()), find(bytes.as_bytes(), cut));
            // Which of several errors is found first may differ.
            prop_assert_eq!(at_once.ok(), in_pieces.ok());
        }

        /// A head that passes has a target that `http` can parse.
        #[test]
        fn a_target_that_passes_is_a_uri(target in "[!-~]{1,40}") {
            let head = format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n");
            if checked(&head).is_ok() {
                let uri = ["/", &target].concat().parse::<Uri>();
                prop_assert!(uri.is_ok(), "{}", target);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any_verdict = parse(&bytes.into(), 10);
        }
    }
}
