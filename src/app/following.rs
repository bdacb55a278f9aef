//! Follows the notices of the profiles that are there: those with tables of their own, and the members of templates
//! from when they are loaded until they are unloaded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    domain::ProfileName,
    notices::{EventLogChoice, Notices, poll},
    proxy::{
        own::OwnCalls,
        profile::{Profile, Profiles},
    },
};

/// What is followed.
pub(super) struct Following {
    pub(super) notices: Arc<Notices>,
    pub(super) profiles: Arc<Profiles>,
    /// Reads event logs.
    pub(super) calls: Arc<OwnCalls>,
}

/// The readings of one profile's event log, which end when it is dropped.
type Polling = HashMap<ProfileName, (Arc<Profile>, AbortOnDropHandle<()>)>;

impl Following {
    /// Follows until it is dropped.
    pub(super) async fn run(self) {
        let (mut look, mut polling) = (interval(LOOK), Polling::new());
        loop {
            look.tick().await;
            self.look(&mut polling);
        }
    }

    fn look(&self, polling: &mut Polling) {
        let present: HashMap<_, _> =
            self.profiles.present().map(|profile| (profile.name.clone(), profile)).collect();
        self.notices.keep(present.values());
        self.notices.want_to_read();
        if self.notices.settings().event_log == EventLogChoice::Off {
            return;
        }
        polling.retain(|name, (known, _)| {
            present.get(name).is_some_and(|profile| Arc::ptr_eq(profile, known))
        });
        for (name, profile) in present {
            let calls = || (Arc::clone(&self.notices), Arc::clone(&self.calls));
            polling.entry(name).or_insert_with(|| {
                let (notices, calls) = calls();
                let readings = tokio::spawn(poll(notices, Arc::clone(&profile), calls));
                (profile, AbortOnDropHandle::new(readings))
            });
        }
    }
}

/// How soon a member that is loaded has its event log read.
const LOOK: Duration = Duration::from_secs(1);
