//! Keeps pages in a browser away from the admin listener.

use axum::{
    extract::Request,
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
        Ok(()) => next.run(request).await,
        Err(error) => (error.kind().status(), error.detail().to_owned()).into_response(),
    }
}
