//! SharedService the cache: a request that waits for the upstream lets go of the buffer it was read into,
//! where hyper reads meanwhile.
//!
//! hyper hands out the target and the fields of a request as parts of its connection's read buffer.
//! While one of them is in use it cannot read into that buffer again, and takes a new one of 8 KB for
//! every call, of which hardly a few hundred bytes are ever written; all of it is wiped when the call
//! is over. A copy of what came costs less. It is needed on HTTP/1.1 over TLS alone: without TLS hyper
//! does not read while a call is under way (listener/connection.rs), and HTTP/2 has no such buffer.
//! Calls that memory answers end before hyper reads again.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use tower::{Layer, Service};

use crate::{body::Body, error::Error, proxy::call::Fetch};

/// Moves a request's head into memory of its own, where its connection is read from meanwhile.
pub fn detach() -> DetachLayer {
    DetachLayer
}

/// See [`detach`].
#[derive(Clone, Copy, Debug)]
pub struct DetachLayer;

impl<S> Layer<S> for DetachLayer {
    type Service = Detach<S>;

    fn layer(&self, inner: S) -> Detach<S> {
        Detach { inner }
    }
}

/// See [`detach`].
#[derive(Clone, Debug)]
pub struct Detach<S> {
    inner: S,
}

impl<S> Service<Fetch> for Detach<S>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut fetch: Fetch) -> Self::Future {
        // A fetch that others wait for runs in a task of its own: by then hyper has its new buffer.
        if fetch.head.connection.is_read_ahead()
            && fetch.body.is_end_stream()
            && let Some(head) = Arc::get_mut(&mut fetch.head)
        {
            detach_fields(&mut head.headers);
            head.target.detach();
        }
        self.inner.call(fetch)
    }
}

/// Moves the values of all fields into one piece of memory.
pub(in crate::proxy) fn detach_fields(fields: &mut HeaderMap) {
    let mut all = BytesMut::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    for value in fields.values_mut() {
        let own: Bytes = all.split_to(value.len());
        // What was a value is one.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{Ready, ready},
        time::SystemTime,
    };

    use http::Method;
    use tower::service_fn;

    use super::*;
    use crate::{
        domain::{Caller, CanonicalTarget, Proof, RequestId, TraceContext},
        proxy::call::{CallContext, Connection, Head, Peer},
    };

    /// The buffer that a request was read into, while what stands behind the stage has the request.
    fn is_buffer_free_behind_it(is_read_ahead: bool) -> bool {
        let buffer = Bytes::from(b"GET /a/b?c=d HTTP/1.1 Accept: text/html".to_vec());
        let id = RequestId::fresh();
        let trace = TraceContext::continue_or_begin(None, id);
        let target = http::uri::PathAndQuery::from_maybe_shared(buffer.slice(4..12)).unwrap();
        let accept = HeaderValue::from_maybe_shared(buffer.slice(30..39)).unwrap();
        let connection = Connection::new(Peer::Tcp(([127, 0, 0, 1], 1).into()), Vec::new());
        if is_read_ahead {
            connection.read_ahead();
        }
        let head = Head {
            method: Method::GET,
            target: CanonicalTarget::parse(target).unwrap(),
            headers: HeaderMap::from_iter([(http::header::ACCEPT, accept)]),
            connection,
            caller: Arc::new(Caller::Unidentified { proof: Proof::Listener }),
            operation: None,
            context: CallContext::begin(SystemTime::now(), id, trace, false),
        };
        let is_free = Cell::new(false);
        let behind = |fetch: Fetch| -> Ready<Result<Response<Body>, Error>> {
            assert_eq!(fetch.head.target.as_str(), "/a/b?c=d");
            assert_eq!(fetch.head.headers["accept"], "text/html");
            is_free.set(buffer.is_unique());
            ready(Ok(Response::new(Body::empty())))
        };
        let fetch = Fetch { head: Arc::new(head), body: Body::empty() };
        drop(detach().layer(service_fn(behind)).call(fetch));
        is_free.get()
    }

    #[test]
    fn a_request_has_left_the_buffer_that_is_read_into_meanwhile_and_no_other() {
        assert!(is_buffer_free_behind_it(true));
        assert!(!is_buffer_free_behind_it(false), "copied for nothing");
    }

    #[test]
    fn values_stay_what_they_are_and_leave_the_buffer() {
        let buffer = Bytes::from(b"text/html, a\xe9\t=1; b".to_vec());
        let mut fields = HeaderMap::new();
        for (name, range) in [("accept", 0..9), ("cookie", 11..19), ("x-empty", 19..19)] {
            let value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            fields.append(name, value);
        }
        fields.append("cookie", HeaderValue::from_maybe_shared(buffer.slice(11..12)).unwrap());
        let mut secret = HeaderValue::from_maybe_shared(buffer.slice(0..4)).unwrap();
        secret.set_sensitive(true);
        fields.append("authorization", secret);
        let before = fields.clone();
        detach_fields(&mut fields);
        assert_eq!(fields, before);
        assert!(fields.get("authorization").unwrap().is_sensitive());
        drop(before);
        assert!(buffer.is_unique(), "a field is a part of the buffer yet");
    }
}
