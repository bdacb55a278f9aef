//! Keeps pages in a browser away from the admin listener.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::pipeline::receive::{HostRules, refuse_browsers};

/// Refuses foreign host names (DNS rebinding) and requests that a browser made for another site.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let hosts = HostRules::new(None, &[]);
    let checked = hosts
        .check(request.uri(), request.headers())
        .and_then(|()| refuse_browsers(request.headers()));
    match checked {
        Ok(()) => {
            let mut response = next.run(request).await;
            response
                .headers_mut()
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => (error.kind().status(), error.detail().to_owned()).into_response(),
    }
}
