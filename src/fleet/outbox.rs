//! The changes that are still to be told. They wait for the store as long as it is away.
//!
//! Their number is bounded. Beyond it they lose detail: the objects of a collection become the collection, and what
//! is still too much becomes everything.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::change::Change;

/// What waits.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// The number of changes that are told, counted from the first one.
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Change>,
    /// The memory that they take, about.
    bytes: usize,
    /// The number of changes that were put in.
    put: u64,
}

/// Some changes, to be told in one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// A JSON list of [`Change`]s.
    pub(super) changes: Vec<u8>,
    /// The number of changes that are told with it, counted from the first one.
    pub(super) upto: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), told: watch::Sender::new(0) }
    }

    /// Puts a change in.
    pub(super) fn put(&self, change: Change) {
        let mut waiting = self.waiting.lock();
        waiting.put = waiting.put.saturating_add(1);
        waiting.bytes = waiting.bytes.saturating_add(change.size());
        waiting.changes.push_back(change);
        if waiting.changes.len() > MOST || waiting.bytes > MOST_BYTES {
            waiting.shorten();
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until there is something.
    pub(super) async fn filled(&self) {
        while self.len() == 0 {
            self.filled.notified().await;
        }
    }

    /// Takes as many as fit into a message; an empty list if there is nothing.
    pub(super) fn take(&self) -> Batch {
        let mut waiting = self.waiting.lock();
        let mut changes = vec![b'['];
        while let Some(next) = waiting.changes.front() {
            // A change has only strings as keys.
            let next = serde_json::to_vec(next).unwrap_or_default();
            if changes.len() > 1 && changes.len().saturating_add(next.len()) > MESSAGE {
                break;
            }
            if changes.len() > 1 {
                changes.push(b',');
            }
            changes.extend_from_slice(&next);
            let size = waiting.changes.pop_front().map_or(0, |change| change.size());
            waiting.bytes = waiting.bytes.saturating_sub(size);
        }
        changes.push(b']');
        let upto = waiting.put.saturating_sub(waiting.changes.len() as u64);
        Batch { changes, upto }
    }

    /// So many changes are told.
    pub(super) fn told(&self, upto: u64) {
        self.told.send_replace(upto);
    }

    /// Waits until everything that is in it now is told.
    pub(super) async fn emptied(&self) {
        let put = self.waiting.lock().put;
        // The sender lives as long as the outbox.
        drop(self.told.subscribe().wait_for(|told| *told >= put).await);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().changes.len()
    }
}

impl Waiting {
    fn shorten(&mut self) {
        let blurred: HashSet<_> = self.changes.drain(..).map(Change::blurred).collect();
        let bytes: usize = blurred.iter().map(Change::size).sum();
        let is_short = blurred.len() <= MOST / 2 && bytes <= MOST_BYTES / 2;
        self.changes =
            if is_short { blurred.into_iter().collect() } else { [Change::Everything].into() };
        self.bytes = if is_short { bytes } else { 0 };
        tracing::warn!(
            changes = self.changes.len(),
            "many changes wait for the fleet's store; they are told with less detail"
        );
    }
}

/// As many changes as a gateway makes in minutes.
const MOST: usize = 10_000;
/// Enough for as many of them, unless their paths are uncommonly long.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// The bytes of a message. A thousand members read each of them.
const MESSAGE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{domain::ProfileName, fleet::change::Written};

    fn write(collection: usize, object: usize) -> Change {
        Change::Written(Written {
            profile: ProfileName::new("p"),
            shared: true,
            path: format!("/e{collection}/{object}/").into(),
            collection: Some(format!("/e{collection}/").into()),
            whole: false,
        })
    }

    fn changes(batch: &Batch) -> Vec<Change> {
        serde_json::from_slice(&batch.changes).unwrap()
    }

    #[tokio::test]
    async fn changes_are_told_in_their_order_in_messages_of_a_bounded_size() {
        let outbox = Outbox::new();
        let all: Vec<_> = (0..1000).map(|number| write(1, number)).collect();
        all.iter().cloned().for_each(|change| outbox.put(change));
        outbox.filled().await;
        let mut told = Vec::new();
        while outbox.len() > 0 {
            assert!(outbox.emptied().now_or_never().is_none());
            let batch = outbox.take();
            assert!(batch.changes.len() <= MESSAGE + 1024);
            told.extend(changes(&batch));
            outbox.told(batch.upto);
        }
        assert_eq!(told, all);
        assert!(outbox.emptied().now_or_never().is_some());
        assert!(changes(&outbox.take()).is_empty());
    }

    #[test]
    fn too_many_objects_become_their_collection_and_too_many_of_those_everything() {
        let outbox = Outbox::new();
        (0..=MOST).for_each(|number| outbox.put(write(number % 3, number)));
        let mut told = changes(&outbox.take());
        told.sort_by_key(|change| format!("{change:?}"));
        let whole = [0, 1, 2].map(|collection| write(collection, 0).blurred());
        assert_eq!(told, whole);
        (0..=MOST).for_each(|number| outbox.put(write(number, 1)));
        assert_eq!(changes(&outbox.take()), [Change::Everything]);
        let long = "x".repeat(8000);
        let path = |number: usize| format!("/{number}/{long}/").into();
        for number in 0..1000 {
            let Change::Written(written) = write(1, 1) else { continue };
            outbox.put(Change::Written(Written { path: path(number), ..written }));
        }
        assert!(outbox.len() < 1000, "long paths take the room of many");
    }
}
