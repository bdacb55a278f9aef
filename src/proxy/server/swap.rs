//! A path that can be exchanged while connections use it: how a reload reaches them.
//!
//! Every connection keeps its own copy of the path and looks, before each request, whether there is
//! another one by now. A request that is under way keeps the path it began on, so nobody's call is cut
//! off, and a kept-alive connection need not be closed for the next request to follow the new rules.

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

/// Holds the path of one listener.
pub struct Swap<P> {
    path: ArcSwap<P>,
    number: AtomicU64,
}

impl<P> Swap<P> {
    /// With a first path.
    pub fn new(path: P) -> Arc<Self> {
        Arc::new(Self { path: ArcSwap::from_pointee(path), number: AtomicU64::new(0) })
    }

    /// Puts another path in its place, for every request to come.
    pub fn set(&self, path: P) {
        self.path.store(Arc::new(path));
        // After the path: whoever sees the number finds the path that belongs to it, or a later one.
        self.number.fetch_add(1, Ordering::Release);
    }
}

impl<P: Clone> Swap<P> {
    /// A path that follows the switch.
    pub fn follow(self: &Arc<Self>) -> Swapped<P> {
        let seen = self.number.load(Ordering::Acquire);
        Swapped { switch: Arc::clone(self), seen, path: P::clone(&self.path.load()) }
    }
}

impl<P> fmt::Debug for Swap<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switch({})", self.number.load(Ordering::Relaxed))
    }
}

/// The path that a [`Swap`] holds at the time of each request.
pub struct Swapped<P> {
    switch: Arc<Swap<P>>,
    seen: u64,
    path: P,
}

impl<P: Clone> Clone for Swapped<P> {
    fn clone(&self) -> Self {
        Self { switch: Arc::clone(&self.switch), seen: self.seen, path: self.path.clone() }
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
        let number = self.switch.number.load(Ordering::Acquire);
        if number != self.seen {
            self.path = P::clone(&self.switch.path.load());
            self.seen = number;
        }
        self.path.call(arrival)
    }
}

impl<P> fmt::Debug for Swapped<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switched({})", self.seen)
    }
}
