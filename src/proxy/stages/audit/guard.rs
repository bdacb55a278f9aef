//! Closes the record of a call exactly once.

use std::{pin::Pin, sync::Arc};

use http::{Method, StatusCode};

use super::listener::ListenerContext;
use crate::{
    audit::{Durability, Record, Target, Unwritable},
    domain::Peer,
    error::Kind,
    proxy::call::{CallContext, CallEnd},
};

/// An open record. Dropping the guard closes the record, if it is still open, and releases the permits
/// of the call. If a fetch of the cache goes on for a caller that has left, both wait for its end.
pub(super) struct RecordGuard {
    pub(super) context: CallContext,
    pub(super) listener: Arc<ListenerContext>,
    pub(super) method: Method,
    pub(super) target: Option<Target>,
    pub(super) peer: Peer,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    pub(super) complete: bool,
    pub(super) closed: bool,
}

/// Completes when a record is in stable storage, or cannot be stored.
pub(super) type Stored = Pin<Box<dyn Future<Output = Result<(), Unwritable>> + Send>>;

impl RecordGuard {
    /// Whether responses wait for their records.
    pub(super) fn is_synced(&self) -> bool {
        self.listener.trail.durability() == Durability::Synced
    }

    /// Notes why the call failed. The first reason stays.
    pub(super) fn fail(&self, kind: Kind) {
        self.context.note(|facts| {
            facts.error.get_or_insert(kind);
        });
    }

    /// Closes the record of a complete response. The record is queued when this returns, whether or not
    /// the future is polled.
    pub(super) fn commit(&mut self) -> Stored {
        let record = self.close();
        Box::pin(self.listener.trail.submit_synced(record))
    }

    /// Closes the record of a decided response, which the caller may never read.
    pub(super) fn submit(&mut self) {
        let record = self.close();
        self.listener.trail.submit(record);
    }

    fn close(&mut self) -> Record {
        self.complete = true;
        self.closed = true;
        let end = self.end();
        self.listener.record(&self.context, end)
    }

    fn end(&mut self) -> CallEnd {
        CallEnd {
            peer: Some(self.peer),
            target: self.target.take(),
            status: self.status,
            response_bytes: self.response_bytes,
            ..self.listener.call_end(std::mem::take(&mut self.method))
        }
    }
}

impl Drop for RecordGuard {
    fn drop(&mut self) {
        if self.closed {
            return self.context.release();
        }
        if self.complete {
            self.submit();
            return self.context.release();
        }
        // There may be an earlier reason.
        self.fail(self.listener.interruption());
        let (listener, end) = (Arc::clone(&self.listener), self.end());
        self.context.close_with(move |context| {
            context.release();
            listener.trail.submit(listener.record(context, end));
        });
    }
}
