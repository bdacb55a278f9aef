//! Refuses requests from browsers.
//!
//! The gateway adds a secret to the requests it accepts, and any page in a browser on the host can
//! reach a loopback address. Browsers mark the requests of a page (Fetch Metadata, `Origin`).
//! Programs do not, except that Node's `fetch` sends `Sec-Fetch-Mode`, which is therefore ignored.

use http::{HeaderMap, HeaderName, header};

use crate::error::{Error, Kind};

/// Refuses a request that a browser sent for a page.
pub fn refuse_browsers(headers: &HeaderMap) -> Result<(), Error> {
    let cross_site = headers.get_all(SEC_FETCH_SITE).iter().any(|site| {
        let site = site.as_bytes().trim_ascii();
        !site.eq_ignore_ascii_case(b"none") && !site.eq_ignore_ascii_case(b"same-origin")
    });
    if cross_site
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

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(name: &'static str, value: &'static str) -> Result<(), Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        refuse_browsers(&headers).map_err(|error| error.kind())
    }

    #[test]
    fn requests_of_pages_are_refused_and_requests_of_programs_are_not() {
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
        for (name, value) in
            [("sec-fetch-mode", "cors"), ("user-agent", "node"), ("sec-fetch-site", "none")]
        {
            assert_eq!(check(name, value), Ok(()), "{name}: {value}");
        }
    }
}
