//! Writes the seven values, last before the wire.

use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response, header};
use tower::{Layer, Service};

use crate::{
    body::Body,
    error::Error,
    proxy::{
        call::{Head, Outbound, REQUEST_ID, Resolved},
        http_policy::without_spoofed,
    },
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
        let Head { method, target, headers, context, .. } = &*head;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path_and_query().clone().into();
        *request.headers_mut() = without_spoofed(headers, ADDED);
        let headers = request.headers_mut();
        let mut buffer = [0; 36];
        if let Ok(id) = HeaderValue::from_str(context.id().encode(&mut buffer)) {
            headers.insert(REQUEST_ID, id);
        }
        if let Ok(traceparent) = HeaderValue::from_bytes(&context.trace().traceparent()) {
            headers.insert(TRACEPARENT, traceparent);
        }
        headers.append(header::VIA, HeaderValue::from_static("1.1 pigello-gateway"));
        lease.write_to(headers);
        context.note(|facts| facts.attempts += 1);
        self.inner.call(Outbound { request, context: context.clone() })
    }
}

/// The seven, the identifiers of call and trace, `Via`, and `Host` over HTTP/1.1.
const ADDED: usize = 11;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
