//! `Cache-Control` (RFC 9111 §5.2) of requests and responses, and `CDN-Cache-Control` (RFC 9213).
//!
//! What is read here is what others wrote, so nothing is refused: an unknown directive is skipped, a
//! repeated one counts where it stands first, and a number that is none makes a response stale
//! (RFC 9111 §4.2.1), never fresh.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName, header};

/// What a caller asks of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::cache) struct RequestDirectives {
    /// No answer from memory without asking the upstream.
    pub(in crate::proxy::cache) no_cache: bool,
    /// Nothing of this call may be kept.
    pub(in crate::proxy::cache) no_store: bool,
    /// No answer but from memory.
    pub(in crate::proxy::cache) only_if_cached: bool,
    /// No answer older than this.
    pub(in crate::proxy::cache) max_age: Option<Duration>,
    /// No answer that is fresh for less than this.
    pub(in crate::proxy::cache) min_fresh: Option<Duration>,
    /// Answers that have been stale for no longer than this are welcome.
    pub(in crate::proxy::cache) max_stale: Option<Duration>,
    /// As `max_stale`, if the upstream fails (RFC 5861 §4).
    pub(in crate::proxy::cache) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Self {
        let mut ask = Self::default();
        for directive in directives(headers, &header::CACHE_CONTROL) {
            match directive.name.as_bytes() {
                b"no-cache" => ask.no_cache = true,
                b"no-store" => ask.no_store = true,
                b"only-if-cached" => ask.only_if_cached = true,
                b"max-age" => first(&mut ask.max_age, directive.seconds()),
                b"min-fresh" => first(&mut ask.min_fresh, directive.seconds()),
                b"max-stale" if directive.value.is_none() => first(&mut ask.max_stale, FOREVER),
                b"max-stale" => first(&mut ask.max_stale, directive.seconds()),
                b"stale-if-error" => first(&mut ask.stale_if_error, directive.seconds()),
                _ => {}
            }
        }
        ask
    }
}

/// What a response allows a shared cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub(in crate::proxy::cache) struct ResponseDirectives {
    pub(in crate::proxy::cache) no_store: bool,
    pub(in crate::proxy::cache) no_cache: bool,
    pub(in crate::proxy::cache) private: bool,
    pub(in crate::proxy::cache) public: bool,
    pub(in crate::proxy::cache) must_revalidate: bool,
    pub(in crate::proxy::cache) proxy_revalidate: bool,
    pub(in crate::proxy::cache) must_understand: bool,
    pub(in crate::proxy::cache) max_age: Option<Duration>,
    pub(in crate::proxy::cache) s_maxage: Option<Duration>,
    pub(in crate::proxy::cache) stale_while_revalidate: Option<Duration>,
    pub(in crate::proxy::cache) stale_if_error: Option<Duration>,
    /// The fields that `private="…"` and `no-cache="…"` name: everything else may be stored.
    pub(in crate::proxy::cache) not_stored: Vec<HeaderName>,
    /// It came in a targeted field, so `Cache-Control` and `Expires` are not for us (RFC 9213 §2.2).
    pub(in crate::proxy::cache) targeted: bool,
}

impl ResponseDirectives {
    /// Reads the targeted field if there is a valid one, else `Cache-Control`.
    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Self {
        targeted(headers).unwrap_or_else(|| {
            let mut allow = Self::default();
            for directive in directives(headers, &header::CACHE_CONTROL) {
                allow.take(&directive);
            }
            allow
        })
    }

    fn take(&mut self, directive: &Directive<'_>) {
        match directive.name.as_bytes() {
            b"no-store" => self.no_store = true,
            b"no-cache" => match &directive.value {
                Some(fields) => self.not_stored.extend(field_names(fields)),
                None => self.no_cache = true,
            },
            b"private" => match &directive.value {
                Some(fields) => self.not_stored.extend(field_names(fields)),
                None => self.private = true,
            },
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"max-age" => first(&mut self.max_age, directive.seconds()),
            b"s-maxage" => first(&mut self.s_maxage, directive.seconds()),
            b"stale-while-revalidate" => {
                first(&mut self.stale_while_revalidate, directive.seconds());
            }
            b"stale-if-error" => first(&mut self.stale_if_error, directive.seconds()),
            _ => {}
        }
    }

