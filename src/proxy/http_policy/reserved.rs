//! The header fields that only the gateway may send to Pigello: everything under `X-PIGELLO`.

use http::HeaderMap;

use super::upward::{folds_to_prefix, is_for_cache};
use crate::credentials::Lease;

/// A copy of a request's fields without those for the cache alone, and without those that are, or that a
/// server could take for, one of Pigello's own. The server would have two values for one name. No such
/// field should have come this far (`upward`), but here the seven are added.
///
/// It is a copy because another attempt may need the original. It has room for `added` more fields.
pub(in crate::proxy) fn to_send(headers: &HeaderMap, added: usize) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len().saturating_add(added));
    let goes_up = |name| !folds_to_prefix(name, PREFIX) && !is_for_cache(name);
    let others = headers.iter().filter(|(name, _)| goes_up(name));
    kept.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    kept
}

/// Removes Pigello's own fields from a response or its trailers, and counts them.
pub(in crate::proxy) fn strip_reserved(fields: &mut HeaderMap) -> u32 {
    let mut removed = 0_u32;
    while let Some(name) = fields.keys().find(|name| name.as_str().starts_with(PREFIX)).cloned() {
        fields.remove(name);
        removed = removed.saturating_add(1);
    }
    removed
}

/// Whether the name or the value of a field has the secret of a lease.
pub(in crate::proxy) fn holds_secret(fields: &HeaderMap, lease: &Lease) -> bool {
    let search = lease.secret_search();
    fields.keys().any(|name| search.is_in_name(name.as_str()))
        || fields.values().any(|value| search.is_in(value.as_bytes()))
}

const PREFIX: &str = "x-pigello";

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_request_loses_every_spelling_of_the_reserved_names() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-PIGELLO-CLIENT-SECRET",
            "x-pigello-client-secret",
            "x_pigello_client_secret",
            "X-Pigello_Client-Secret",
            "X.PIGELLO.CLIENT.SECRET",
            "x-pigello-anything",
            "x-pigellofoo",
            "accept",
            "x-pig",
            "x-request-id",
        ] {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("forged"));
        }
        headers.append("accept", HeaderValue::from_static("again"));
        let headers = to_send(&headers, 0);
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["forged", "again"]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-pig", "x-request-id"]);
    }
}
