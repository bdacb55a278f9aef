//! Follows the permission: refuses a call whose record the trail could not take, and has any other counted among the
//! calls of its profile.

use std::sync::Arc;

use super::unavailable;
use crate::{
    audit::Trail,
    error::Error,
    proxy::{
        call::{Head, Loaded, Received, Recorded},
        stages::shared::transition::{Transition, TransitionLayer},
    },
};

/// Refuses calls while the trail cannot be written, if the trail is set to refuse.
pub fn admit(trail: Trail) -> TransitionLayer<Trail> {
    TransitionLayer(trail)
}

impl Transition<Loaded> for Trail {
    type Next = Recorded;

    fn advance(&self, loaded: Loaded) -> Result<Recorded, Error> {
        self.admit().map_err(unavailable)?;
        let Loaded { received, operation, profile } = loaded;
        let Received { method, target, headers, body, context, caller, .. } = received;
        context.count_in(&profile.calls);
        let head = Head { method, target, headers, caller, operation, profile, context };
        Ok(Recorded { head: Arc::new(head), body })
    }
}
