//! Fields that belong to one connection and are not forwarded (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::{Error, Kind};

/// Removes the hop-by-hop fields and every field that `Connection` names.
///
/// This must happen before injection: a caller's `Connection: X-PIGELLO-CLIENT-SECRET` must not
/// delete an injected field, and `Connection` itself must not reach the next hop.
pub(in crate::proxy) fn strip(headers: &mut HeaderMap) {
    strip_named(headers);
    remove_where(headers, is_hop_by_hop);
}

/// Removes every field that `Connection` names, and `Connection`.
pub(super) fn strip_named(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            // The server has read these two for framing and routing. A caller cannot remove them.
            if name != header::CONTENT_LENGTH && name != header::HOST {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
}

/// Scans the names that are present, which is cheaper than a lookup for each name in a list.
pub(super) fn remove_where(headers: &mut HeaderMap, is_removed: fn(&HeaderName) -> bool) {
    let removed: Vec<HeaderName> =
        headers.keys().filter(|name| is_removed(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Whether a response is coded on its way other than by `chunked` (RFC 9112 §7). Nobody asks for that: `TE` does
/// not go up.
pub(in crate::proxy) fn has_transfer_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(|coding| !is_chunked(coding)) || codings.next().is_some()
}

/// Refuses any expectation but `100-continue`, which the server answers when the body is first read
/// (RFC 9110 §10.1.1).
pub(super) fn refuse_expectations(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Error::new(Kind::ExpectationFailed, "only `Expect: 100-continue` is understood"))
        }
        _ => Ok(()),
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_and_the_fields_it_names_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop ,  x-pigello-client-secret"),
            ("connection", "keep-alive,X-Other"),
            ("x-hop", "1"),
            ("x-other", "2"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length"]);
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        for (lines, is_coded) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked "], false),
            (&["gzip, chunked"], true),
            (&["gzip"], true),
            (&["chunked, chunked"], true),
            (&["gzip", "chunked"], true),
            (&["chunked", "chunked"], true),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("transfer-encoding", HeaderValue::from_static(line));
            }
            assert_eq!(has_transfer_coding(&headers), is_coded, "{lines:?}");
        }
    }

    #[test]
    fn only_100_continue_is_accepted() {
        let accepted = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(header::EXPECT, HeaderValue::from_static(value));
            refuse_expectations(&headers).is_ok()
        };
        assert!(accepted("100-continue") && accepted("100-Continue"));
        assert!(!accepted("200-ok"));
    }
}
