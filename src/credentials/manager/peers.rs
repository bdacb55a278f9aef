//! What a manager tells the other gateways of the fleet of its set's versions, and what it makes of what they tell.
//!
//! One that finds a new version says so, and the others read their sources within seconds. Those are bounded: nobody
//! has a source read more often than [`Nudge`](super::heard::Nudge) allows. With [`Adoption::Proven`] those that try a version also say
//! how Pigello has judged it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    change::ChangeCause,
    shared::{ManagerShared, SetRecord},
};
use crate::{
    credentials::{rotation::RotationState, settings::Adoption},
    fleet::{Change, Member, VersionOfSet},
};

impl ManagerShared {
    /// This gateway is that member of a fleet.
    pub(super) fn join(&self, fleet: Arc<Member>) {
        let _already_set = self.fleet.set(fleet);
    }

    /// Another gateway tells of a version of the set.
    pub(super) fn hear(&self, change: &Change) {
        let (Change::Credentials(told) | Change::Accepted(told) | Change::Rejected(told)) = change
        else {
            return;
        };
        if !told.is_plausible() {
            return;
        }
        let mut record = self.record.lock();
        match change {
            Change::Accepted(_) => record.heard.accepted = Some(told.clone()),
            Change::Rejected(_) => record.heard.rejected = Some(told.clone()),
            _ => {}
        }
        if self.knows(&record.rotation, told) {
            self.weigh(&mut record);
        } else {
            record.heard.found = Some(told.clone());
            record.heard.nudge.plan(Instant::now());
            drop(record);
            self.wake.notify_one();
        }
    }

    /// The source was read, with or without success.
    pub(super) fn note_read(&self) {
        let mut record = self.record.lock();
        let SetRecord { heard, rotation, .. } = &mut *record;
        let is_content = heard.found.as_ref().is_none_or(|told| self.knows(rotation, told));
        heard.nudge.read(is_content, self.settings.refresh.interval, Instant::now());
    }

    /// Whether a version is held that has that name, or those values.
    fn knows(&self, rotation: &RotationState, told: &VersionOfSet) -> bool {
        let (current, previous) = rotation.versions();
        let mut held = [current, previous].into_iter().flatten();
        held.any(|lease| lease.version().as_str() == &*told.version)
            || self.newest(rotation).is_some_and(|newest| newest.fingerprint == told.fingerprint)
    }

    /// The newest version as members tell of it, if another one is held beside it.
    fn newest(&self, rotation: &RotationState) -> Option<VersionOfSet> {
        let (Some(current), Some(previous)) = rotation.versions() else { return None };
        Some(VersionOfSet {
            set: self.settings.name.clone(),
            version: current.version().as_str().into(),
            fingerprint: current.fingerprint_after(previous).into(),
        })
    }

    /// Tells of a version that was read, unless another gateway has told of it, and applies what was heard of it.
    pub(super) fn found(&self, record: &mut SetRecord) {
        let Some(fleet) = self.fleet.get() else { return };
        let Some(newest) = self.newest(&record.rotation) else { return };
        if !record.heard.is_told(&newest) {
            fleet.tell(Change::Credentials(newest));
        }
        self.weigh(record);
    }

    /// Applies what was heard of the version that waits. Who has seen it accepted is believed: what Pigello then
    /// answers here counts more.
    fn weigh(&self, record: &mut SetRecord) {
        let Some(waiting) = self.newest(&record.rotation).filter(|_| record.rotation.waits())
        else {
            return;
        };
        let is_it = |told: &Option<VersionOfSet>| {
            told.as_ref().is_some_and(|told| told.fingerprint == waiting.fingerprint)
        };
        let (name, version) = (&self.settings.name, &waiting.version);
        if is_it(&record.heard.accepted) {
            record.rotation.vouched();
            tracing::info!(
                credentials = %name, %version,
                "Pigello accepts the new version of the credential set from another gateway of the fleet"
            );
            self.publish(record, Some(ChangeCause::Proven));
            self.wake.notify_one();
        } else if is_it(&record.heard.rejected) && record.rotation.rejected_elsewhere() {
            tracing::error!(
                credentials = %name, refused = %version,
                "Pigello refuses the new version of the credential set at another gateway of the fleet; \
                 the version before it stays in use"
            );
        }
    }

    /// Tells how Pigello has judged the newest version.
    pub(super) fn judged(&self, rotation: &RotationState, is_accepted: bool) {
        let is_asked = matches!(self.settings.refresh.adoption, Adoption::Proven { .. });
        if let Some(fleet) = self.fleet.get().filter(|_| is_asked)
            && let Some(newest) = self.newest(rotation)
        {
            fleet.tell(if is_accepted {
                Change::Accepted(newest)
            } else {
                Change::Rejected(newest)
            });
        }
    }

    /// Tries a version that waits, if this gateway is one of those that do.
    pub(super) async fn try_out(&self) {
        let Some(fleet) = self.fleet.get() else { return };
        if let Adoption::Proven { canary, .. } = self.settings.refresh.adoption
            && self.record.lock().rotation.waits()
            && fleet.is_canary(canary).await
        {
            self.change(None, |rotation, _| rotation.try_out());
        }
    }
}
