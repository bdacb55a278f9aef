//! Keeps the gateway out of browsers' reach.
//!
//! The gateway adds a secret to the requests it accepts, and any page in a browser on the host can
//! reach a loopback address. Browsers mark the requests of a page (Fetch Metadata, `Origin`).
//! Programs do not, except that Node's `fetch` sends `Sec-Fetch-Mode: cors`, and Electron
//! `Sec-Fetch-Site: none` with an empty destination.
//!
//! Nobody opens an answer of Pigello in a browser either: as a page of the gateway's own origin it
//! could read everything. A navigation is refused, the answer does not invite other origins, and a
//! document that comes all the same is in a sandbox.

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::Body as _;

use super::hop_by_hop::remove_where;
use crate::{
    body::Body,
    error::{Error, Kind},
};

/// Refuses a request that a page of another site sent.
pub fn refuse_browsers(headers: &HeaderMap) -> Result<(), Error> {
    let is_cross_site = !all(headers, &SEC_FETCH_SITE, &[b"none", b"same-origin"]);
    if is_cross_site
        || headers.contains_key(header::ORIGIN)
        || headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return Err(Error::new(
            Kind::CrossSite,
            "the gateway serves programs on this host, not pages in a browser",
        ));
    }
    Ok(())
}

/// Refuses to show a person an answer in a browser, or to answer a page of the listener's own origin:
/// it serves none.
pub(super) fn refuse_navigation(headers: &HeaderMap) -> Result<(), Error> {
    let is_program = all(headers, &SEC_FETCH_SITE, &[b"none"])
        && all(headers, &SEC_FETCH_DEST, &[b"empty"])
        && all(headers, &SEC_FETCH_MODE, &[b"cors", b"no-cors", b"same-origin"])
        // Browsers send it to addresses that get no Fetch Metadata, such as plain HTTP on a network.
        && !headers.contains_key(header::UPGRADE_INSECURE_REQUESTS);
    if is_program {
        return Ok(());
    }
    Err(Error::new(
        Kind::CrossSite,
        "the gateway shows nothing in a browser; use a program such as curl",
    ))
}

/// Removes the fields by which an answer admits pages of other origins. They would speak for Pigello's
/// origin, not for the gateway's.
pub(in crate::proxy) fn strip_grants(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        let name = name.as_str();
        name.starts_with("access-control-")
            || matches!(name, "timing-allow-origin" | "service-worker-allowed")
    });
}

/// Makes an answer harmless to whoever opens it in a browser.
pub(in crate::proxy) fn close_to_pages(response: &mut Response<Body>) {
    strip_grants(response.headers_mut());
    if response.body().is_end_stream() || !may_be_document(response.headers()) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Beside a policy of Pigello's: a browser enforces both.
    headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
}

/// Whether a browser might show an answer as a document that runs scripts: HTML, XML with a stylesheet,
/// SVG, parts of any type, or what it would have to guess (MIME Sniffing §7).
fn may_be_document(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return true };
    let essence = only.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let Some(slash) = memchr::memchr(b'/', &essence) else { return true };
    let (kind, subtype) = essence.split_at(slash);
    // Of two types in one field, browsers take the last one.
    essence.contains(&b',')
        || matches!(kind, b"multipart" | b"unknown" | b"*")
        || matches!(subtype, b"/html" | b"/xml" | b"/xsl" | b"/unknown")
        || subtype.ends_with(b"+xml")
}

/// Whether every value of a field is one of these. A field that is missing has no other value.
fn all(headers: &HeaderMap, name: &HeaderName, values: &[&[u8]]) -> bool {
    headers.get_all(name).iter().all(|value| {
        let value = value.as_bytes().trim_ascii();
        values.iter().any(|known| value.eq_ignore_ascii_case(known))
    })
}

/// No script, form, subresource or frame, in an origin of its own.
const SANDBOX: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn requests_of_pages_are_refused_and_requests_of_programs_are_not() {
        let check =
            |name, value| refuse_browsers(&headers(&[(name, value)])).map_err(|error| error.kind());
        for (name, value) in [
            ("origin", "https://evil.test"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "Cross-Site"),
            ("access-control-request-method", "PATCH"),
        ] {
            assert_eq!(check(name, value), Err(Kind::CrossSite), "{name}: {value}");
        }
        for (name, value) in [
            ("sec-fetch-mode", "cors"),
            ("user-agent", "node"),
            ("sec-fetch-site", "none"),
            // The admin listener has a page of its own.
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "navigate"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}: {value}");
        }
    }

    #[test]
    fn navigations_and_pages_of_the_own_origin_are_refused() {
        for fields in [
            &[("sec-fetch-site", "same-origin")][..],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            &[("sec-fetch-mode", "Navigate")],
            &[("sec-fetch-mode", "websocket")],
            &[("sec-fetch-dest", "document")],
            &[("sec-fetch-site", "none"), ("sec-fetch-dest", "iframe")],
            &[("sec-fetch-dest", "empty"), ("sec-fetch-dest", "document")],
            &[("upgrade-insecure-requests", "1")],
        ] {
            let error = refuse_navigation(&headers(fields)).unwrap_err();
            assert_eq!(error.kind(), Kind::CrossSite, "{fields:?}");
        }
        for fields in [
            &[][..],
            &[("sec-fetch-mode", "cors")],
            &[
                ("sec-fetch-site", "none"),
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "empty"),
            ],
        ] {
            assert!(refuse_navigation(&headers(fields)).is_ok(), "{fields:?}");
        }
    }

    #[test]
    fn an_answer_admits_no_page_and_a_document_is_in_a_sandbox() {
        let closed = |fields: &[(&'static str, &'static str)], body: &'static str| {
            let mut response = Response::new(Body::full(body));
            *response.headers_mut() = headers(fields);
            close_to_pages(&mut response);
            response.into_parts().0.headers
        };
        let left = closed(
            &[
                ("content-type", "application/json"),
                ("access-control-allow-origin", "*"),
                ("Access-Control-Allow-Credentials", "true"),
                ("timing-allow-origin", "*"),
                ("x-theirs", "1"),
            ],
            "{}",
        );
        let names: Vec<_> = left.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-theirs"]);
        for content_type in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "application/xhtml+xml",
            "image/svg+xml",
            "application/xml",
            "multipart/x-mixed-replace",
            "text/plain, text/html",
            "nonsense",
            "unknown/unknown",
            "*/*",
        ] {
            let fields = [
                ("content-type", content_type),
                ("x-content-type-options", "sniff"),
                ("content-security-policy", "default-src *"),
            ];
            let left = closed(&fields, "<script>");
            assert_eq!(left[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{content_type}");
            let policies: Vec<_> = left.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
            assert_eq!(policies, ["default-src *", SANDBOX], "{content_type}");
        }
        assert_eq!(closed(&[], "<script>")[header::CONTENT_SECURITY_POLICY], SANDBOX);
        assert!(closed(&[], "").is_empty());
        for content_type in ["application/json", "text/plain", "text/csv", "application/pdf"] {
            assert_eq!(closed(&[("content-type", content_type)], "x").len(), 1, "{content_type}");
        }
    }
}
