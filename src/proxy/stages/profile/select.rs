//! Finds out which profile a call is for.
//!
//! The first of these that names one decides: the listener, the caller's `[[callers]]` entry, the host under
//! which the gateway was called, and the request field `Pigello-Gateway-Profile`, which is never sent on.

use std::sync::Arc;

use crate::{
    domain::{Caller, ProfileName},
    error::{Error, Kind},
    proxy::{
        call::{ChosenBy, Received, Selected},
        profile::Profiles,
        stages::shared::transition::{Transition, TransitionLayer},
    },
};

/// Finds the profile of each call. `fixed` is the profile of the listener itself.
pub fn select(profiles: Arc<Profiles>, fixed: Option<ProfileName>) -> TransitionLayer<Arc<Select>> {
    TransitionLayer(Arc::new(Select { profiles, fixed }))
}

/// See [`select`].
#[derive(Debug)]
pub struct Select {
    profiles: Arc<Profiles>,
    fixed: Option<ProfileName>,
}

impl Transition<Received> for Select {
    type Next = Selected;

    fn advance(&self, mut received: Received) -> Result<Selected, Error> {
        let by_caller = || match &*received.caller {
            Caller::Known { rule: Some(rule), .. } => rule.profile.as_ref(),
            Caller::Known { .. } | Caller::Unidentified { .. } => None,
        };
        let asked = received.asked.take();
        let (name, by) = match (&self.fixed, by_caller(), &asked) {
            (Some(name), _, _) => (name, ChosenBy::Listener),
            (None, Some(name), _) => (name, ChosenBy::Caller),
            (None, None, Some(name)) => (name, ChosenBy::Request),
            (None, None, None) => return Err(not_named()),
        };
        received.context.note(|facts| facts.profile = Some(name.clone()));
        let profile = self.profiles.find(name);
        Ok(Selected { received, profile, by })
    }
}

fn not_named() -> Error {
    Error::new(
        Kind::ProfileNotNamed,
        "this listener serves several profiles, and the request names none: send `Pigello-Gateway-Profile: NAME`, \
         call the gateway under a host name of the profile (`allowed_hosts` with `{profile}`), or have the \
         caller's entry name it (`profile`)",
    )
}
