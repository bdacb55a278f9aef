//! What a call does after a 401: it uses another version at once, or waits shortly while the source is
//! read for a newer one.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{
    shared::{ManagerShared, OnDemandRefresh},
    unavailable::Unavailable,
};
use crate::credentials::{
    rotation::{AfterRefusal, Lease},
    sources::RefreshReason,
};

/// The pause between two reads during a refresh on a 401. In 1.5 s the source is read eight times at
/// most.
const READ_GAP: Duration = Duration::from_millis(200);

/// What to do with a call that Pigello answered with 401.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send it once more, with this version.
    Repeat(Arc<Lease>),
    /// Pass Pigello's answer on to the caller: Pigello refused the version that the source holds.
    PassOn,
    /// Answer 503: Pigello refused the set, and the source could not be read for a newer one.
    Unavailable(Unavailable),
}

impl ManagerShared {
    /// See [`CredentialManager::after_unauthorized`](super::CredentialManager::after_unauthorized).
    pub(super) async fn after_unauthorized(self: &Arc<Self>, generation: u64) -> Next {
        match self.refused(generation) {
            AfterRefusal::Try(lease) => return Next::Repeat(lease),
            AfterRefusal::GiveUp => return self.give_up(),
            AfterRefusal::Refresh => {}
        }
        let Ok(_permit) = self.holders.try_acquire() else {
            return Next::Unavailable(self.unavailable(
                "Pigello refused the credential set, and too many calls wait for a newer one.",
            ));
        };
        let mut refresh = self.on_demand.subscribe();
        self.start_refresh_on_401();
        let finished = refresh.wait_for(|refresh| matches!(refresh, OnDemandRefresh::Finished));
        // The refresh ends in time by itself; the limit is for a process that is overloaded.
        let finished = time::timeout(self.settings.refresh.hold + READ_GAP, finished).await.is_ok();
        let other = self.record.lock().rotation.unrefused().filter(|_| finished).cloned();
        other.map_or_else(|| self.give_up(), Next::Repeat)
    }

    /// Starts a refresh unless one runs. It goes on if the calls that wait for it go away.
    fn start_refresh_on_401(self: &Arc<Self>) {
        let started = self.on_demand.send_if_modified(|refresh| {
            let starts = !matches!(refresh, OnDemandRefresh::Running);
            if starts {
                *refresh = OnDemandRefresh::Running;
            }
            starts
        });
        if started {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                shared.refresh_on_401().await;
                shared.on_demand.send_replace(OnDemandRefresh::Finished);
            });
        }
    }

    /// Reads the source until it has a newer version, or the time is over.
    async fn refresh_on_401(self: &Arc<Self>) {
        let end = Instant::now() + self.settings.refresh.hold;
        let mut answered = false;
        loop {
            let read = self.read(RefreshReason::CallsWait);
            // A read that hangs goes on in its own task.
            let Ok(result) = time::timeout_at(end, read).await else { break };
            answered = result.is_ok();
            if self.record.lock().rotation.is_renewed() {
                return;
            }
            if Instant::now() + READ_GAP >= end {
                break;
            }
            time::sleep(READ_GAP).await;
        }
        self.record.lock().refresh_unanswered = !answered;
        self.refresh_found_nothing();
    }

    /// The answer to a refused call when there is no other version.
    fn give_up(&self) -> Next {
        let source_answered = {
            let record = self.record.lock();
            record.last_error.is_none() && !record.refresh_unanswered
        };
        if source_answered {
            return Next::PassOn;
        }
        Next::Unavailable(self.unavailable(
            "Pigello refused the credential set, and its source cannot be asked for a newer one.",
        ))
    }

    fn unavailable(&self, detail: &str) -> Unavailable {
        let retry_after = self.settings.refresh.retry_cap;
        self.with_next_read(Unavailable { detail: detail.into(), retry_after })
    }
}
