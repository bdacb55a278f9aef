//! The state that all connections of a mock share.

use std::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::SignedDuration;
use parking_lot::Mutex;

use crate::{
    activations::{Activation, Activations, Member},
    clock::Clock,
    faults::FaultQueue,
    recording::Recording,
    webhooks::Webhooks,
    world::{Visit, Writer},
};

/// The state that all connections of a mock share.
#[derive(Debug)]
pub(crate) struct MockState {
    pub(crate) activations: Activations,
    pub(crate) faults: Mutex<FaultQueue>,
    pub(crate) recording: Recording,
    pub(crate) latency: Duration,
    /// The path of the event log.
    pub(crate) event_log: String,
    pub(crate) clock: Clock,
    pub(crate) webhooks: Webhooks,
    connections: AtomicU64,
    panic: Mutex<Option<String>>,
}

impl MockState {
    pub(crate) fn new(
        activations: Vec<Activation>,
        latency: Duration,
        event_log: String,
        webhooks: Webhooks,
    ) -> Self {
        Self {
            activations: Activations::new(activations),
            faults: Mutex::default(),
            recording: Recording::new(),
            latency,
            event_log,
            clock: Clock::default(),
            webhooks,
            connections: AtomicU64::new(0),
            panic: Mutex::default(),
        }
    }

    /// Lets `visit` work on the world of an activation, and tells the webhooks what it wrote.
    pub(crate) fn visit<T>(
        &self,
        member: &Member,
        writer: Writer,
        visit: impl FnOnce(&mut Visit<'_>) -> T,
    ) -> T {
        let mut world = member.world();
        let outcome = visit(&mut world.visit(self.clock.now(), writer));
        // Still under the lock, so that webhooks get the events in the order of the log.
        self.webhooks.announce(member.name(), &world.take_unannounced());
        outcome
    }

    /// Restores activations, webhooks, clock, faults and recorded requests to the state at the start.
    pub(crate) fn reset(&self) {
        self.activations.reset();
        self.webhooks.reset();
        self.clock.set_skew(SignedDuration::ZERO);
        self.faults.lock().clear();
        self.recording.clear();
    }

    /// Counts a connection and returns its number.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Keeps the message of the first panic.
    pub(crate) fn record_panic(&self, payload: &(dyn Any + Send)) {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "without a message".to_owned());
        self.panic.lock().get_or_insert(text);
    }

    pub(crate) fn first_panic(&self) -> Option<String> {
        self.panic.lock().clone()
    }
}
