//! The state that all connections of a mock share.

use std::{
    any::Any,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    activations::{Activation, Activations},
    faults::FaultQueue,
    recording::Recording,
};

/// The state that all connections of a mock share.
#[derive(Debug)]
pub(crate) struct MockState {
    pub(crate) activations: Activations,
    pub(crate) faults: Mutex<FaultQueue>,
    pub(crate) recording: Recording,
    pub(crate) latency: Duration,
    connections: AtomicU64,
    panic: Mutex<Option<String>>,
}

impl MockState {
    pub(crate) fn new(activations: Vec<Activation>, latency: Duration) -> Self {
        Self {
            activations: Activations::new(activations),
            faults: Mutex::default(),
            recording: Recording::new(),
            latency,
            connections: AtomicU64::new(0),
            panic: Mutex::default(),
        }
    }

    /// Restores activations, faults and recorded requests to the state at the start.
    pub(crate) fn reset(&self) {
        self.activations.reset();
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
