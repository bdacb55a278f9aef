//! The kinds of text that the configuration knows, by the word that the schema has in `x-kind`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::{
    domain::{
        Address, ByteSize, Host, LogOrigin, Name, Network, OperationPattern, Origin, PROFILE_PLACE,
        PathPattern, ProblemBase, ProfilePattern, ProxyChoice, Span, StoreAddress, TextForm,
        VerifierKey, WitnessUrl,
    },
    proxy::http_policy::ProfileHost,
    secret::SecretText,
};

/// A kind of text.
#[derive(Debug)]
pub(in crate::config) struct Kind {
    /// The word in the schema.
    pub(in crate::config) word: &'static str,
    /// A text of this kind.
    pub(in crate::config) example: &'static str,
    /// Says what is wrong with a text, if anything. Never quotes the text.
    pub(in crate::config) check: fn(&str) -> Result<(), String>,
}

const KINDS: [Kind; 21] = [
    of::<Span>(),
    of::<ByteSize>(),
    of::<Address>(),
    of::<Network>(),
    of::<Origin>(),
    of::<SocketAddr>(),
    of::<IpAddr>(),
    of::<ProxyChoice>(),
    of::<OperationPattern>(),
    of::<ProfilePattern>(),
    of::<PathPattern>(),
    of::<ProblemBase>(),
    of::<LogOrigin>(),
    of::<WitnessUrl>(),
    of::<VerifierKey>(),
    of::<StoreAddress>(),
    of::<Name>(),
    of::<HostName>(),
    of::<Identifier>(),
    of::<Method>(),
    of::<PathBuf>(),
];

const fn of<T: TextForm>() -> Kind {
    Kind { word: T::KIND, example: T::EXAMPLE, check: T::check }
}

/// The kind with that word; any other word means plain text.
pub(in crate::config) fn kind(word: &str) -> &'static Kind {
    const PLAIN: Kind = of::<Plain>();
    KINDS.iter().find(|kind| kind.word == word).unwrap_or(&PLAIN)
}

/// A value of `Host`: a name or an address, perhaps with a port.
#[derive(Debug)]
pub(super) struct HostName;

impl TextForm for HostName {
    const KIND: &'static str = "host";
    const EXAMPLE: &'static str = "pigello.local";

    fn check(text: &str) -> Result<(), String> {
        let is_host = |text: &str| Host::parse(text.as_bytes()).is_some();
        match text {
            text if text.contains(PROFILE_PLACE) && ProfileHost::parse(text).is_some() => Ok(()),
            text if is_host(text) && !text.contains(['*', '%']) => Ok(()),
            _ => Err("not a host; write a name or an address, perhaps with a port, like \
                         `pigello.local` or `[::1]:8080`"
                .to_owned()),
        }
    }
}

/// One of the identifiers of a credential set. It is not secret, and still confidential.
#[derive(Debug)]
pub(super) struct Identifier;

impl TextForm for Identifier {
    const KIND: &'static str = "identifier";
    const EXAMPLE: &'static str = "…";

    fn check(text: &str) -> Result<(), String> {
        // The same rule as for a value from any other source: it makes exactly one header value.
        SecretText::parse(text.as_bytes()).map(drop).map_err(|error| error.to_string())
    }
}

/// A method that the gateway proxies.
#[derive(Debug)]
pub(super) struct Method;

impl TextForm for Method {
    const KIND: &'static str = "method";
    const EXAMPLE: &'static str = "GET";
    const PATTERN: Option<&'static str> = Some("^(GET|POST|PUT|PATCH|DELETE|OPTIONS)$");

    fn check(text: &str) -> Result<(), String> {
        match text {
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(()),
            _ => Err("not a method that is proxied; write `GET`, `POST`, `PUT`, `PATCH`, \
                      `DELETE` or `OPTIONS`"
                .to_owned()),
        }
    }
}

/// Any other text.
struct Plain;

impl TextForm for Plain {
    const KIND: &'static str = "text";
    const EXAMPLE: &'static str = "…";

    fn check(text: &str) -> Result<(), String> {
        match text {
            "" => Err("is empty".to_owned()),
            text if text.contains(char::is_control) => Err("holds a control character".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for text in ["pigello.local", "PIGELLO.local:8080", "[::1]:8080", "10.0.0.7"] {
            assert!(HostName::check(text).is_ok(), "{text:?}");
        }
        for text in ["", "https://x", "a/b", "user@x", "*.local", "x:", "x:99999", "a b"] {
            assert!(HostName::check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_complaint_quotes_the_text() {
        let kinds = [
            "duration",
            "size",
            "address",
            "network",
            "origin",
            "ip-and-port",
            "ip",
            "proxy",
            "store-address",
            "operation-pattern",
            "path-pattern",
            "name",
            "host",
            "method",
        ];
        for word in kinds {
            let complaint = (kind(word).check)("canary made up!").unwrap_err();
            assert!(!complaint.contains("canary"), "{word}: {complaint}");
        }
    }
}
