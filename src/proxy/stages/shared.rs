//! The stages behind a stage, for calls that reach them later or once more.
//!
//! A stage that has to wait before it goes on, or that may have to go on again, needs what is behind it
//! in its future. A copy of all those stages counts two dozen references, for every call. This one is
//! counted once. Nobody waits for it: a path belongs to one worker, and so do all its calls.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tower::Service;

/// What stands behind a stage. Clones are the same stages.
pub(in crate::proxy) struct SharedService<S>(Arc<Mutex<S>>);

impl<S> SharedService<S> {
    pub(in crate::proxy) fn new(stages: S) -> Self {
        Self(Arc::new(Mutex::new(stages)))
    }

    /// Hands a request on. Every stage of the path is always ready, so there is nothing to poll first.
    pub(in crate::proxy) fn forward<R>(&self, request: R) -> S::Future
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

impl<S, R> Service<R> for SharedService<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.lock().poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.forward(request)
    }
}

impl<S> fmt::Debug for SharedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behind")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Ready, ready},
    };

    use super::*;

    /// Counts its calls, as a stage that keeps something would.
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
    async fn clones_are_the_same_stages() {
        let mut behind = SharedService::new(Counting(0));
        let later = behind.clone();
        assert_eq!(behind.call(()).await, Ok(1));
        assert_eq!(later.forward(()).await, Ok(2));
        assert_eq!(behind.call(()).await, Ok(3));
    }
}
