//! The last stage: writes the seven values.

use http::{HeaderName, HeaderValue, Request, header};

use crate::{
    error::Error,
    proxy::{
        call::{Head, Outbound, REQUEST_ID, Resolved},
        http_policy::to_send,
        stages::shared::transition::{Transition, TransitionLayer},
    },
};

/// Makes the request that is sent.
pub fn apply() -> TransitionLayer<Apply> {
    TransitionLayer(Apply)
}

/// See [`apply`].
#[derive(Clone, Copy, Debug)]
pub struct Apply;

impl Transition<Resolved> for Apply {
    type Next = Outbound;

    fn advance(&self, Resolved { head, body, lease }: Resolved) -> Result<Outbound, Error> {
        let Head { method, target, headers, profile, context, .. } = &*head;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.path_and_query().clone().into();
        *request.headers_mut() = to_send(headers, ADDED);
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
        context.note(|facts| facts.attempts = facts.attempts.saturating_add(1));
        Ok(Outbound { request, table: profile.table.clone(), lease, context: context.clone() })
    }
}

/// The seven fields, `X-Request-Id`, `traceparent`, `Via`, and `Host` over HTTP/1.1.
const ADDED: usize = 11;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
