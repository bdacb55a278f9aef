//! Which stored variant answers which request (RFC 9111 §4.1).
//!
//! The fields that `Vary` names are compared in a normal form, so that callers who write the same
//! preference differently share a variant. The normal form drops what has no meaning: space around
//! commas, the split over several lines and, for negotiation fields, case and order.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};

/// The fields that a response varies by.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy::cache) struct VaryFields(Vec<HeaderName>);

impl VaryFields {
    /// `None` if `Vary` has `*` or an invalid field name: no request selects such a response.
    pub(in crate::proxy::cache) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut names = Vec::new();
        for value in headers.get_all(header::VARY) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                match name {
                    b"" => {}
                    b"*" => return None,
                    name => {
                        let name = HeaderName::from_bytes(name).ok()?;
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                }
            }
        }
        // Not every caller can decode an encoded response, even if the upstream does not vary by it.
        if headers.contains_key(header::CONTENT_ENCODING)
            && !names.contains(&header::ACCEPT_ENCODING)
        {
            names.push(header::ACCEPT_ENCODING);
        }
        Some(Self(names))
    }

    /// Whether a variant can be stored. It keeps the request's values of these fields, and a caller's
    /// secret must not be kept.
    pub(in crate::proxy::cache) fn is_selectable(&self) -> bool {
        self.0.len() <= MAX_FIELDS
            && !self.0.contains(&header::AUTHORIZATION)
            && !self.0.contains(&header::COOKIE)
    }
}

/// Which requests a stored response answers.
#[derive(Debug)]
pub(in crate::proxy::cache) struct Variant {
    fields: Box<[SelectingField]>,
    /// `Content-Language`, if the response is in one language.
    language: Option<Box<str>>,
}

#[derive(Debug)]
struct SelectingField {
    name: HeaderName,
    /// In normal form. `None` if the request had no such field.
    value: Option<Box<[u8]>>,
}

