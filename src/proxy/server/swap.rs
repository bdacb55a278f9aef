//! Replaces the path of a listener after a reload, also for open connections.
//!
//! Before each request a connection checks for a new path. A call continues on the path on which it
//! began, and the next request of the same connection takes the new one.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use tower::Service;

use super::Path;
use crate::proxy::call::Arrival;

/// The current path of one listener.
pub struct Swap<P> {
    path: ArcSwap<P>,
    version: AtomicU64,
}

impl<P> Swap<P> {
    /// Holds a first path.
    pub fn new(path: P) -> Arc<Self> {
        Arc::new(Self { path: ArcSwap::from_pointee(path), version: AtomicU64::new(0) })
    }

    /// Replaces the path for all further requests.
    pub fn set(&self, path: P) {
        self.path.store(Arc::new(path));
        // After the path, so that a reader of this version finds its path or a later one.
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl<P: Clone> Swap<P> {
    /// A path that follows the replacements.
    pub fn follow(self: &Arc<Self>) -> Swapped<P> {
        let seen = self.version.load(Ordering::Acquire);
        Swapped { swap: Arc::clone(self), seen, path: P::clone(&self.path.load()) }
    }
}

impl<P> fmt::Debug for Swap<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Swap({})", self.version.load(Ordering::Relaxed))
    }
}

/// The path that a [`Swap`] has when a request arrives.
pub struct Swapped<P> {
    swap: Arc<Swap<P>>,
    seen: u64,
    path: P,
}

impl<P: Clone> Clone for Swapped<P> {
    fn clone(&self) -> Self {
        Self { swap: Arc::clone(&self.swap), seen: self.seen, path: self.path.clone() }
    }
}

impl<P: Path> Service<Arrival> for Swapped<P> {
    type Response = P::Response;
    type Error = P::Error;
    type Future = P::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.path.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> P::Future {
        let version = self.swap.version.load(Ordering::Acquire);
        if version != self.seen {
            self.path = P::clone(&self.swap.path.load());
            self.seen = version;
        }
        self.path.call(arrival)
    }
}

impl<P> fmt::Debug for Swapped<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Swapped({})", self.seen)
    }
}