    /// Whether a stale response may never be served: s-maxage says so too (RFC 9111 §5.2.2.10).
    pub(in crate::proxy::cache) fn never_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }

    /// Whether the answer to one caller's `Authorization` may serve others (RFC 9111 §3.5).
    pub(in crate::proxy::cache) fn shares_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

/// `CDN-Cache-Control` is a structured dictionary. One that is invalid or empty, or in which a number
/// is not a number, is ignored as a whole (RFC 9213 §2.1, §2.2).
fn targeted(headers: &HeaderMap) -> Option<ResponseDirectives> {
    if !headers.contains_key(&CDN_CACHE_CONTROL) {
        return None;
    }
    let lines: Vec<_> =
        headers.get_all(&CDN_CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes).collect();
    let dictionary: sfv::Dictionary = sfv::Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut allow = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    for (key, entry) in &dictionary {
        let sfv::ListEntry::Item(item) = entry else { continue };
        let number = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
        let value = match &item.bare_item {
            sfv::BareItem::Integer(seconds) => Some(seconds.to_string()),
            _ if number.contains(&key.as_str()) => return None,
            sfv::BareItem::Boolean(false) => continue,
            _ => None,
        };
        let name = Cow::Borrowed(key.as_str());
        allow.take(&Directive { name, value: value.map(|text| text.into_bytes().into()) });
    }
    Some(allow)
}

/// One directive; its name in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Directive<'a> {
    name: Cow<'a, str>,
    value: Option<Cow<'a, [u8]>>,
}

impl Directive<'_> {
    /// Delta-seconds (RFC 9111 §1.2.2). What is none counts as zero, what overflows as the greatest.
    fn seconds(&self) -> Duration {
        let digits = self.value.as_deref().unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Duration::ZERO;
        }
        let seconds = digits.iter().fold(0u64, |seconds, digit| {
            seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        Duration::from_secs(seconds).min(FOREVER)
    }
}

fn directives<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Directive<'a>> {
    headers.get_all(name).iter().flat_map(|value| Scan { rest: value.as_bytes() })
}

/// Splits a field value at the commas that stand outside quotes.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Scan<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        loop {
            let member = self.member()?;
            let (name, value) = match member.iter().position(|byte| *byte == b'=') {
                Some(at) => (member.get(..at)?, member.get(at + 1..)),
                None => (member, None),
            };
            // Space around `=` is no part of the grammar: the name is still meant, the value is not.
            let spaced = name.trim_ascii_end() != name
                || value.is_some_and(|value| value.trim_ascii_start() != value);
            let name = name.trim_ascii_end();
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                continue;
            }
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(name.to_ascii_lowercase())
            } else {
                Cow::Borrowed(name)
            };
            let value = if spaced { Some(Cow::Borrowed(&b""[..])) } else { value.map(unquote) };
            return Some(Directive { name, value });
        }
    }
}

impl<'a> Scan<'a> {
    /// What stands before the next comma outside quotes, trimmed.
    fn member(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = self.rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => return true,
                _ => {}
            }
            false
        });
        let (member, rest) = match end {
            Some(at) => (self.rest.get(..at)?, self.rest.get(at + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(member.trim_ascii())
    }
}

/// A quoted string without its quotes and escapes; anything else as it is.
fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { bytes.next().copied().unwrap_or(b'\\') } else { *byte });
    }
    Cow::Owned(plain)
}

fn field_names(list: &[u8]) -> impl Iterator<Item = HeaderName> {
    list.split(|byte| *byte == b',')
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

fn first(place: &mut Option<Duration>, value: Duration) {
    place.get_or_insert(value);
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What a number of seconds that is too large to mean anything else is taken for (RFC 9111 §1.2.2).
pub(in crate::proxy::cache) const FOREVER: Duration = Duration::from_secs(1 << 31);
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
