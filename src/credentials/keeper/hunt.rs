//! What becomes of a call that Pigello answered with 401: another version at once, or a short
//! wait while the source is asked for a newer one.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::{Keeper, Shared, Unavailable};
use crate::credentials::{
    Lease,
    life::{AfterRefusal, Loss},
    source::Asked,
};

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
    /// Over, with what the calls that waited should do.
    Over(Next),
}

impl Keeper {
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
        let over = hunt.wait_for(|hunt| matches!(hunt, Hunt::Over(_)));
        // The hunt ends by itself in time; this bound is for a read that hangs in it.
        match time::timeout(shared.settings.refresh.hold + LOOK_GAP, over).await {
            Ok(Ok(hunt)) => match &*hunt {
                Hunt::Over(next) => next.clone(),
                Hunt::Idle | Hunt::Running => shared.given_up(),
            },
            _ => shared.given_up(),
        }
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
                let next = shared.hunt_down().await;
                shared.hunt.send_replace(Hunt::Over(next));
            });
        }
    }

    async fn hunt_down(self: &Arc<Self>) -> Next {
        let end = Instant::now() + self.settings.refresh.hold;
        let mut answered = false;
        loop {
            let look = self.read(Asked::Routine);
            // A source that hangs is given up, and the read itself goes on elsewhere.
            let Ok(outcome) = time::timeout_at(end, look).await else { break };
            answered = outcome.is_ok();
            if let Some(lease) = self.record.lock().life.quarry() {
                return Next::Repeat(Arc::clone(lease));
            }
            if Instant::now() + LOOK_GAP >= end {
                break;
            }
            time::sleep(LOOK_GAP).await;
        }
        self.record.lock().is_unasked = !answered;
        match self.hunted_in_vain() {
            AfterRefusal::Try(lease) => Next::Repeat(lease),
            AfterRefusal::Hunt | AfterRefusal::Rejected => self.given_up(),
        }
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
        Unavailable { detail: detail.into(), retry_after: self.retry_after(Loss::Rejected) }
    }
}
