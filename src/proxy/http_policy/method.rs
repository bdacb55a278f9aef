//! Which methods go further.
//!
//! What a method means is the upstream's business, so an extension method is passed on where the
//! policy forwards what matches no operation (RFC 9110 §16.1). But only one that somebody has
//! defined: a front part of one request in front of another (`XGET`) or another case (`get`) is a
//! token too, and two servers may make two things of it.

use http::Method;

use crate::error::{Error, Kind};

/// Refuses methods that are never proxied, and those that nobody knows.
pub fn refuse_methods(method: &Method) -> Result<(), Error> {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(()),
        // The first two would echo the secret (RFC 9110 §9.3.8), `CONNECT` would make a tunnel, `PURGE`
        // speaks to a cache in front of the upstream, and `PRI` is HTTP/2's preface (RFC 9113 §11.6).
        "TRACE" | "TRACK" | "CONNECT" | "PURGE" | "PRI" => {
            Err(Error::new(Kind::MethodRefused, "the gateway does not proxy this method"))
        }
        method if EXTENSIONS.contains(&method) => Ok(()),
        // RFC 9110 §9.1.
        _ => Err(Error::new(Kind::NotImplemented, "nobody has defined this method")),
    }
}

/// The rest of IANA's HTTP Method Registry, and the unregistered ones that servers in wide use know.
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
    fn methods_are_known_or_refused() {
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
