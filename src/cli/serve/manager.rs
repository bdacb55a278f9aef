//! Notifies the service manager (`sd_notify(3)`; `NOTIFY_SOCKET`).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::{app::Reloader, domain::visible};

/// The sockets are open and calls are served, under the configuration of the files.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving calls")]);
}

/// Calls are served under the configuration before the one that was refused.
pub(super) fn refused(reason: &str) {
    let reason: String = visible(reason).chars().take(MOST_REASON).collect();
    let status = format!("configuration refused: {reason}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// A reload begins. `Type=notify-reload` requires its start time.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The drain has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing calls in flight")]);
}

/// Notifies the watchdog while every worker is alive; without a watchdog it waits for ever. Returns
/// when the gateway stops responding; the manager then restarts the service.
pub(super) async fn watchdog(reloader: Reloader) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    // Twice a period, so that one late notification is harmless.
    let mut tick = tokio::time::interval((period / 2).max(Duration::from_millis(10)));
    loop {
        tick.tick().await;
        if !reloader.all_alive().await {
            return;
        }
        tell(&[NotifyState::Watchdog]);
    }
}

/// The characters of a reason that the manager's line of status shows.
const MOST_REASON: usize = 300;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how the service stands");
    }
}
