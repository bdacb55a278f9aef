//! The purse of one profile, which all workers share, and what it is fed by.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    settings::BudgetSettings,
    wallet::{Ask, Grant, Wallet},
};
use crate::domain::ProfileName;

/// The calls that this gateway may make for a profile.
pub struct Purse {
    profile: ProfileName,
    wallet: Mutex<Wallet>,
    /// Where more comes from; none without a fleet.
    feed: Option<Arc<Feed>>,
    /// Whether the store is being asked, or will be as soon as it can.
    is_asking: AtomicBool,
    refused: AtomicU64,
}

/// A purse as `/status` shows it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BudgetStatus {
    /// Calls a second of all gateways together.
    pub rate: u64,
    /// Calls that this gateway may make before it has more.
    pub leased: u64,
    /// Calls that were refused because there were none.
    pub refused: u64,
    /// Where its calls come from: `own`, `idle`, `lease` or `without_store`.
    pub source: &'static str,
}

impl Purse {
    /// A purse; `None` if the settings state no rate. Without a feed, this gateway has the whole rate.
    pub(in crate::fleet) fn new(
        profile: &ProfileName,
        settings: BudgetSettings,
        feed: Option<Arc<Feed>>,
    ) -> Option<Arc<Self>> {
        let wallet = Wallet::new(settings, settings.rate?, feed.is_none(), Instant::now());
        Some(Arc::new(Self {
            profile: profile.clone(),
            wallet: Mutex::new(wallet),
            feed,
            is_asking: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }))
    }

    /// A purse of a gateway that has no fleet.
    pub fn alone(profile: &ProfileName, settings: BudgetSettings) -> Option<Arc<Self>> {
        Self::new(profile, settings, None)
    }

    /// How many calls may be made now, because somebody wants to make one. Never waits for the store.
    pub fn look(self: &Arc<Self>) -> u32 {
        let now = Instant::now();
        let mut wallet = self.wallet.lock();
        let was_active = wallet.is_active();
        let calls = wallet.look(now, self.members());
        let is_hungry = !was_active && wallet.is_active() || wallet.is_low(now);
        drop(wallet);
        if let Some(feed) = self.feed.as_ref().filter(|_| is_hungry)
            && !self.is_asking.swap(true, Ordering::AcqRel)
        {
            feed.put(Arc::clone(self));
        }
        whole(calls)
    }

    /// Makes one of the calls that [`Self::look`] has found.
    pub fn take(self: &Arc<Self>) {
        self.wallet.lock().take();
    }

    /// Counts a call that was refused, and says when there is one again.
    pub fn refuse(&self) -> Duration {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.wallet.lock().wait(Instant::now(), self.members())
    }

    /// Its state.
    pub fn status(&self) -> BudgetStatus {
        let wallet = self.wallet.lock();
        let source = match &self.feed {
            None => "own",
            Some(_) if !wallet.is_active() => "idle",
            Some(_) if wallet.is_without_store(Instant::now()) => "without_store",
            Some(_) => "lease",
        };
        BudgetStatus {
            rate: whole(wallet.rate()).into(),
            leased: whole(wallet.calls()).into(),
            refused: self.refused.load(Ordering::Relaxed),
            source,
        }
    }

    fn members(&self) -> Option<u64> {
        self.feed.as_ref()?.members()
    }

    pub(super) fn profile(&self) -> &ProfileName {
        &self.profile
    }

    pub(super) fn rate_and_burst(&self) -> (f64, f64) {
        let wallet = self.wallet.lock();
        (wallet.rate(), wallet.burst())
    }

    /// When the store is to be asked next; `None` if it need not be.
    fn due(&self) -> Option<Instant> {
        let wallet = self.wallet.lock();
        wallet.is_active().then(|| wallet.due())
    }

    /// Whether the store is to be asked now.
    fn is_due(&self, now: Instant) -> bool {
        self.is_asking.load(Ordering::Acquire) || self.due().is_some_and(|due| due <= now)
    }

    pub(super) fn ask(&self) -> Ask {
        self.wallet.lock().ask(Instant::now())
    }

    /// The store has answered, or could not be asked.
    pub(super) fn answered(&self, ask: Ask, grant: Option<Grant>) {
        self.is_asking.store(false, Ordering::Release);
        let mut wallet = self.wallet.lock();
        match grant {
            Some(grant) => wallet.granted(ask, grant),
            None => wallet.unanswered(Instant::now()),
        }
    }
}

/// The purses that want more, and what is known of the fleet.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Feed {
    /// Those with calls.
    active: Mutex<Vec<Arc<Purse>>>,
    hungry: Notify,
    /// The members of the fleet when it was last told; 0 if it never was.
    members: AtomicU64,
}

impl Feed {
    /// So many members are there.
    pub(in crate::fleet) fn know_members(&self, members: u64) {
        self.members.store(members, Ordering::Relaxed);
    }

    fn members(&self) -> Option<u64> {
        Some(self.members.load(Ordering::Relaxed)).filter(|members| *members > 0)
    }

    /// Has the store asked for a purse, as soon as it can be.
    fn put(&self, purse: Arc<Purse>) {
        let mut active = self.active.lock();
        if !active.iter().any(|known| Arc::ptr_eq(known, &purse)) {
            active.push(purse);
        }
        drop(active);
        self.hungry.notify_one();
    }

    /// Waits until the store is to be asked for a purse.
    pub(super) async fn ready(&self) {
        let hungry = self.hungry.notified();
        let next = self.active.lock().iter().filter_map(|purse| purse.due()).min();
        match next {
            Some(next) => tokio::select! {
                () = sleep_until(next) => {}
                () = hungry => {}
            },
            None => hungry.await,
        }
    }

    /// The purses for which the store is to be asked now. Those that have had no calls for a while are forgotten.
    pub(super) fn due(&self) -> Vec<Arc<Purse>> {
        let now = Instant::now();
        let mut active = self.active.lock();
        active.retain(|purse| purse.due().is_some());
        active.iter().filter(|purse| purse.is_due(now)).cloned().collect()
    }
}

/// The whole calls of a number that may have a part of one, be less than none, or have no end.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast of a float saturates, which is what is wanted"
)]
fn whole(calls: f64) -> u32 {
    calls as u32
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Purse({})", self.profile)
    }
}
