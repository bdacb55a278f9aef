//! Closes a record exactly once.

use std::{pin::Pin, sync::Arc};

use http::{Method, StatusCode, uri::PathAndQuery};

use super::open::Edges;
use crate::{
    error::Kind,
    pipeline::{
        connection::ActiveCall,
        draft::{Draft, Edge},
    },
    trail::{Durability, Record, Unwritable},
};

/// Holds a record open; dropping it closes the record, if it is not closed yet.
pub(super) struct Guard {
    pub(super) draft: Draft,
    pub(super) edges: Arc<Edges>,
    pub(super) method: Method,
    pub(super) target: Option<PathAndQuery>,
    pub(super) status: Option<StatusCode>,
    pub(super) response_bytes: u64,
    pub(super) complete: bool,
    pub(super) closed: bool,
    /// The connection is busy until the answer is handed over.
    pub(super) _active: ActiveCall,
}

/// Ready when a record is in stable storage, or cannot be.
pub(super) type Committing = Pin<Box<dyn Future<Output = Result<(), Unwritable>> + Send>>;

impl Guard {
    /// Whether answers wait for their records.
    pub(super) fn is_synced(&self) -> bool {
        self.edges.trail.durability() == Durability::Synced
    }

    /// Notes what went wrong, if nothing did before.
    pub(super) fn fail(&self, kind: Kind) {
        self.draft.note(|facts| {
            facts.error.get_or_insert(kind);
        });
    }

    /// Closes the record of an answer that is whole. It is queued when this returns, whatever
    /// becomes of the future.
    pub(super) fn commit(&mut self) -> Committing {
        self.complete = true;
        let record = self.close();
        Box::pin(self.edges.trail.submit_synced(record))
    }

    fn close(&mut self) -> Record {
        self.closed = true;
        let record = self.draft.close(Edge {
            listener: self.edges.listener.clone(),
            profile: self.edges.profile.clone(),
            method: std::mem::take(&mut self.method),
            target: self.target.take(),
            status: self.status,
            response_bytes: self.response_bytes,
        });
        self.edges.metrics.observe(&record);
        record
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if !self.complete {
            // Whatever failed first is the reason; a caller that left is only one if nothing did.
            self.fail(Kind::CallerGone);
        }
        let record = self.close();
        self.edges.trail.submit(record);
    }
}
