//! Closes a record exactly once.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, StatusCode, uri::PathAndQuery};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::open::Edges;
use crate::{
    body::Body,
    error::{BoxError, Kind},
    pipeline::{
        connection::ActiveCall,
        draft::{Draft, Edge},
    },
};

/// Holds a record open; dropping it closes the record.
pub(super) struct Guard {
    pub(super) draft: Draft,
    pub(super) edges: Arc<Edges>,
    pub(super) method: Method,
    pub(super) target: Option<PathAndQuery>,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    pub(super) complete: bool,
    /// The connection is busy until the record closes.
    pub(super) _active: ActiveCall,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.complete {
            // Whatever failed first is the reason; a caller that left is only one if nothing did.
            self.draft.note(|facts| {
                facts.error.get_or_insert(Kind::CallerGone);
            });
        }
        let record = self.draft.close(Edge {
            listener: self.edges.listener.clone(),
            profile: self.edges.profile.clone(),
            method: std::mem::take(&mut self.method),
            target: self.target.take(),
            status: self.status,
            response_bytes: self.response_bytes,
        });
        self.edges.metrics.observe(&record);
        self.edges.trail.submit(record);
    }
}

/// The answer's body: counts what is sent and closes the call's record at its end.
pub struct RecordedBody {
    body: Body,
    guard: Guard,
}

impl RecordedBody {
    pub(super) fn new(body: Body, guard: Guard) -> Self {
        Self { body, guard }
    }
}

impl fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordedBody({}, {:?})", self.guard.draft.id(), self.body)
    }
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.guard.response_bytes += data.len() as u64;
                }
                self.guard.complete = self.body.is_end_stream();
            }
            Some(Err(error)) => {
                let kind =
                    crate::error::find_kind(error.as_ref()).unwrap_or(Kind::UpstreamIncomplete);
                self.guard.draft.note(|facts| {
                    facts.error.get_or_insert(kind);
                });
            }
            None => self.guard.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        // hyper does not ask an empty body, nor one whose end it has seen, for another frame.
        self.guard.complete |= self.body.is_end_stream();
    }
}
