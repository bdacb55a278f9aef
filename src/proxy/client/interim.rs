//! Passes the interim responses of the upstream (1xx, RFC 9110 §15.2) on to the caller.
//!
//! hyper tells them of HTTP/1.1 upstreams alone.

use std::sync::Arc;

use http::{Request, StatusCode};

use crate::{
    body::Body,
    credentials::Lease,
    proxy::{
        call::{CallContext, Interim},
        http_policy::{holds_secret, hop_by_hop, strip_grants, strip_reserved},
    },
};

/// Has the interim responses to a request passed on, if its caller takes them.
///
/// They are not cached and do not end a call, so they pass no stage. What the response guard does with a
/// final response is done here: one that holds the secret is dropped.
pub(super) fn pass_on(request: &mut Request<Body>, context: &CallContext, lease: &Arc<Lease>) {
    if !context.takes_interim() {
        return;
    }
    let (context, lease) = (context.clone(), Arc::clone(lease));
    hyper::ext::on_informational(request, move |response| {
        // The gateway asks for no `100 Continue`, and gives its own.
        if response.status() == StatusCode::CONTINUE {
            return;
        }
        if holds_secret(response.headers(), &lease) {
            tracing::warn!(request_id = %context.id(), "an interim response of Pigello held the client secret and was dropped");
            return;
        }
        let mut headers = response.headers().clone();
        hop_by_hop::strip(&mut headers);
        strip_reserved(&mut headers);
        strip_grants(&mut headers);
        context.pass_interim(Interim { status: response.status(), headers });
    });
}
