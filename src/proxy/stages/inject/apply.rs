//! Writes the seven values, last before the wire.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tower::{Layer, Service};

use crate::{
    body::Body,
    error::Error,
    proxy::call::{Head, Outbound, REQUEST_ID, Resolved},
};

/// Turns a resolved request into what is sent.
pub fn apply() -> ApplyLayer {
    ApplyLayer
}

/// See [`apply`].
#[derive(Clone, Copy, Debug)]
pub struct ApplyLayer;

impl<S> Layer<S> for ApplyLayer {
    type Service = Apply<S>;

    fn layer(&self, inner: S) -> Apply<S> {
        Apply { inner }
    }
}

/// See [`apply`].
#[derive(Clone, Debug)]
pub struct Apply<S> {
    inner: S,
}

impl<S> Service<Resolved> for Apply<S>
where
    S: Service<Outbound, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let Resolved { head, body, lease } = resolved;
        let Head { id, trace, method, target, headers, draft, .. } = &*head;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path_and_query().clone().into();
        *request.headers_mut() = without_spoofed_headers(headers);
        let headers = request.headers_mut();
        let mut buffer = [0; 36];
        if let Ok(id) = HeaderValue::from_str(id.encode(&mut buffer)) {
            headers.insert(REQUEST_ID, id);
        }
        if let Ok(traceparent) = HeaderValue::from_bytes(&trace.traceparent()) {
            headers.insert(TRACEPARENT, traceparent);
        }
        headers.append(header::VIA, HeaderValue::from_static("1.1 pigello-gateway"));
        lease.write_to(headers);
        draft.note(|facts| facts.attempts += 1);
        self.inner.call(Outbound { request, draft: draft.clone() })
    }
}

/// A copy without any field that is, or that a server behind us could take for, one of Pigello's own:
/// any `X-PIGELLO-*`, in any case, with `_` for `-`. WSGI servers fold both spellings into one
/// variable (RFC 9110 §17.10 warns of it), so `X_PIGELLO_CLIENT_SECRET` would stand beside ours.
///
/// A copy, because another attempt may need what came; it has room for what is added.
pub fn without_spoofed_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len() + ADDED);
    let others = headers.iter().filter(|(name, _)| !is_pigellos_own(name));
    kept.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    kept
}

/// Whether a field is, or could be taken for, one of Pigello's own.
pub fn is_pigellos_own(name: &HeaderName) -> bool {
    // hyper gives names in lower case.
    const PREFIX: &[u8] = b"x-pigello";
    let name = name.as_str().as_bytes();
    name.len() >= PREFIX.len()
        && name
            .iter()
            .zip(PREFIX)
            .all(|(byte, ours)| byte == ours || (*ours == b'-' && *byte == b'_'))
}

/// The seven, the identifiers of call and trace, `Via`, and `Host` over HTTP/1.1.
const ADDED: usize = 11;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::ValueName;

    #[test]
    fn every_spelling_goes() {
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
        let headers = without_spoofed_headers(&headers);
        assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["forged", "again"]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-pig", "x-request-id"]);
    }

    proptest! {
        /// Whatever a caller sends, nothing that folds to one of the seven names is left.
        #[test]
        fn nothing_folds_to_one_of_the_seven(names in proptest::collection::vec("[xX][-_][pP]igello[-_a-z]{0,20}|[a-z-]{1,12}", 0..20)) {
            let mut headers = HeaderMap::new();
            for name in &names {
                if let Ok(name) = HeaderName::try_from(name.as_str()) {
                    headers.append(name, HeaderValue::from_static("forged"));
                }
            }
            let headers = without_spoofed_headers(&headers);
            for name in headers.keys() {
                let folded = name.as_str().to_ascii_lowercase().replace('_', "-");
                prop_assert!(ValueName::ALL.iter().all(|ours| ours.header().as_str() != folded));
            }
        }
    }
}
