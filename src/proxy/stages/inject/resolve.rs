//! Takes the credential set that a call is sent with.

use crate::{
    credentials::CredentialManager,
    error::Error,
    proxy::{
        call::{Intended, Resolved},
        stages::shared::transition::{Transition, TransitionLayer},
    },
};

/// Takes one complete credential set for a call, or fails it.
pub fn resolve(manager: CredentialManager) -> TransitionLayer<CredentialManager> {
    TransitionLayer(manager)
}

impl Transition<Intended> for CredentialManager {
    type Next = Resolved;

    fn advance(&self, Intended { head, body }: Intended) -> Result<Resolved, Error> {
        // Only a call that can be sent again may try out a version that Pigello may not know.
        let lease = match body.in_memory() {
            Some(_) => self.snapshot_to_try(),
            None => self.snapshot(),
        }?;
        head.context.sends_with(&lease);
        Ok(Resolved { head, body, lease })
    }
}
