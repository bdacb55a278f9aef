//! The interim responses (1xx, RFC 9110 §15.2) of a call, from the client to the server.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

/// An interim response of the upstream. It has no body.
#[derive(Clone, Debug)]
pub struct Interim {
    /// Its status, 102 to 199.
    pub status: StatusCode,
    /// Its end-to-end fields.
    pub headers: HeaderMap,
}

/// The interim responses that wait for the server.
///
/// The server makes one for a caller whose protocol allows interim responses, and writes what comes before
/// the final response. A connection that carries one call at a time can use one for all of them.
#[derive(Clone, Debug, Default)]
pub struct InterimQueue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    responses: VecDeque<Interim>,
    task: Option<Waker>,
}

impl InterimQueue {
    /// Adds a response, unless [`MOST`] wait already.
    pub fn push(&self, interim: Interim) {
        let mut waiting = self.0.lock();
        if waiting.responses.len() < MOST {
            waiting.responses.push_back(interim);
            if let Some(task) = waiting.task.take() {
                task.wake();
            }
        }
    }

    /// Waits for the next response.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Interim> {
        let mut waiting = self.0.lock();
        if let Some(interim) = waiting.responses.pop_front() {
            return Poll::Ready(interim);
        }
        match &mut waiting.task {
            Some(task) => task.clone_from(cx.waker()),
            None => waiting.task = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Forgets the responses that nobody took.
    pub fn clear(&self) {
        self.0.lock().responses.clear();
    }
}

/// The most responses that wait. An upstream that sends more while the caller takes none loses them.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn early_hints() -> Interim {
        Interim { status: StatusCode::EARLY_HINTS, headers: HeaderMap::new() }
    }

    #[tokio::test]
    async fn a_response_wakes_the_server() {
        let queue = InterimQueue::default();
        let pushed = queue.clone();
        let (interim, ()) =
            tokio::join!(std::future::poll_fn(|cx| queue.poll_next(cx)), async move {
                pushed.push(early_hints());
            });
        assert_eq!(interim.status, StatusCode::EARLY_HINTS);
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_forgotten() {
        let queue = InterimQueue::default();
        for _ in 0..100 {
            queue.push(early_hints());
        }
        assert_eq!(queue.0.lock().responses.len(), MOST);
        queue.clear();
        assert!(queue.poll_next(&Context::from_waker(Waker::noop())).is_pending());
    }
}
