//! One copy of the inner stages for all calls of a worker.
//!
//! A stage that waits before it calls the next one, or that may call it again, needs the inner stages
//! in its future. A clone of all of them would count two dozen references for each call. This clone
//! counts one. A path and its calls belong to one worker, so the lock is never contended.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tower::Service;

/// The inner stages. Clones share them.
pub(in crate::proxy) struct SharedService<S>(Arc<Mutex<S>>);

impl<S> SharedService<S> {
    pub(in crate::proxy) fn new(inner: S) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Calls the next stage. Every stage of the path is always ready, so there is nothing to poll first.
    pub(in crate::proxy) fn call<R>(&self, request: R) -> S::Future
    where
        S: Service<R>,
    {
        self.0.lock().call(request)
    }
}

impl<S> Clone for SharedService<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for SharedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedService")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Ready, ready},
        task::{Context, Poll},
    };

    use super::*;

    /// Counts its calls, as a stage with a state of its own would.
    #[derive(Debug)]
    struct Counting(u32);

    impl Service<()> for Counting {
        type Response = u32;
        type Error = Infallible;
        type Future = Ready<Result<u32, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            self.0 += 1;
            ready(Ok(self.0))
        }
    }

    #[tokio::test]
    async fn clones_share_the_inner_stages() {
        let service = SharedService::new(Counting(0));
        let clone = service.clone();
        assert_eq!(service.call(()).await, Ok(1));
        assert_eq!(clone.call(()).await, Ok(2));
        assert_eq!(service.call(()).await, Ok(3));
    }
}
