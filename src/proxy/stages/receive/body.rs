//! Counts the bytes of a request body and cuts it off at its limit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::Body,
    domain::ByteSize,
    error::{BoxError, Error, Kind},
    proxy::call::CallContext,
};

/// Refuses a body that announces too many bytes, and cuts off one that has too many.
pub(super) fn limited(body: Body, limit: u64, context: &CallContext) -> Result<Body, Error> {
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(body);
    }
    Ok(Body::wrap(LimitedBody { body, limit, left: limit, context: context.clone() }))
}

fn too_large(limit: u64) -> Error {
    let limit = ByteSize(limit);
    Error::new(
        Kind::BodyTooLarge,
        format!("a request body may have at most {limit:#} (`limits.request_body`)"),
    )
}

struct LimitedBody {
    body: Body,
    limit: u64,
    left: u64,
    context: CallContext,
}

impl LimitedBody {
    fn fail(&self, error: Error) -> BoxError {
        self.context.note(|facts| {
            facts.body_error = Some((error.kind(), error.detail().to_owned().into()));
        });
        error.into()
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                let error = match error.downcast::<Error>() {
                    Ok(ours) => *ours,
                    Err(error) => {
                        Error::new(Kind::BodyBroken, "the request body is not well framed")
                            .because(error)
                    }
                };
                return Poll::Ready(Some(Err(self.fail(error))));
            }
            Some(Ok(frame)) => frame,
        };
        let Some(data) = frame.data_ref() else {
            // A trailer could smuggle one of the seven names past the checks of the head.
            return Poll::Ready(None);
        };
        self.context.count_request_bytes(data.len());
        match self.left.checked_sub(data.len() as u64) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err(self.fail(too_large(self.limit))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