impl Variant {
    /// The variant of `response`, the response to `request`.
    pub(in crate::proxy::cache) fn new(
        vary: VaryFields,
        request: &HeaderMap,
        response: &HeaderMap,
    ) -> Self {
        let fields = vary.0.into_iter().map(|name| {
            let value = normal(request, &name).map(|value| value.into_owned().into_boxed_slice());
            SelectingField { name, value }
        });
        let language = response.get(header::CONTENT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = language.filter(|language| !language.contains(',')).map(Into::into);
        Self { fields: fields.collect(), language }
    }

    /// Whether it answers a request.
    pub(in crate::proxy::cache) fn answers(&self, request: &HeaderMap) -> bool {
        self.fields.iter().all(|field| {
            normal(request, &field.name).as_deref() == field.value.as_deref()
                || (field.name == header::ACCEPT_LANGUAGE && self.is_preferred_language(request))
        })
    }

    /// Whether both are the same variant, so that one replaces the other.
    pub(in crate::proxy::cache) fn is_same(&self, other: &Self) -> bool {
        self.fields.len() == other.fields.len()
            && self
                .fields
                .iter()
                .zip(&other.fields)
                .all(|(one, two)| one.name == two.name && one.value == two.value)
    }

    /// Whether no other field than `Accept-Encoding` selects it.
    pub(in crate::proxy::cache) fn varies_by_coding_alone(&self) -> bool {
        self.fields.iter().all(|field| field.name == header::ACCEPT_ENCODING)
    }

    /// The bytes that it takes in memory.
    pub(in crate::proxy::cache) fn heap_bytes(&self) -> usize {
        let values = self.fields.iter().map(|field| {
            let length = field.value.as_ref().map_or(0, |value| value.len());
            size_of::<SelectingField>().saturating_add(length)
        });
        let language = self.language.as_ref().map_or(0, |language| language.len());
        values.fold(language, usize::saturating_add)
    }

    /// Whether the response is in the language that the request prefers to all others. The upstream,
    /// which has the language, would choose it too.
    fn is_preferred_language(&self, request: &HeaderMap) -> bool {
        let Some(language) = &self.language else { return false };
        preferred_language(request).is_some_and(|tag| tag.eq_ignore_ascii_case(language))
    }
}

/// The language with the highest weight. `None` if two share it.
fn preferred_language(request: &HeaderMap) -> Option<&str> {
    let mut best: Option<(&str, u16)> = None;
    let mut shared = false;
    for line in request.get_all(header::ACCEPT_LANGUAGE) {
        for member in line.to_str().ok()?.split(',').map(str::trim).filter(|m| !m.is_empty()) {
            let mut parts = member.split(';').map(str::trim);
            let tag = parts.next()?;
            let weight = match parts.next() {
                Some(weight) => weight_of(weight)?,
                None => 1000,
            };
            match best {
                Some((_, most)) if weight < most => {}
                Some((_, most)) if weight == most => shared = true,
                _ => (best, shared) = (Some((tag, weight)), false),
            }
        }
    }
    best.filter(|(tag, weight)| !shared && *weight > 0 && *tag != "*").map(|(tag, _)| tag)
}

/// `q=0.5`, in thousandths (RFC 9110 §12.4.2).
fn weight_of(text: &str) -> Option<u16> {
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let weight: f32 = value.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let thousandths = (weight * 1000.0) as u16;
    Some(thousandths)
}

/// All lines of a field as one, in normal form. `None` if the request has no such field.
pub(in crate::proxy::cache) fn normal<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.as_bytes();
    let is_plain = first.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let mut rest = lines.peekable();
    if is_plain && rest.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    let lines = std::iter::once(first).chain(rest.map(http::HeaderValue::as_bytes));
    if is_negotiation(name) {
        let mut preferences: Vec<Vec<u8>> = lines
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(|preference| preference.iter().filter(|b| !b.is_ascii_whitespace()))
            .map(|preference| preference.map(u8::to_ascii_lowercase).collect::<Vec<u8>>())
            .filter(|preference| !preference.is_empty())
            .collect();
        preferences.sort_unstable();
        return Some(Cow::Owned(preferences.join(&b","[..])));
    }
    let mut normal = Vec::with_capacity(first.len());
    for (at, line) in lines.enumerate() {
        if at > 0 {
            normal.push(b',');
        }
        // A comma between quotes separates nothing, and space beside it belongs to the text.
        if line.contains(&b'"') {
            normal.extend_from_slice(line.trim_ascii());
            continue;
        }
        for (at, member) in line.split(|byte| *byte == b',').enumerate() {
            if at > 0 {
                normal.push(b',');
            }
            normal.extend_from_slice(member.trim_ascii());
        }
    }
    Some(Cow::Owned(normal))
}

/// Whether a field lists preferences, without meaning in case or order (RFC 9110 §12.5).
fn is_negotiation(name: &HeaderName) -> bool {
    [header::ACCEPT, header::ACCEPT_LANGUAGE, header::ACCEPT_ENCODING, header::ACCEPT_CHARSET]
        .contains(name)
}

