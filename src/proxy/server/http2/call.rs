//! One stream: its request goes down the path, and the answer goes to the caller.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;

use super::{
    answer::Answer,
    field_check::Malformed,
    outbox::Outbox,
    request_body::{Unread, request_body},
};
use crate::proxy::{
    call::{Arrival, Connection, Interim, InterimQueue, SharedService, Unreadable},
    server::{Path, date, http1::ParseError},
};

/// What the calls of a connection have in common.
pub(super) struct Calls<'a, P> {
    pub(super) path: &'a SharedService<P>,
    pub(super) connection: &'a Arc<Connection>,
    pub(super) outbox: &'a Outbox,
    /// The time a caller has for each piece of an answer.
    pub(super) write: Duration,
}

impl<P: Path> Calls<'_, P> {
    /// Serves one request. When the caller resets the stream, the call is dropped.
    pub(super) fn serve(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> impl Future<Output = ()> + Send + use<P> {
        let (path, connection) = (self.path.clone(), Arc::clone(self.connection));
        connection.begin_call();
        let (outbox, write) = (self.outbox.clone(), self.write);
        async move {
            let is_head = request.method() == Method::HEAD;
            let malformed = outbox.take_malformed(respond.stream_id().as_u32());
            let is_no_http2 =
                malformed.as_ref().is_some_and(|request| request.error == ParseError::FieldName);
            let mut unread = Unread::default();
            let request = if let Some(Malformed { method, path, error }) = malformed {
                Err(Unreadable::new(method, path.as_deref(), error.into_error()))
            } else {
                let (parts, stream) = request.into_parts();
                let body;
                (body, unread) = request_body(stream, &parts.headers);
                Ok(Request::from_parts(parts, body))
            };
            let interim = InterimQueue::default();
            let arrival = Arrival { request, connection, interim: Some(interim.clone()) };
            let call = path.call(arrival);
            let Some(response) = response(call, &interim, &mut respond).await else { return };
            if is_no_http2 {
                // Such a name is an error of the stream (RFC 9113 §8.2.1).
                return respond.send_reset(Reason::PROTOCOL_ERROR);
            }
            let (head, body) = response.into_parts();
            let mut head = Response::from_parts(head, ());
            let has_no_body = is_head || body.is_end_stream();
            prepare(head.headers_mut(), body.size_hint().exact().filter(|_| !has_no_body));
            let sent = match respond.send_response(head, has_no_body) {
                Ok(stream) if !has_no_body => {
                    Answer::new(body, stream, outbox, write).await.err().map(|why| why.to_string())
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            };
            match sent {
                Some(error) => tracing::debug!(%error, "an answer is not complete"),
                None => unread.discard().await,
            }
        }
    }
}

/// The response of a call, after its interim responses; `None` if its caller leaves before.
async fn response<B>(
    call: impl Future<Output = Result<Response<B>, Infallible>>,
    interim: &InterimQueue,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<B>> {
    let mut call = pin!(call);
    poll_fn(|cx: &mut Context<'_>| {
        let response = call.as_mut().poll(cx);
        // Before the response: both can come at once.
        while let Poll::Ready(Interim { status, headers }) = interim.poll_next(cx) {
            let mut head = Response::new(());
            (*head.status_mut(), *head.headers_mut()) = (status, headers);
            if let Err(error) = respond.send_informational(head) {
                tracing::debug!(%error, "an interim response is not sent");
            }
        }
        match response {
            Poll::Ready(Ok(response)) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|_reason| None),
        }
    })
    .await
}

/// Makes the fields of a response those of HTTP/2.
fn prepare(headers: &mut HeaderMap, length: Option<u64>) {
    for of_the_connection in &OF_A_CONNECTION {
        headers.remove(of_the_connection);
    }
    headers.entry(header::DATE).or_insert_with(|| date::with_now(HeaderValue::clone));
    if let Some(length) = length {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}

/// Fields that HTTP/2 has none of (RFC 9113 §8.2.2).
static OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
