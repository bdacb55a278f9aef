//! Moves the head of a request out of hyper's read buffer, if hyper reads during the call.
//!
//! hyper's target and fields are parts of the connection's read buffer. While one of them is in use,
//! hyper cannot reuse that buffer and allocates another 8 KB for each call, of which a few hundred
//! bytes are written and all are wiped. A copy of the head costs less. Only HTTP/1.1 over TLS needs it:
//! without TLS hyper does not read during a call (`server/connection.rs`), and HTTP/2 has no such
//! buffer. The stage follows the cache, because a hit is over before hyper reads again.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;

use super::shared::transition::{Transition, TransitionLayer};
use crate::{error::Error, proxy::call::Fetch};

/// Moves a request's head into memory of its own, if hyper reads from its connection meanwhile.
pub fn detach() -> TransitionLayer<Detach> {
    TransitionLayer(Detach)
}

/// See [`detach`].
#[derive(Clone, Copy, Debug)]
pub struct Detach;

impl Transition<Fetch> for Detach {
    type Next = Fetch;

    fn advance(&self, mut fetch: Fetch) -> Result<Fetch, Error> {
        // A fetch that others wait for runs in a task of its own; hyper has its new buffer by then.
        if fetch.head.connection.is_read_ahead()
            && fetch.body.is_end_stream()
            && let Some(head) = Arc::get_mut(&mut fetch.head)
        {
            detach_fields(&mut head.headers);
            head.target.detach();
        }
        Ok(fetch)
    }
}

/// Moves the values of all fields into one allocation.
fn detach_fields(fields: &mut HeaderMap) {
    let mut all = BytesMut::with_capacity(fields.values().map(HeaderValue::len).sum());
    for value in fields.values() {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    for value in fields.values_mut() {
        let own: Bytes = all.split_to(value.len());
        // A copy of a valid value is valid.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(own) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::Method;

    use super::*;
    use crate::{
        body::Body,
        domain::{Caller, CanonicalTarget, Proof, RequestId, TraceContext},
        proxy::call::{CallContext, Connection, Head, Peer},
    };

    /// Whether the next stage can write to the buffer that the request was read into.
    fn is_buffer_free(is_read_ahead: bool) -> bool {
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
        let fetch = Fetch { head: Arc::new(head), body: Body::empty() };
        let fetch = Detach.advance(fetch).unwrap();
        assert_eq!(fetch.head.target.as_str(), "/a/b?c=d");
        assert_eq!(fetch.head.headers["accept"], "text/html");
        buffer.is_unique()
    }

    #[test]
    fn a_request_leaves_the_buffer_only_if_hyper_reads_into_it_meanwhile() {
        assert!(is_buffer_free(true));
        assert!(!is_buffer_free(false), "copied without need");
    }

    #[test]
    fn values_leave_the_buffer_unchanged() {
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
        assert!(buffer.is_unique(), "a field is still a part of the buffer");
    }
}
