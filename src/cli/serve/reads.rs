//! Reads files on threads of their own: a mount that does not answer holds up nothing but the read.
//!
//! A thread that waits for such a mount cannot be ended. So the number of those is limited.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task, time};

/// Reads that may be under way at the same time.
#[derive(Debug)]
pub(super) struct Reads(Arc<Semaphore>);

impl Reads {
    pub(super) fn at_most(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// Returns what is read; `None` if there is no answer in time, or too many reads had none yet.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let reading = task::spawn_blocking(move || {
            let _until_it_ends = place;
            read()
        });
        time::timeout(LONGEST, reading).await.ok()?.ok()
    }
}

/// As long as a reload waits for new credentials.
pub(super) const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_read_without_an_answer_is_given_up_and_the_next_one_answers() {
        let reads = Reads::at_most(2);
        let (answer, mount) = mpsc::channel::<()>();
        let silent = reads.run(move || mount.recv());
        assert!(time::timeout(Duration::from_millis(10), silent).await.is_err());
        assert_eq!(reads.run(|| 1).await, Some(1));
        let (also, other) = mpsc::channel::<()>();
        let silent = reads.run(move || other.recv());
        assert!(time::timeout(Duration::from_millis(10), silent).await.is_err());
        assert_eq!(reads.run(|| 1).await, None, "both places are taken");
        drop((answer, also));
        while reads.run(|| 1).await.is_none() {
            task::yield_now().await;
        }
    }
}
