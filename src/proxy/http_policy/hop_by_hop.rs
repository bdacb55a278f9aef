//! Fields that belong to one connection and go no further (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, header};

use crate::error::{Error, Kind};

/// Removes hop-by-hop fields and everything that `Connection` names.
///
/// This must come before anything is injected: a caller's `Connection: X-PIGELLO-CLIENT-SECRET` must
/// not delete what the gateway adds, and the field itself must not reach the next hop either.
pub(in crate::proxy) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            // Framing is hyper's, and it has read it already; a caller cannot name it away.
            if name != header::CONTENT_LENGTH && name != header::HOST {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    remove_where(headers, is_hop_by_hop);
}

/// Removes what a request carries for this hop alone, or what would change its method.
pub(in crate::proxy) fn strip_request_only(headers: &mut HeaderMap) {
    remove_where(headers, is_request_only);
}

/// One look at each name that is there is cheaper than a lookup of each that could be.
fn remove_where(headers: &mut HeaderMap, goes: fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| goes(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// hyper answers `100-continue` by itself once the body is read; nothing else can be promised
/// (RFC 9110 §10.1.1).
pub(in crate::proxy) fn check_expect(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err(Error::new(Kind::ExpectationFailed, "only `Expect: 100-continue` is understood"))
        }
        _ => Ok(()),
    }
}

/// The methods that are proxied at all.
pub(in crate::proxy) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
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

/// Frameworks read the last four as another method than the one that was allowed.
fn is_request_only(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "expect"
            | "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-original-method"
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn connection_and_what_it_names_go() {
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
    fn only_one_expectation_is_understood() {
        let check = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(header::EXPECT, HeaderValue::from_static(value));
            check_expect(&headers).is_ok()
        };
        assert!(check("100-continue") && check("100-Continue"));
        assert!(!check("200-ok"));
    }
}
