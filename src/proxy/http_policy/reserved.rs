//! The header fields that only the gateway may send to Pigello: everything under `X-PIGELLO`.

use http::{HeaderMap, HeaderName};

use crate::credentials::Lease;

/// A copy of a request's fields without those that are, or that a server could take for, one of
/// Pigello's own: any `X-PIGELLO-*`, in any case, with `_` for `-`. WSGI servers fold both spellings
/// into one variable (RFC 9110 §17.10 warns of it), so a caller's `X_PIGELLO_CLIENT_SECRET` would
/// stand beside the injected field.
///
/// It is a copy because another attempt may need the original. It has room for `added` more fields.
pub(in crate::proxy) fn without_spoofed(headers: &HeaderMap, added: usize) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len() + added);
    let others = headers.iter().filter(|(name, _)| !is_reserved(name));
    kept.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    kept
}

/// Whether a field is, or could be taken for, one of Pigello's own.
pub fn is_reserved(name: &HeaderName) -> bool {
    // `HeaderName` is in lower case.
    const PREFIX: &[u8] = b"x-pigello";
    let name = name.as_str().as_bytes();
    name.len() >= PREFIX.len()
        && name
            .iter()
            .zip(PREFIX)
            .all(|(byte, ours)| byte == ours || (*ours == b'-' && *byte == b'_'))
}

/// Removes Pigello's own fields from a response or its trailers, and counts them.
pub(in crate::proxy) fn strip_reserved(fields: &mut HeaderMap) -> u32 {
    let mut removed = 0;
    while let Some(name) = fields.keys().find(|name| name.as_str().starts_with(PREFIX)).cloned() {
        fields.remove(name);
        removed += 1;
    }
    removed
}

/// Whether the value of a field has the secret of a lease.
pub(in crate::proxy) fn holds_secret(fields: &HeaderMap, lease: &Lease) -> bool {
    fields.values().any(|value| lease.needles().are_in(value.as_bytes()))
}

const PREFIX: &str = "x-pigello-";

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::ValueName;

    #[test]
    fn a_request_loses_every_spelling_of_the_reserved_names() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-PIGELLO-CLIENT-SECRET",
            "x-pigello-client-secret",
            "x_pigello_client_secret",
            "X-Pigello_Client-Secret",
            "x-pigello-anything",
            "x-pigellofoo",
            "accept",
            "x-pig",
            "x-request-id",
        ] {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("forged"));
        }
        headers.append("accept", HeaderValue::from_static("again"));
        let headers = without_spoofed(&headers, 0);
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["forged", "again"]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-pig", "x-request-id"]);
    }

    proptest! {
        /// Whatever a caller sends, nothing that folds to one of the seven names is left.
        #[test]
        fn no_field_that_is_left_folds_to_one_of_the_seven(names in proptest::collection::vec("[xX][-_][pP]igello[-_a-z]{0,20}|[a-z-]{1,12}", 0..20)) {
            let mut headers = HeaderMap::new();
            for name in &names {
                if let Ok(name) = HeaderName::try_from(name.as_str()) {
                    headers.append(name, HeaderValue::from_static("forged"));
                }
            }
            let headers = without_spoofed(&headers, 0);
            for name in headers.keys() {
                let folded = name.as_str().to_ascii_lowercase().replace('_', "-");
                prop_assert!(ValueName::ALL.iter().all(|ours| ours.header().as_str() != folded));
            }
        }
    }
}
