//! Refuses header fields that make a request ambiguous for the upstream.
//!
//! HTTP/2 has further rules. A request that breaks them must not be translated to HTTP/1.1, where no
//! server checks them again (RFC 9113 §8.1.1, §8.2).

use std::mem;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};

use super::upward::folds_to;
use crate::error::{Error, Kind};

/// Refuses fields with more than one reading.
pub(super) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    body_is_empty: bool,
) -> Result<(), Error> {
    let mut seen = SINGLE.map(|_| false);
    for (name, value) in headers {
        if is_spoofed_framing(name) {
            return Err(malformed("a header field's name is like one that frames a message"));
        }
        if version == Version::HTTP_2 && has_outer_space(value) {
            return Err(malformed("a header field's value begins or ends with white space"));
        }
        let single = SINGLE.iter().zip(&mut seen).find(|(single, _)| *single == name);
        if single.is_some_and(|(_, seen)| mem::replace(seen, true)) {
            return Err(malformed("a header field that may stand once stands twice"));
        }
    }
    if version == Version::HTTP_2 {
        let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
        // h2 compares the number with the body; the text is sent as it is.
        if length.is_some_and(|length| length.len() > 1 && length.starts_with(b"0")) {
            return Err(malformed("`content-length` must be one plain decimal number"));
        }
        if body_is_empty && length.is_some_and(|length| length != b"0") {
            return Err(malformed("`content-length` announces a body and there is none"));
        }
        if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
            return Err(malformed("the scheme is neither http nor https"));
        }
    }
    Ok(())
}

/// Joins the `Cookie` fields of an HTTP/2 request (RFC 9113 §8.2.3): HTTP/1.1 allows one.
pub(in crate::proxy) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Whether a server could read a framing field from a name that is not one.
fn is_spoofed_framing(name: &HeaderName) -> bool {
    FRAMING.iter().any(|framing| name != framing && folds_to(name, framing))
}

fn has_outer_space(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

fn malformed(detail: &'static str) -> Error {
    Error::new(Kind::Malformed, detail)
}

const FRAMING: [&str; 4] =
    ["content-length", "transfer-encoding", "proxy-connection", "http2-settings"];

/// Fields with one value. Of two, some recipients take the first and some the last (RFC 9110 §5.3).
const SINGLE: [HeaderName; 3] =
    [header::AUTHORIZATION, header::CONTENT_LENGTH, header::CONTENT_TYPE];

#[cfg(test)]
mod tests {
    use super::*;

    fn check_over(version: Version, fields: &[(&str, &str)]) -> Result<(), Kind> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        check(version, &"http://x/".parse().unwrap(), &headers, true).map_err(|error| error.kind())
    }

    #[test]
    fn spoofed_and_repeated_fields_are_refused() {
        for fields in [
            &[("content_length", "5")][..],
            &[("Transfer_Encoding", "chunked")],
            &[("Content.Length", "5")],
            &[("content-type", "text/plain"), ("content-type", "text/html")],
            &[("authorization", "a"), ("authorization", "b")],
        ] {
            assert_eq!(check_over(Version::HTTP_11, fields), Err(Kind::Malformed), "{fields:?}");
        }
        let plain = &[("content-type", "text/plain"), ("x_any", "1"), ("content_type", "x")];
        assert_eq!(check_over(Version::HTTP_11, plain), Ok(()));
    }

    #[test]
    fn http2_has_further_rules() {
        for field in [("x", " a"), ("x", "a\t"), ("content-length", "5"), ("content-length", "00")]
        {
            assert_eq!(check_over(Version::HTTP_2, &[field]), Err(Kind::Malformed), "{field:?}");
            assert_eq!(check_over(Version::HTTP_11, &[field]), Ok(()), "{field:?}");
        }
        assert_eq!(check_over(Version::HTTP_2, &[("content-length", "0"), ("x", "")]), Ok(()));
    }

    #[test]
    fn cookie_fields_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        assert_eq!(headers.get(header::COOKIE).unwrap(), "a=1; b=2");
        assert_eq!(headers.len(), 1);
    }
}
