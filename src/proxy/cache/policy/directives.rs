//! `Cache-Control` (RFC 9111 §5.2) of requests and responses, and `CDN-Cache-Control` (RFC 9213).
//!
//! Nothing is refused here. An unknown directive is skipped, the first of several equal ones counts,
//! and an invalid number makes a response stale, never fresh (RFC 9111 §4.2.1).

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName, header};

use super::{fields::RequestFieldSet, list};

/// The `Cache-Control` of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy::cache) struct RequestDirectives {
    /// Nothing stored is used without validation.
    pub(in crate::proxy::cache) no_cache: bool,
    /// Nothing of this request or its response is stored.
    pub(in crate::proxy::cache) no_store: bool,
    /// Only a stored response is wanted.
    pub(in crate::proxy::cache) only_if_cached: bool,
    /// The greatest age wanted.
    pub(in crate::proxy::cache) max_age: Option<Duration>,
    /// The least remaining freshness wanted.
    pub(in crate::proxy::cache) min_fresh: Option<Duration>,
    /// How long a stored response may have been stale.
    pub(in crate::proxy::cache) max_stale: Option<Duration>,
    /// The same if the upstream fails (RFC 5861 §4).
    pub(in crate::proxy::cache) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Those of a request that has these fields.
    pub(in crate::proxy::cache) fn of(fields: RequestFieldSet, headers: &HeaderMap) -> Self {
        if fields.has_cache_control() { Self::read(headers) } else { Self::default() }
    }

    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Self {
        let mut request = Self::default();
        for directive in directives(headers) {
            match &*directive.name {
                b"no-cache" => request.no_cache = true,
                b"no-store" => request.no_store = true,
                b"only-if-cached" => request.only_if_cached = true,
                b"max-age" => first(&mut request.max_age, directive.seconds()),
                b"min-fresh" => first(&mut request.min_fresh, directive.seconds()),
                b"max-stale" if directive.value.is_none() => first(&mut request.max_stale, FOREVER),
                b"max-stale" => first(&mut request.max_stale, directive.seconds()),
                b"stale-if-error" => first(&mut request.stale_if_error, directive.seconds()),
                _ => {}
            }
        }
        request
    }
}

/// The `Cache-Control` of a response (RFC 9111 §5.2.2).
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
    /// The fields that `private="…"` and `no-cache="…"` name. All others may be stored.
    pub(in crate::proxy::cache) not_stored: Vec<HeaderName>,
    /// The directives came in a targeted field, so `Cache-Control` and `Expires` do not count
    /// (RFC 9213 §2.2).
    pub(in crate::proxy::cache) targeted: bool,
}

impl ResponseDirectives {
    /// Reads `CDN-Cache-Control` if there is a valid one, and `Cache-Control` otherwise.
    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Self {
        Self::targeted(headers).unwrap_or_else(|| {
            let mut response = Self::default();
            for directive in directives(headers) {
                response.apply(&directive);
            }
            response
        })
    }

    fn apply(&mut self, directive: &Directive<'_>) {
        match &*directive.name {
            b"no-store" => self.no_store = true,
            b"no-cache" | b"private" if directive.value.is_some() => {
                self.not_stored.extend(directive.field_names());
            }
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
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

    /// Reads `CDN-Cache-Control`, a structured dictionary. The whole field is ignored if it is invalid,
    /// empty, or has a number that is not a number (RFC 9213 §2.1, §2.2).
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(&CDN_CACHE_CONTROL) {
            return None;
        }
        let lines: Vec<_> =
            headers.get_all(&CDN_CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes).collect();
        let dictionary: sfv::Dictionary = sfv::Parser::new(&lines.join(&b", "[..])).parse().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let mut response = Self { targeted: true, ..Self::default() };
        for (key, entry) in &dictionary {
            let sfv::ListEntry::Item(item) = entry else { continue };
            let name = key.as_str();
            let value = match &item.bare_item {
                sfv::BareItem::Integer(seconds) => Some(seconds.to_string().into_bytes().into()),
                _ if NUMBERS.contains(&name) => return None,
                sfv::BareItem::Boolean(false) => continue,
                _ => None,
            };
            response.apply(&Directive { name: Cow::Borrowed(name.as_bytes()), value });
        }
        Some(response)
    }

    /// Whether a stale response may never be served. `s-maxage` forbids it too (RFC 9111 §5.2.2.10).
    pub(in crate::proxy::cache) fn never_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

/// One directive. Its name is in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Directive<'a> {
    name: Cow<'a, [u8]>,
    value: Option<Cow<'a, [u8]>>,
}

impl<'a> Directive<'a> {
    /// Reads one member of the list. An unusual name is no problem: it matches no directive.
    fn read(member: &'a [u8]) -> Self {
        let mut parts = member.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        // The grammar has no space around `=`. The name still counts then, but not the value.
        let is_spaced = name.last().is_some_and(u8::is_ascii_whitespace)
            || value.and_then(<[u8]>::first).is_some_and(u8::is_ascii_whitespace);
        let name = name.trim_ascii_end();
        let name = if name.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let value = if is_spaced { Some(Cow::default()) } else { value.map(unquote) };
        Self { name, value }
    }

    /// Delta-seconds (RFC 9111 §1.2.2): zero if the value is not a number, [`FOREVER`] if it
    /// overflows.
    fn seconds(&self) -> Duration {
        let digits = self.value.as_deref().unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Duration::ZERO;
        }
        let seconds = digits.iter().fold(0u64, |seconds, digit| {
            seconds.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
        });
        Duration::from_secs(seconds).min(FOREVER)
    }

    /// The field names in its value.
    fn field_names(&self) -> impl Iterator<Item = HeaderName> {
        let names = self.value.as_deref().unwrap_or_default().split(|byte| *byte == b',');
        names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
    }
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = Directive<'_>> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines.flat_map(|line| list::members(line.as_bytes(), true)).map(Directive::read)
}

/// A quoted string without its quotes and escapes. Any other value is unchanged.
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

/// Sets a directive unless it came before: the first of several counts.
fn first(directive: &mut Option<Duration>, value: Duration) {
    directive.get_or_insert(value);
}

/// The greatest number of seconds. An overflow counts as this (RFC 9111 §1.2.2).
pub(in crate::proxy::cache) const FOREVER: Duration = Duration::from_secs(1 << 31);
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The directives whose value is a number.
const NUMBERS: [&str; 4] = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
