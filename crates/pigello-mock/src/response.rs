//! The mock's responses: JSON, in the form of a Django back end.
//!
//! A response is complete in memory until `handler` hands it to the HTTP library.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

/// A response with a JSON body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Bytes> {
    // What the mock answers is JSON already, or has text for its keys, so this cannot fail.
    typed(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// A response with a body of some media type.
pub(crate) fn typed(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// An error that concerns the whole request.
pub(crate) fn error(status: StatusCode, detail: &str) -> Response<Bytes> {
    json(status, &json!({ "detail": detail }))
}

/// 405 with the methods that the resource supports (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(supported: &[Method]) -> Response<Bytes> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.");
    let names: Vec<_> = supported.iter().map(Method::as_str).collect();
    if let Ok(allow) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
