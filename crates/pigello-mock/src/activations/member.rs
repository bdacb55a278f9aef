//! One activation of a running mock: its credentials, world, limit and counts.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use http::HeaderValue;
use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    credentials::{Accepted, Credentials, SecurityScheme},
    objects::Store,
    world::World,
};

use super::{
    activation::Activation,
    counts::{ActivationCounts, Arrivals, Outcome},
    limit::{Limiter, RateLimit},
};

/// One activation of a running mock, with a world of its own.
#[derive(Debug)]
pub(crate) struct Member {
    name: Arc<str>,
    pub(super) keys: Mutex<Keys>,
    arrivals: Mutex<Arrivals>,
    limiter: Mutex<Option<Limiter>>,
    /// Made at the first use, so that a thousand activations start at once.
    world: OnceLock<Mutex<World>>,
}

impl Member {
    pub(super) fn new(activation: Activation) -> Self {
        let (name, accepted) = activation.into_parts();
        Self {
            name,
            keys: Mutex::new(Keys::new(accepted)),
            arrivals: Mutex::default(),
            limiter: Mutex::default(),
            world: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The newest credentials; `None` if it accepts anything.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        self.keys.lock().accepted.sets().last().cloned()
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.keys.lock().revoked
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.get_or_init(|| Mutex::new(self.new_world())).lock()
    }

    fn new_world(&self) -> World {
        let store = if *self.name == *Activation::BUILT_IN {
            Store::seeded()
        } else {
            Store::seeded_for(&self.name, self.keys.lock().accepted.sets().last())
        };
        World::new(&self.name, store)
    }

    pub(super) fn arrived(&self, outcome: Outcome, sent: Option<&Credentials>) {
        self.arrivals.lock().add(outcome, sent);
    }

    pub(crate) fn counts(&self) -> ActivationCounts {
        self.arrivals.lock().counts
    }

    /// Each set of seven values that has arrived, with how often.
    pub(crate) fn arrived_sets(&self) -> Vec<(Credentials, u64)> {
        self.arrivals.lock().sets.clone()
    }

    pub(crate) fn limit(&self, limit: Option<RateLimit>) {
        *self.limiter.lock() = limit.map(|limit| Limiter::new(limit, Instant::now()));
    }

    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        self.limiter.lock().as_ref().map(|limiter| limiter.limit)
    }

    /// The limit, if one more call is over it.
    pub(crate) fn over_limit(&self) -> Option<RateLimit> {
        let mut limiter = self.limiter.lock();
        let limiter = limiter.as_mut()?;
        if limiter.admits(Instant::now()) {
            return None;
        }
        self.arrivals.lock().counts.limited += 1;
        Some(limiter.limit)
    }

    /// Restores what `keys` does not hold to the state at the start.
    pub(super) fn reset(&self) {
        if let Some(world) = self.world.get() {
            *world.lock() = self.new_world();
        }
        *self.arrivals.lock() = Arrivals::default();
        *self.limiter.lock() = None;
    }
}

/// The credentials of an activation. The table of activations changes them, as it finds activations
/// by them.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) accepted: Accepted,
    pub(super) revoked: bool,
    /// Sets that were accepted once, so that the mock still knows whose they are.
    former: VecDeque<Credentials>,
    rotations: u64,
}

/// What becomes of the old secret in a rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OldSecret {
    /// It is refused from now on.
    #[default]
    Refused,
    /// It is accepted beside the new one, until it is refused by another call.
    Accepted,
}

impl Keys {
    pub(super) fn new(accepted: Accepted) -> Self {
        Self { accepted, revoked: false, former: VecDeque::new(), rotations: 0 }
    }

    /// Accepts these from now on.
    pub(super) fn accept(&mut self, accepted: Accepted) {
        let before = std::mem::replace(&mut self.accepted, accepted);
        self.former.extend(before.sets().iter().cloned());
        while self.former.len() > KEPT_FORMER {
            self.former.pop_front();
        }
    }

    pub(super) fn rotate(&mut self, name: &str, old: OldSecret) -> Credentials {
        self.rotations += 1;
        let sets = self.accepted.sets();
        let current = sets.last().cloned().unwrap_or_else(|| Credentials::made_up_for(name));
        let new = current.rotated(name, self.rotations);
        let kept = match old {
            OldSecret::Refused => None,
            OldSecret::Accepted => sets.last().cloned(),
        };
        self.accept(Accepted::OneOf(kept.into_iter().chain([new.clone()]).collect()));
        new
    }

    /// Refuses every set but the newest.
    pub(super) fn refuse_old(&mut self) {
        if let Some(newest) = self.accepted.sets().last().cloned() {
            self.accept(Accepted::OneOf(vec![newest]));
        }
    }

    /// Whether this is or was one of its values.
    pub(super) fn has(&self, scheme: SecurityScheme, value: &HeaderValue) -> bool {
        let sets = self.accepted.sets().iter().chain(&self.former);
        sets.flat_map(Credentials::values).any(|own| own == (scheme, value))
    }
}

/// How many former sets are kept: a mock that runs for weeks must not grow.
const KEPT_FORMER: usize = 16;
