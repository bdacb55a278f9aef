//! The changes that are still to be told. They wait for the store as long as it is away.
//!
//! Their number is bounded. Beyond it they lose detail: the objects of a collection become the collection, and what
//! is still too much becomes everything. Ticks come after all of that, because they say that it was told.

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
    pub(super) changes: Vec<Change>,
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
        let (mut changes, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = waiting.changes.front() {
            // A change has only strings as keys.
            let length = serde_json::to_vec(next).map_or(0, |next| next.len());
            bytes = bytes.saturating_add(length).saturating_add(1);
            if !changes.is_empty() && bytes > MESSAGE {
                break;
            }
            changes.extend(waiting.changes.pop_front());
            let size = changes.last().map_or(0, Change::size);
            waiting.bytes = waiting.bytes.saturating_sub(size);
        }
        let upto = waiting.put.saturating_sub(waiting.changes.len() as u64);
        Batch { changes, upto }
    }

    /// Tells nothing in place of the ticks that wait, because they would claim too much.
    pub(super) fn drop_ticks(&self) {
        self.waiting.lock().changes.iter_mut().for_each(Change::drop_tick);
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
        let (ticks, changes): (Vec<_>, Vec<_>) =
            self.changes.drain(..).partition(|change| matches!(change, Change::Tick(_)));
        let blurred: HashSet<_> = changes.into_iter().map(Change::blurred).collect();
        let bytes: usize = blurred.iter().map(Change::size).sum();
        let is_short = blurred.len() <= MOST / 2 && bytes <= MOST_BYTES / 2;
        self.changes =
            if is_short { blurred.into_iter().collect() } else { [Change::Everything].into() };
        self.changes.extend(ticks.into_iter().rev().take(MOST_TICKS).rev());
        self.bytes = self.changes.iter().map(Change::size).sum();
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
/// The ticks that are kept then: those of the last minutes.
const MOST_TICKS: usize = 1000;
/// The bytes of a message. A thousand members read each of them.
const MESSAGE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{
        domain::ProfileName,
        fleet::change::{Tick, Written},
    };

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
        batch.changes.clone()
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
            assert!(serde_json::to_vec(&batch.changes).unwrap().len() <= MESSAGE + 1024);
            told.extend(changes(&batch));
            outbox.told(batch.upto);
        }
        assert_eq!(told, all);
        assert!(outbox.emptied().now_or_never().is_some());
        assert!(changes(&outbox.take()).is_empty());
    }

    #[test]
    fn ticks_stay_behind_what_loses_its_detail_until_they_are_dropped() {
        let outbox = Outbox::new();
        let tick = |through| {
            Change::Tick(Tick {
                profile: ProfileName::new("p"),
                by: "".into(),
                from: None,
                through: jiff::Timestamp::from_second(through).unwrap(),
                until: tokio::time::Instant::now(),
                sealed_ms: 0,
            })
        };
        outbox.put(tick(1));
        (0..MOST).for_each(|number| outbox.put(write(1, number)));
        outbox.put(tick(2));
        let all = changes(&outbox.take());
        let throughs = all.iter().filter_map(|change| match change {
            Change::Tick(tick) => Some(tick.through.as_second()),
            _ => None,
        });
        assert_eq!((throughs.collect::<Vec<_>>(), all.len()), (vec![1, 2], 3));
        assert_eq!(all[0], write(1, 0).blurred());
        outbox.put(tick(3));
        outbox.put(write(1, 1));
        outbox.drop_ticks();
        assert_eq!(changes(&outbox.take()), [Change::Unknown, write(1, 1)]);
        assert_eq!(outbox.take().upto, MOST as u64 + 4);
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
