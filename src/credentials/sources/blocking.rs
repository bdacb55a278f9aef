//! Blocking work, such as reading files, on threads where it may block.

use std::sync::Arc;

use tokio::{sync::Semaphore, task};

/// How many threads work for all sources. A file is read in microseconds, unless its disk hangs.
const THREADS: usize = 4;

/// The threads of all sources.
#[derive(Debug)]
pub(super) struct BlockingThreads(Arc<Semaphore>);

impl Default for BlockingThreads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(THREADS)))
    }
}

impl BlockingThreads {
    /// For the work of one source.
    pub(super) fn lane(&self) -> BlockingLane {
        BlockingLane { own: Arc::new(Semaphore::new(1)), threads: Arc::clone(&self.0) }
    }
}

/// Does the blocking work of one source, one call at a time: a disk that hangs holds one thread, not one for each
/// attempt.
#[derive(Debug)]
pub(super) struct BlockingLane {
    own: Arc<Semaphore>,
    threads: Arc<Semaphore>,
}

impl BlockingLane {
    /// Does work on a thread. If the caller gives up, the next call waits until the work has ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        let place = Arc::clone(&self.own).acquire_owned().await;
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        task::spawn_blocking(move || {
            let outcome = work();
            drop((place, thread));
            outcome
        })
        .await
        .map_err(|_| Interrupted)
    }
}

/// The process ends, or the work panicked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupted;

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use futures_util::{future::join_all, poll};
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_thousand_sources_share_a_few_threads() {
        let threads = BlockingThreads::default();
        let (working, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |lane: BlockingLane| {
            let (working, most) = (Arc::clone(&working), Arc::clone(&most));
            async move {
                let work = move || {
                    let now = working.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    working.fetch_sub(1, Ordering::SeqCst);
                };
                lane.run(work).await
            }
        };
        let all = join_all((0..1_000).map(|_| work(threads.lane()))).await;
        assert!(all.iter().all(Result::is_ok));
        assert!((1..=THREADS).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_source_that_hangs_holds_one_thread_however_often_it_is_asked() {
        let threads = BlockingThreads::default();
        let (hung, other) = (threads.lane(), threads.lane());
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..THREADS * 2 {
            let wait = Arc::clone(&wait);
            let mut attempt = Box::pin(hung.run(move || wait.lock().recv().is_ok()));
            // Given up as soon as it has begun.
            assert!(poll!(&mut attempt).is_pending());
        }
        let done = tokio::time::timeout(Duration::from_secs(20), other.run(|| 7)).await;
        assert!(matches!(done, Ok(Ok(7))));
        drop(go_on);
    }
}
