//! The second thread: makes what is written last.
//!
//! A sync takes as long as the disk wants. It must not keep the writer from handing the next records
//! to the kernel, and while one runs, everybody who comes gathers for the next: that is the group
//! commit of a synced trail.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use super::{
    checkpoint::{Checkpoint, Publisher},
    queue::{Shared, Unwritable, Waiter, answer},
    storage::Stable,
};

/// What the writer wants to last.
#[derive(Debug)]
pub(super) struct Job {
    /// The file, and those before it that were ended since the last job.
    pub(super) files: Vec<Arc<dyn Stable>>,
    /// The number of the last line in it.
    pub(super) seq: u64,
    pub(super) waiters: Vec<Waiter>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Everything the thread owns.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    publisher: Option<Publisher>,
    retry_interval: Duration,
    owed: Vec<Arc<dyn Stable>>,
    seq: u64,
    checkpoint: Option<Checkpoint>,
    failing: bool,
}

impl Syncer {
    pub(super) fn new(
        shared: Arc<Shared>,
        publisher: Option<Publisher>,
        retry_interval: Duration,
    ) -> Self {
        Self {
            shared,
            publisher,
            retry_interval,
            owed: Vec::new(),
            seq: 0,
            checkpoint: None,
            failing: false,
        }
    }

    /// Works until the writer is gone, and says whether everything lasts.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) -> Result<(), Unwritable> {
        loop {
            let next = if self.owed.is_empty() {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(self.retry_interval)
            };
            let mut waiters = Vec::new();
            let over = match next {
                Ok(job) => {
                    self.add(job, &mut waiters);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            while let Ok(job) = jobs.try_recv() {
                self.add(job, &mut waiters);
            }
            let result = self.sync();
            answer(waiters, &result);
            if over {
                return result;
            }
        }
    }

    fn add(&mut self, job: Job, waiters: &mut Vec<Waiter>) {
        for file in job.files {
            if !self.owed.iter().any(|owed| Arc::ptr_eq(owed, &file)) {
                self.owed.push(file);
            }
        }
        self.seq = job.seq;
        waiters.extend(job.waiters);
        // The newest vouches for those before it.
        self.checkpoint = job.checkpoint.or(self.checkpoint.take());
    }

    fn sync(&mut self) -> Result<(), Unwritable> {
        if let Err(error) = self.owed.iter().try_for_each(|file| file.sync()) {
            let unwritable = Unwritable { reason: error.to_string().into() };
            if !std::mem::replace(&mut self.failing, true) {
                tracing::error!(reason = %error, "the audit trail cannot be synced");
            }
            self.shared.sync_failed(Some(&unwritable));
            return Err(unwritable);
        }
        self.owed.clear();
        self.shared.synced_seq.fetch_max(self.seq, Ordering::Relaxed);
        if std::mem::take(&mut self.failing) {
            tracing::info!("the audit trail is synced again");
            self.shared.sync_failed(None);
        }
        if let (Some(publisher), Some(checkpoint)) = (&self.publisher, self.checkpoint.take()) {
            publisher.publish(&checkpoint);
        }
        Ok(())
    }
}
