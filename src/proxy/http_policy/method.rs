//! The methods that the gateway forwards.
//!
//! The upstream decides about the meaning of a method, so a known extension method passes where the
//! policy forwards requests that match no operation (RFC 9110 §16.1). An unknown one is refused: a
//! remainder of another request (`XGET`) or a different case (`get`) is a token too, and two servers
//! may read it in two ways.

use std::borrow::Cow;

use http::Method;

use crate::error::{Error, Kind};

/// Refuses methods that are never forwarded and methods that no standard or server defines.
pub(super) fn refuse_methods(method: &Method) -> Result<(), Error> {
    match method.as_str() {
        // `TRACE` and `TRACK` would echo the secret (RFC 9110 §9.3.8), `CONNECT` would open a tunnel,
        // `PURGE` is for a cache in front of the upstream, `PRI` is HTTP/2's preface (RFC 9113 §11.6).
        "TRACE" | "TRACK" | "CONNECT" | "PURGE" | "PRI" => {
            Err(Error::new(Kind::MethodRefused, "the gateway does not proxy this method"))
        }
        method if is_defined(method) => Ok(()),
        // RFC 9110 §9.1: methods are case-sensitive.
        method => Err(Error::new(Kind::NotImplemented, upper_case(method))),
    }
}

fn is_defined(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS")
        || EXTENSIONS.contains(&method)
}

fn upper_case(method: &str) -> Cow<'static, str> {
    let upper = method.to_ascii_uppercase();
    if is_defined(&upper) {
        format!("methods are upper case: `{upper}`").into()
    } else {
        "nobody has defined this method".into()
    }
}

/// The methods for operations, for an `Allow` field.
pub(in crate::proxy) const PROXIED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The rest of IANA's HTTP Method Registry, and unregistered methods that common servers know.
const EXTENSIONS: [&str; 35] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "NOTIFY",
    "ORDERPATCH",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_dangerous_methods_are_refused() {
        let kind = |method: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            refuse_methods(&method).err().map(|error| error.kind())
        };
        for method in ["GET", "OPTIONS", "PROPFIND", "M-SEARCH", "UPDATEREDIRECTREF"] {
            assert_eq!(kind(method), None, "{method}");
        }
        for method in ["TRACE", "TRACK", "CONNECT", "PURGE", "PRI"] {
            assert_eq!(kind(method), Some(Kind::MethodRefused), "{method}");
        }
        for method in ["get", "Get", "XGET", "GPOST", "FOOBAR", "Propfind", "-"] {
            assert_eq!(kind(method), Some(Kind::NotImplemented), "{method}");
        }
    }
}
