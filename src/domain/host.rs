//! A host, and when two texts name the same one.

use std::net::IpAddr;

/// A host with an optional port, as a `Host` field or a target names it (RFC 9110 §7.2).
///
/// Two hosts are equal if the ports are equal and the names differ at most in case and one final dot, which
/// only says that the name is complete (RFC 1034 §3.1). An address has no final dot.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    name: &'a str,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads `uri-host [ ":" port ]` (RFC 3986 §3.2.2). A comma is refused, because it separates the values
    /// of two fields that were joined.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let end = match text.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at_checked(end)?;
        let name = if name.starts_with('[') {
            name.get(1..end - 1)?.parse::<std::net::Ipv6Addr>().ok().map(|_| name)?
        } else {
            complete(name)?
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            Some(_) | None => return None,
        };
        Some(Self { name, port })
    }

    /// The name without a final dot, or the address. An IPv6 address has its brackets.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.name.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether the names are the same, whatever the ports are.
    pub fn has_name_of(&self, other: &Host<'_>) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.has_name_of(other) && self.port == other.port
    }
}

/// A registered name without its final dot.
fn complete(name: &str) -> Option<&str> {
    let mut rest = name.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = match byte {
            b'%' => {
                let (digits, tail) = tail.split_at_checked(2)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(tail)?
            }
            byte if is_name_byte(*byte) => tail,
            _ => return None,
        };
    }
    let complete = name.strip_suffix('.').unwrap_or(name);
    let is_address = complete.len() < name.len() && complete.parse::<IpAddr>().is_ok();
    (!complete.is_empty() && !complete.ends_with('.') && !is_address).then_some(complete)
}

/// `unreserved` and `sub-delims` of RFC 3986 §2, without the comma.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(&str, Option<u16>)> {
        Host::parse(text.as_bytes()).map(|host| (host.name(), host.port()))
    }

    #[test]
    fn names_and_addresses_with_and_without_a_port() {
        for (text, name, port) in [
            ("localhost", "localhost", None),
            ("localhost.:8080", "localhost", Some(8080)),
            ("gw.example.internal.", "gw.example.internal", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:443", "[::1]", Some(443)),
            ("%2Frun%2Fg.sock", "%2Frun%2Fg.sock", None),
            ("_", "_", None),
        ] {
            assert_eq!(parse(text), Some((name, port)), "{text}");
        }
        assert!(Host::parse(b"[::1]:443").unwrap().ip().unwrap().is_loopback());
    }

    #[test]
    fn other_texts_are_no_hosts() {
        for text in [
            "",
            ".",
            "..",
            "a..",
            ":80",
            "a:",
            "a:b",
            "a:+1",
            "a:99999",
            "a:1:2",
            "user@a",
            "a/b",
            "a,b",
            "a b",
            "a\\b",
            "%2",
            "%zz",
            "127.0.0.1.",
            "127.0.0.1.:80",
            "[::1",
            "[::1].",
            "[x]",
            "[]",
            "å",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn case_and_one_final_dot_make_no_difference() {
        let same = |a: &str, b: &str| Host::parse(a.as_bytes()) == Host::parse(b.as_bytes());
        assert!(same("Gw.Internal.:80", "gw.internal:80") && same("localhost.", "LOCALHOST"));
        assert!(!same("gw", "gw:80") && !same("gw", "gw.internal"));
    }
}
