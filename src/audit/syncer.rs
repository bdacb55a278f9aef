//! The sync thread: makes written lines durable.
//!
//! A sync takes as long as the disk needs. On its own thread it does not keep the writer from handing
//! the next records to the kernel. Callers that arrive during a sync share the next one: that is the
//! group commit of a synced trail.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use super::{
    checkpoint::{Publication, Publisher},
    queue::{RecordQueue, SyncWaiter, Unwritable, notify},
    storage::Syncable,
};

/// Files to sync, and what to report afterwards.
#[derive(Debug)]
pub(super) struct SyncJob {
    /// The current file, and the files that ended since the last job.
    pub(super) files: Vec<Arc<dyn Syncable>>,
    /// The last line in these files.
    pub(super) seq: u64,
    pub(super) waiters: Vec<SyncWaiter>,
    pub(super) checkpoint: Option<Publication>,
}

/// The state of the sync thread.
#[derive(Debug)]
pub(super) struct Syncer {
    queue: Arc<RecordQueue>,
    publisher: Option<Publisher>,
    retry_interval: Duration,
    unsynced: Vec<Arc<dyn Syncable>>,
    seq: u64,
    checkpoint: Option<Publication>,
    failing: bool,
}

impl Syncer {
    pub(super) fn new(
        queue: Arc<RecordQueue>,
        publisher: Option<Publisher>,
        retry_interval: Duration,
    ) -> Self {
        Self {
            queue,
            publisher,
            retry_interval,
            unsynced: Vec::new(),
            seq: 0,
            checkpoint: None,
            failing: false,
        }
    }

    /// Runs until the writer has gone, and returns the result of the last sync.
    pub(super) fn run(mut self, jobs: &Receiver<SyncJob>) -> Result<(), Unwritable> {
        loop {
            let next = if self.unsynced.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(self.retry_interval)
            };
            let is_last = next.as_ref().err() == Some(&RecvTimeoutError::Disconnected);
            let mut waiters = Vec::new();
            for job in next.into_iter().chain(jobs.try_iter()) {
                self.add(job, &mut waiters);
            }
            let result = self.sync();
            notify(waiters, &result);
            if is_last {
                return result;
            }
        }
    }

    fn add(&mut self, job: SyncJob, waiters: &mut Vec<SyncWaiter>) {
        for file in job.files {
            if !self.unsynced.iter().any(|unsynced| Arc::ptr_eq(unsynced, &file)) {
                self.unsynced.push(file);
            }
        }
        self.seq = job.seq;
        waiters.extend(job.waiters);
        // The newest checkpoint also covers the earlier ones.
        self.checkpoint = job.checkpoint.or(self.checkpoint.take());
    }

    fn sync(&mut self) -> Result<(), Unwritable> {
        if let Err(error) = self.unsynced.iter().try_for_each(|file| file.sync()) {
            let unwritable = Unwritable::new(error.to_string());
            if !std::mem::replace(&mut self.failing, true) {
                tracing::error!(reason = %error, "the audit trail cannot be synced");
            }
            self.queue.sync_failed(Some(&unwritable));
            return Err(unwritable);
        }
        self.unsynced.clear();
        self.queue.synced_seq.fetch_max(self.seq, Ordering::Release);
        if std::mem::take(&mut self.failing) {
            tracing::info!("the audit trail is synced again");
            self.queue.sync_failed(None);
        }
        if let (Some(publisher), Some(checkpoint)) = (&self.publisher, self.checkpoint.take()) {
            publisher.publish(checkpoint);
        }
        Ok(())
    }
}
