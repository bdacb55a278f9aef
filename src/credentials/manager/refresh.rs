//! What becomes of a call that Pigello answered with 401: another version at once, or a short
//! wait while the source is asked for a newer one.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{CredentialManager, Shared, Unavailable};
use crate::credentials::{Lease, rotation::AfterRefusal, source::Asked};

/// The pause between two looks at the source during a hunt, the time of the look not counted. A
/// hunt of 1.5 s asks the source eight times at most.
const LOOK_GAP: Duration = Duration::from_millis(200);

/// What to do with a call that Pigello answered with 401.
#[derive(Clone, Debug)]
pub enum Next {
    /// Send it once more, with this version.
    Repeat(Arc<Lease>),
    /// Hand Pigello's answer to the caller: what the source holds is what Pigello refused.
    PassOn,
    /// Answer 503: Pigello refused the set, and whether there is a newer one cannot be known.
    Unavailable(Unavailable),
}

/// How the search for a newer version goes.
#[derive(Clone, Debug, Default)]
pub(super) enum Hunt {
    /// None is under way, and none has ended since the last newer version.
    #[default]
    Idle,
    Running,
    /// Over. The calls that waited look for themselves what came of it, so that nothing here
    /// keeps a version alive that is gone.
    Over,
}

impl CredentialManager {
    /// Says what to do with a call that used `lease`, was answered with 401, and can be sent
    /// again. It waits for no longer than [`super::super::RefreshSettings::hold`], and only if
    /// there is nothing to try at once.
    ///
    /// A call that cannot be sent again is [`reported`](Self::report) as refused instead.
    pub async fn after_unauthorized(&self, lease: &Lease) -> Next {
        let shared = &self.shared;
        match shared.refused(lease.generation()) {
            AfterRefusal::Try(lease) => return Next::Repeat(lease),
            AfterRefusal::Rejected => return shared.given_up(),
            AfterRefusal::Hunt => {}
        }
        let Ok(_place) = shared.holders.try_acquire() else {
            return Next::Unavailable(shared.unavailable(
                "Pigello refused the credential set, and too many calls wait for a newer one.",
            ));
        };
        let mut hunt = shared.hunt.subscribe();
        shared.start_hunt();
        let over = hunt.wait_for(|hunt| matches!(hunt, Hunt::Over));
        // The hunt ends by itself in time; this bound is for a process that has none left.
        let ended = time::timeout(shared.settings.refresh.hold + LOOK_GAP, over).await.is_ok();
        let other = shared.record.lock().life.unrefused().filter(|_| ended).cloned();
        other.map_or_else(|| shared.given_up(), Next::Repeat)
    }
}

impl Shared {
    /// Starts a hunt if none is under way. It goes on if the calls that wait for it go away.
    fn start_hunt(self: &Arc<Self>) {
        let started = self.hunt.send_if_modified(|hunt| {
            let idle = !matches!(hunt, Hunt::Running);
            if idle {
                *hunt = Hunt::Running;
            }
            idle
        });
        if started {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                shared.hunt_down().await;
                shared.hunt.send_replace(Hunt::Over);
            });
        }
    }

    async fn hunt_down(self: &Arc<Self>) {
        let end = Instant::now() + self.settings.refresh.hold;
        let mut answered = false;
        loop {
            let look = self.read(Asked::InAHurry);
            // A source that hangs is given up, and the read itself goes on elsewhere.
            let Ok(outcome) = time::timeout_at(end, look).await else { break };
            answered = outcome.is_ok();
            if self.record.lock().life.is_renewed() {
                return;
            }
            if Instant::now() + LOOK_GAP >= end {
                break;
            }
            time::sleep(LOOK_GAP).await;
        }
        self.record.lock().is_unasked = !answered;
        self.hunted_in_vain();
    }

    /// The answer to a refused call when there is nothing else to try.
    fn given_up(&self) -> Next {
        let asked = {
            let record = self.record.lock();
            record.last_error.is_none() && !record.is_unasked
        };
        if asked {
            return Next::PassOn;
        }
        Next::Unavailable(self.unavailable(
            "Pigello refused the credential set, and its source cannot be asked for a newer one.",
        ))
    }

    fn unavailable(&self, detail: &str) -> Unavailable {
        let retry_after = self.settings.refresh.retry_cap;
        self.timed(Unavailable { detail: detail.into(), retry_after })
    }
}
