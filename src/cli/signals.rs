//! The signals that stop a command: SIGINT, from a terminal, and SIGTERM.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Receives both; their default action is disabled.
#[derive(Debug)]
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Starts to receive.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// The failure of a command that cannot receive signals.
pub(super) fn unheard(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot listen for signals: {error}"))
}
