//! Who does what one member does for all: reads the event log of a profile.
//!
//! A lease is a key of the store that has the name of a process and ends by itself after fifteen seconds, by the store's
//! clock. Whoever has it renews it every five, and gives it back when it ends. Two that believe that they have it both
//! read for a moment, which costs a few calls and does no harm, so there is no more to it than that.
//!
//! The store does not learn the names of profiles.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    fmt,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    change::Change, connect::Asker, error::StoreError, outbox::Outbox, sealed::FleetKeys,
    settings::key_of,
};
use crate::domain::ProfileName;

/// The leases that this process wants, and those that it has.
pub(super) struct Leases {
    fleet: String,
    keys: FleetKeys,
    process: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    wanted: BTreeSet<ProfileName>,
    /// Those that it has, and for how long at least.
    held: HashMap<ProfileName, Instant>,
    /// Those that it leaves to others, and until when.
    resting: HashMap<ProfileName, Instant>,
}

impl Leases {
    pub(super) fn new(fleet: &str, keys: FleetKeys, process: Uuid) -> Self {
        Self {
            fleet: fleet.to_owned(),
            keys,
            process: process.to_string(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Wants these, up to [`MOST`], and no others.
    pub(super) fn want(&self, wanted: impl Iterator<Item = ProfileName>) {
        let wanted = wanted.take(MOST).collect();
        let mut state = self.state.lock();
        if state.wanted != wanted {
            state.wanted = wanted;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Whether this process has the lease of a profile.
    pub(super) fn has(&self, profile: &ProfileName) -> bool {
        self.state.lock().held.get(profile).is_some_and(|until| Instant::now() < *until)
    }

    /// Leaves a lease to others for that time.
    pub(super) fn rest(&self, profile: &ProfileName, rest: Duration) {
        let mut state = self.state.lock();
        if state.wanted.contains(profile) {
            state.resting.insert(profile.clone(), Instant::now() + rest);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Takes and renews what is wanted until the connection fails.
    pub(super) async fn keep(
        &self,
        mut store: Asker,
        outbox: &Outbox,
    ) -> Result<Infallible, StoreError> {
        loop {
            self.give_back(&mut store, |state, profile| !state.may_have(profile)).await?;
            self.take(&mut store, outbox).await?;
            // Members are not in step.
            tokio::select! {
                () = sleep(RENEW.mul_f64(0.8 + 0.2 * fastrand::f64())) => {}
                () = self.changed.notified() => sleep(SOON.mul_f64(fastrand::f64())).await,
            }
        }
    }

    /// Gives all of them back, because the process ends.
    pub(super) async fn leave(&self, mut store: Asker) -> Result<(), StoreError> {
        self.give_back(&mut store, |_, _| true).await
    }

    async fn take(&self, store: &mut Asker, outbox: &Outbox) -> Result<(), StoreError> {
        let wanted: Vec<_> = {
            let mut state = self.state.lock();
            let now = Instant::now();
            state.resting.retain(|_, until| now < *until);
            state.wanted.iter().filter(|it| state.may_have(it)).cloned().collect()
        };
        for page in wanted.chunks(PAGE) {
            let asked = Instant::now();
            let mut take = self.script(TAKE, page)?;
            take.arg(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
            let taken: Vec<bool> = store.ask(&take).await?;
            let (mut state, mut is_any_new) = (self.state.lock(), false);
            for (profile, is_taken) in page.iter().zip(taken) {
                if !is_taken {
                    state.held.remove(profile);
                } else if state.held.insert(profile.clone(), asked + LEASE).is_none() {
                    is_any_new = true;
                    tracing::info!(%profile, "this gateway reads the event log for the fleet");
                }
            }
            drop(state);
            if is_any_new {
                outbox.put(Change::Hello);
            }
        }
        Ok(())
    }

    async fn give_back(
        &self,
        store: &mut Asker,
        is_over: impl Fn(&State, &ProfileName) -> bool,
    ) -> Result<(), StoreError> {
        let over: Vec<_> = {
            let mut state = self.state.lock();
            let over: Vec<_> =
                state.held.keys().filter(|it| is_over(&state, it)).cloned().collect();
            // It does not act as if it had them while it asks.
            state.held.retain(|profile, _| !over.contains(profile));
            over
        };
        for page in over.chunks(PAGE) {
            let _count: u64 = store.ask(&self.script(GIVE_BACK, page)?).await?;
        }
        Ok(())
    }

    /// A script about the leases of these profiles.
    fn script(&self, script: &str, profiles: &[ProfileName]) -> Result<redis::Cmd, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(profiles.len());
        for profile in profiles {
            let name = self.keys.hidden(profile.as_str()).ok_or(StoreError::Seal)?;
            command.arg(key_of(&self.fleet, &format!("lease:{name}")));
        }
        command.arg(&self.process);
        Ok(command)
    }
}

impl State {
    fn may_have(&self, profile: &ProfileName) -> bool {
        self.wanted.contains(profile) && !self.resting.contains_key(profile)
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leases({} held)", self.state.lock().held.len())
    }
}

/// Takes the leases that nobody has, and renews those that the process has. Says which.
pub(super) const TAKE: &str = "\
local taken = {}
for at, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  taken[at] = 0
  if not owner or owner == ARGV[1] then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    taken[at] = 1
  end
end
return taken";
/// Ends the leases that the process has.
pub(super) const GIVE_BACK: &str = "\
local ended = 0
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then ended = ended + redis.call('DEL', key) end
end
return ended";
/// How long a lease lasts that is not renewed.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed, and how often others ask for it.
const RENEW: Duration = Duration::from_secs(5);
/// How soon a lease is asked for that is wanted from now on, at most.
const SOON: Duration = Duration::from_millis(500);
/// The leases that one question is about.
const PAGE: usize = 100;
/// The leases that a gateway wants at most.
const MOST: usize = 2000;
