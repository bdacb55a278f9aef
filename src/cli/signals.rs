//! The signals that ask a command to end: SIGINT, from a terminal, and SIGTERM, from everyone else.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Hears both; a process that listens is no longer ended by them.
#[derive(Debug)]
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Listens from here on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What a command ends with that cannot hear them.
pub(super) fn unheard(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot listen for signals: {error}"))
}
