//! Refuses browsers on the admin listener, except for the status page's own requests.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    error::{Error, Kind},
    proxy::http_policy::{HostRules, refuse_browsers},
};

/// Refuses foreign host names (DNS rebinding) and cross-site requests.
///
/// Of all requests with an `Origin`, only the forms of the status page itself pass. Their handlers
/// also check a token.
pub(super) async fn guard(
    State(hosts): State<Arc<HostRules>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let is_form = request.method() == Method::POST && request.uri().path().starts_with(FORMS);
    let checked = hosts
        .check(request.version(), request.uri(), headers)
        .and_then(|_| if is_form { same_origin(headers) } else { refuse_browsers(headers) });
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => refusal(&error),
    }
}

/// The answer to a request that is refused.
pub(super) fn refusal(error: &Error) -> Response {
    (error.kind().status(), format!("{}\n", error.detail())).into_response()
}

/// Browsers name the origin of a form in `Origin` (Fetch standard) and, since 2020, in
/// `Sec-Fetch-Site`. Both must be this listener.
fn same_origin(headers: &HeaderMap) -> Result<(), Error> {
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(header::HeaderValue::as_bytes)
    };
    let is_here = match (one(&header::ORIGIN), one(&header::HOST)) {
        (Some(origin), Some(host)) => {
            origin.strip_prefix(b"http://").is_some_and(|from| from.eq_ignore_ascii_case(host))
        }
        _ => false,
    };
    let site = headers.contains_key(&SEC_FETCH_SITE).then(|| one(&SEC_FETCH_SITE));
    if is_here && site.is_none_or(|site| site == Some(b"same-origin")) {
        return Ok(());
    }
    Err(Error::new(
        Kind::CrossSite,
        "this is for the forms of the gateway's own page; a program uses `DELETE /cache`",
    ))
}

/// The targets of the status page's forms.
const FORMS: &str = "/page/";
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn is_same_origin(fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        same_origin(&headers).is_ok()
    }

    #[test]
    fn a_form_comes_from_the_page_itself() {
        let host = ("host", "127.0.0.1:9901");
        let origin = ("origin", "http://127.0.0.1:9901");
        assert!(is_same_origin(&[host, origin]));
        assert!(is_same_origin(&[host, origin, ("sec-fetch-site", "same-origin")]));
        for fields in [
            &[host][..],
            &[origin],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://127.0.0.1:9902")],
            &[host, ("origin", "http://localhost:9901")],
            &[host, ("origin", "https://127.0.0.1:9901")],
            &[host, ("origin", "http://127.0.0.1:9901.evil.test")],
            &[host, origin, ("origin", "http://evil.test")],
            &[host, origin, ("sec-fetch-site", "same-site")],
            &[host, origin, ("sec-fetch-site", "none")],
            &[host, origin, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!is_same_origin(fields), "{fields:?}");
        }
    }
}
