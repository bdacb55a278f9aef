//! A replica of an activation's objects that is behind.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::objects::{Object, Store};

/// The objects as they were `lag` ago.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) lag: Duration,
    store: Store,
    /// The steps that it has not made yet, oldest first.
    behind: VecDeque<(Instant, Step)>,
}

/// A change of one object.
#[derive(Debug)]
pub(super) enum Step {
    Put(&'static str, Object),
    Remove(&'static str, String),
}

impl Replica {
    pub(super) fn new(store: Store, lag: Duration) -> Self {
        Self { lag, store, behind: VecDeque::new() }
    }

    /// Takes a change that has just been made.
    pub(super) fn follow(&mut self, now: Instant, step: Step) {
        self.catch_up(now);
        self.behind.push_back((now, step));
    }

    /// The objects that it shows now.
    pub(super) fn at(&mut self, now: Instant) -> &Store {
        self.catch_up(now);
        &self.store
    }

    fn catch_up(&mut self, now: Instant) {
        let lag = self.lag;
        let is_due = |(made, _): &mut (Instant, Step)| now.saturating_duration_since(*made) >= lag;
        while let Some((_, step)) = self.behind.pop_front_if(is_due) {
            match step {
                Step::Put(entity, object) => self.store.put(entity, object),
                Step::Remove(entity, id) => {
                    self.store.remove(entity, &id);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }
}