/// A response that varies by more fields is not worth storing.
const MAX_FIELDS: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn answers(
        vary: &str,
        stored: &[(&'static str, &str)],
        asked: &[(&'static str, &str)],
    ) -> bool {
        let response = headers(&[("vary", vary), ("content-language", "de")]);
        let varies = VaryFields::read(&response).unwrap();
        Variant::new(varies, &headers(stored), &response).answers(&headers(asked))
    }

    #[test]
    fn a_star_anywhere_is_never_selected() {
        for vary in ["*", "*, *", ", *", "*, foo", "foo, *", "not a name"] {
            assert_eq!(VaryFields::read(&headers(&[("vary", vary)])), None, "{vary}");
        }
        assert_eq!(VaryFields::read(&headers(&[("vary", ""), ("vary", "*")])), None);
        assert!(VaryFields::read(&headers(&[("vary", ",")])).unwrap().is_selectable());
    }

    #[test]
    fn an_encoded_response_answers_only_the_same_accept_encoding() {
        let response = headers(&[("content-encoding", "gzip")]);
        let asked = headers(&[("accept-encoding", "gzip")]);
        let variant = Variant::new(VaryFields::read(&response).unwrap(), &asked, &response);
        assert!(variant.answers(&asked) && !variant.answers(&HeaderMap::new()));
    }

    #[test]
    fn a_variant_by_a_callers_secret_is_not_stored() {
        for vary in ["Authorization", "foo, cookie", "a,b,c,d,e,f,g,h,i"] {
            assert!(
                !VaryFields::read(&headers(&[("vary", vary)])).unwrap().is_selectable(),
                "{vary}"
            );
        }
    }

    #[test]
    fn the_fields_that_it_varies_by_must_match() {
        for (vary, stored, asked, same) in [
            ("foo", &[("foo", "1")][..], &[("foo", "1")][..], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("foo", &[("foo", "1")], &[], false),
            ("foo", &[], &[("foo", "1")], false),
            ("foo", &[], &[], true),
            ("foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true),
            ("foo, bar", &[("foo", "1"), ("bar", "x")], &[("foo", "1"), ("bar", "x")], true),
            ("foo, bar", &[("foo", "1"), ("bar", "x")], &[("bar", "x"), ("foo", "2")], false),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")], true),
            ("foo", &[("foo", "1,2")], &[("foo", "2,1")], false),
            ("foo", &[("foo", "a")], &[("foo", "A")], false),
            ("foo", &[("foo", "\"a,b\"")], &[("foo", "\"a, b\"")], false),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "de, en")],
                true,
            ),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "eN ,  De")],
                true,
            ),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "en")],
                false,
            ),
            // The stored response is German, which this caller prefers.
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "fr;q=0.5, de;q=1.0")],
                true,
            ),
            (
                "accept-language",
                &[("accept-language", "en, de")],
                &[("accept-language", "fr, de;q=0.9")],
                false,
            ),
            (
                "accept-language",
                &[("accept-language", "en")],
                &[("accept-language", "fr, de")],
                false,
            ),
            (
                "accept-encoding",
                &[("accept-encoding", "gzip;q=1, br")],
                &[("accept-encoding", "br,GZIP; q=1")],
                true,
            ),
        ] {
            assert_eq!(answers(vary, stored, asked), same, "{vary}: {stored:?} {asked:?}");
        }
    }

    proptest! {
        /// A variant answers its own request, and only requests with the same members in the
        /// selecting field.
        #[test]
        fn a_variant_answers_its_own_request(
            one in proptest::collection::vec("[a-cA-C]{1,2}", 1..4),
            two in proptest::collection::vec("[a-cA-C]{1,2}", 1..4),
            spacing in "[ \t]{0,2}",
        ) {
            let line = |parts: &[String]| parts.join(&format!("{spacing},{spacing}"));
            let (a, b) = (line(&one), line(&two));
            prop_assert!(answers("foo", &[("foo", &a)], &[("foo", &one.join(","))]));
            prop_assert_eq!(answers("foo", &[("foo", &a)], &[("foo", &b)]), one == two);
        }

        #[test]
        fn any_field_can_be_compared(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let Ok(value) = http::HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            for name in [header::ACCEPT_LANGUAGE, header::ACCEPT, header::VARY] {
                let mut map = HeaderMap::new();
                map.append(name.clone(), value.clone());
                map.append(header::VARY, name.into());
                if let Some(varies) = VaryFields::read(&map) {
                    let variant = Variant::new(varies, &map, &headers(&[("content-language", "de")]));
                    prop_assert!(variant.answers(&map));
                }
            }
        }
    }
}
