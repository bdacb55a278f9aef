//! What is in a purse, by the clock. Nothing here waits, locks or asks anybody.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::{BudgetSettings, WithoutStore};

/// Calls that a gateway may make.
#[derive(Debug)]
pub(super) struct Wallet {
    /// Calls a second of all gateways.
    rate: f64,
    /// Calls that may be made at once.
    burst: f64,
    lease: Duration,
    without_store: WithoutStore,
    is_alone: bool,
    /// The calls in it; less than none if more were made than the store has given meanwhile.
    tokens: f64,
    /// The part of them that the store does not know of yet.
    credit: f64,
    /// Since when they grow by themselves, while they do.
    grown: Instant,
    /// Until when they are good, whatever becomes of the store.
    until: Instant,
    /// Whether the store is asked for more now and then.
    is_active: bool,
    /// The calls of the last answer, and whether that was less than was asked for.
    given: f64,
    is_scarce: bool,
    /// What this gateway gets in a second while calls are scarce.
    share: f64,
    demand: Demand,
}

/// The calls that callers want to make.
#[derive(Debug)]
struct Demand {
    /// A second, as an average of the last ones.
    average: f64,
    /// Those since the store was last asked.
    count: u32,
    since: Instant,
    /// When there was the last one.
    last: Instant,
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ask {
    /// Calls a second that are wanted.
    pub(super) wants: f64,
    /// Calls that were given and not made; less than none if more were made.
    pub(super) returned: f64,
    /// What was in the wallet.
    tokens: f64,
    at: Instant,
    /// Whether the tokens were not the store's.
    is_own: bool,
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grant {
    /// Calls.
    pub(super) calls: f64,
    /// What each gets in a second at most while there is not enough for all; none while there is.
    pub(super) share: Option<f64>,
}

impl Wallet {
    pub(super) fn new(settings: BudgetSettings, rate: u32, is_alone: bool, now: Instant) -> Self {
        let burst = settings.burst.map_or(f64::from(rate) * 2.0, f64::from);
        Self {
            rate: f64::from(rate),
            burst,
            lease: *settings.lease,
            without_store: settings.without_store,
            is_alone,
            tokens: if is_alone { burst } else { 0.0 },
            credit: 0.0,
            grown: now,
            until: now,
            is_active: false,
            given: 0.0,
            is_scarce: false,
            share: f64::from(rate),
            demand: Demand { average: 0.0, count: 0, since: now, last: now },
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn burst(&self) -> f64 {
        self.burst
    }

    /// Whether the store was not asked since the first call.
    #[cfg(test)]
    pub(super) fn is_new(&self) -> bool {
        self.demand.average <= 0.0
    }

    /// Whether a fleet is asked.
    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    /// The calls that may be made now, because somebody wants to make one. `members` are those of the fleet, if that is
    /// known.
    pub(super) fn look(&mut self, now: Instant, members: Option<u64>) -> f64 {
        self.demand.count = self.demand.count.saturating_add(1);
        self.demand.last = now;
        if !self.is_alone && !self.is_active {
            self.open(now, members);
        }
        self.settle(now, members);
        self.tokens
    }

    /// Makes one of the calls.
    pub(super) fn take(&mut self) {
        self.tokens -= 1.0;
    }

    /// The first call after a time without any: it goes out on credit.
    fn open(&mut self, now: Instant, members: Option<u64>) {
        self.is_active = true;
        self.credit = self.credit(members);
        self.tokens = self.credit;
        self.until = now + PATIENCE;
        self.grown = self.until;
        (self.given, self.is_scarce) = (0.0, false);
        let Demand { count, .. } = self.demand;
        self.demand = Demand { average: 0.0, count, since: now, last: now };
    }

    /// What a gateway may do before it has asked: a twentieth of a second's calls, and no more than its part of the
    /// burst; at least one call.
    fn credit(&self, members: Option<u64>) -> f64 {
        (self.rate / PARTS).min(self.burst / part(members)).max(1.0)
    }

    /// Applies what time has changed.
    fn settle(&mut self, now: Instant, members: Option<u64>) {
        if self.is_alone {
            return self.grow(now, self.rate, self.burst);
        }
        if now < self.until {
            return;
        }
        match self.without_store {
            WithoutStore::Share => {
                let part = part(members);
                self.grow(now, self.rate / part, (self.burst / part).max(1.0));
            }
            WithoutStore::Unlimited => self.tokens = f64::INFINITY,
            WithoutStore::Deny => self.tokens = self.tokens.min(0.0),
        }
    }

    fn grow(&mut self, now: Instant, rate: f64, most: f64) {
        let grown = now.saturating_duration_since(self.grown).as_secs_f64() * rate;
        self.tokens = (self.tokens + grown).min(most);
        self.grown = now.max(self.grown);
    }

    /// When there is a call again, about.
    pub(super) fn wait(&self, now: Instant, members: Option<u64>) -> Duration {
        let rate = match (self.is_alone, now < self.until, self.without_store) {
            (true, _, _) => self.rate,
            // The store gives parts of calls, which add up.
            (false, true, _) if self.is_scarce => self.share,
            (false, true, _) => return INTERVAL,
            (false, false, WithoutStore::Deny) => return LONGEST_WAIT,
            (false, false, _) => self.rate / part(members),
        };
        let missing = (1.0 - self.tokens).max(0.0) / rate.max(f64::MIN_POSITIVE);
        Duration::try_from_secs_f64(missing).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
    }

    /// Whether to ask the store early: half of what it gave is gone, and it gave all that was asked for.
    pub(super) fn is_low(&self, now: Instant) -> bool {
        self.is_active
            && !self.is_scarce
            && now < self.until
            && self.tokens < self.given / 2.0
            && now.saturating_duration_since(self.demand.since) >= SHORTEST_INTERVAL
    }

    /// When the store is to be asked, at the latest.
    pub(super) fn due(&self) -> Instant {
        self.demand.since + INTERVAL
    }

    /// What is asked of the store. After a time without calls this returns all, and is the last question.
    pub(super) fn ask(&mut self, now: Instant) -> Ask {
        let is_own = now >= self.until;
        let demand = &mut self.demand;
        let (elapsed, is_first) =
            (now.saturating_duration_since(demand.since), demand.average <= 0.0);
        if is_first || !elapsed.is_zero() {
            let seconds = if is_first { INTERVAL.max(elapsed) } else { elapsed }.as_secs_f64();
            let weight = if is_first { 1.0 } else { 1.0 - (-seconds / MEMORY).exp() };
            demand.average += weight * (f64::from(demand.count) / seconds - demand.average);
            (demand.count, demand.since) = (0, now);
        }
        let returned = if is_own { 0.0 } else { self.tokens - self.credit };
        if now.saturating_duration_since(demand.last) >= self.lease {
            self.is_active = false;
            return Ask { wants: 0.0, returned, tokens: self.tokens, at: now, is_own };
        }
        Ask { wants: demand.average, returned, tokens: self.tokens, at: now, is_own }
    }

    /// The store has answered.
    pub(super) fn granted(&mut self, ask: Ask, grant: Grant) {
        // Calls that were made while the question was under way.
        let meanwhile = if ask.is_own { 0.0 } else { ask.tokens - self.tokens };
        // It may have been opened again meanwhile, with another credit.
        let meanwhile = meanwhile.clamp(0.0, self.rate);
        self.tokens = grant.calls.clamp(0.0, self.burst) - meanwhile;
        self.credit = 0.0;
        self.given = grant.calls;
        self.is_scarce = grant.share.is_some();
        self.share = grant.share.map_or(self.rate, |share| share.min(self.rate));
        self.until = ask.at + self.lease;
        self.grown = self.until;
    }

    /// The store cannot be asked, and nothing was ever had of it since the first call.
    pub(super) fn unanswered(&mut self, now: Instant) {
        if self.credit > 0.0 && now < self.until {
            (self.until, self.grown) = (now, now);
        }
    }

    /// The calls in it.
    pub(super) fn calls(&self) -> f64 {
        self.tokens.max(0.0)
    }

    /// Whether it lives without the store.
    pub(super) fn is_without_store(&self, now: Instant) -> bool {
        self.is_active && now >= self.until
    }
}

/// The part of a gateway, as a divisor.
fn part(members: Option<u64>) -> f64 {
    let members = members.and_then(|members| u32::try_from(members).ok());
    members.map_or(PARTS, |members| f64::from(members.max(1)))
}

/// The time between two questions to the store.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The time between a question and one that comes early.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);
/// How long a first call is waited for, in a way: the credit is good for this long.
const PATIENCE: Duration = INTERVAL;
/// The seconds that the average of the demand remembers.
const MEMORY: f64 = 1.0;
/// The part of a second's calls that is a credit, and the part of a gateway that knows no members.
const PARTS: f64 = 20.0;
/// No call is told to wait for longer.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
