//! Takes the credential set that a call is sent with.

use crate::{
    error::Error,
    proxy::{
        call::{Intended, Resolved},
        http_policy::has_credentials,
        stages::shared::transition::{Transition, TransitionLayer},
    },
};

/// Takes one complete credential set for a call, or fails it.
pub fn resolve() -> TransitionLayer<Resolve> {
    TransitionLayer(Resolve)
}

/// See [`resolve`].
#[derive(Clone, Copy, Debug)]
pub struct Resolve;

impl Transition<Intended> for Resolve {
    type Next = Resolved;

    fn advance(&self, Intended { head, body }: Intended) -> Result<Resolved, Error> {
        // Only a call that can be sent again may try out a version that Pigello may not know, and only one
        // whose answer says something about it.
        let may_try = body.in_memory().is_some() && !has_credentials(&head.headers);
        let manager = &head.profile.manager;
        let lease = if may_try { manager.snapshot_to_try() } else { manager.snapshot() }?;
        head.context.sends_with(&lease);
        Ok(Resolved { head, body, lease })
    }
}
