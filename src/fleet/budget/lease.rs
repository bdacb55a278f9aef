//! Asks the store for the calls of all purses, in the background.
//!
//! For each profile the store has a bucket, which fills with the rate, and what each gateway wants. A script gives a
//! gateway what it wants for the next half second if there is enough for all, and else no more than what each gets if
//! all get the same. So whoever wants little gets it, and the others share the rest. What is given is taken out of the
//! bucket, and what comes back unused is put in again: together no more calls are given than the rate brings.
//!
//! The clock is the store's. A gateway that has not asked for three intervals is forgotten.

use std::{fmt, sync::Arc};

use futures_util::{StreamExt as _, stream};
use redis::Cmd;
use uuid::Uuid;

use super::{
    purse::{Feed, Purse},
    wallet::{Ask, Grant, INTERVAL},
};
use crate::fleet::{connect::Asker, error::StoreError, sealed::FleetKeys, settings::key_of};

/// Feeds the purses from the store.
pub(in crate::fleet) struct Budgets {
    fleet: String,
    keys: FleetKeys,
    process: Uuid,
    feed: Arc<Feed>,
}

impl Budgets {
    pub(in crate::fleet) fn new(fleet: &str, keys: FleetKeys, process: Uuid) -> Self {
        Self { fleet: fleet.to_owned(), keys, process, feed: Arc::default() }
    }

    /// What purses are made with.
    pub(in crate::fleet) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Asks for all purses when it is time, with what `asker` returns while there is a connection.
    pub(in crate::fleet) async fn run(&self, asker: impl Fn() -> Option<Asker>) {
        loop {
            self.feed.ready().await;
            stream::iter(self.feed.due())
                .for_each_concurrent(MOST_AT_ONCE, async |purse| {
                    let ask = purse.ask();
                    let grant = match asker() {
                        Some(mut store) => self.ask(&mut store, &purse, ask).await.ok(),
                        None => None,
                    };
                    purse.answered(ask, grant);
                })
                .await;
        }
    }

    async fn ask(&self, store: &mut Asker, purse: &Purse, ask: Ask) -> Result<Grant, StoreError> {
        let name = self.keys.hidden(purse.profile().as_str()).ok_or(StoreError::Seal)?;
        let (rate, burst) = purse.rate_and_burst();
        let command = question(&self.fleet, &name, &self.process.to_string(), (rate, burst), ask);
        grant(store.ask(&command).await?)
    }
}

/// The question to the store.
pub(super) fn question(
    fleet: &str,
    name: &str,
    process: &str,
    (rate, burst): (f64, f64),
    ask: Ask,
) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(LEASE).arg(3);
    for what in ["bucket", "wants", "held"] {
        command.arg(key_of(fleet, &format!("budget:{name}:{what}")));
    }
    command.arg(process).arg(rate).arg(burst).arg(ask.wants).arg(ask.returned);
    command.arg(INTERVAL.as_secs_f64());
    command
}

/// The answer. A number that is none is refused.
pub(super) fn grant((calls, share): (String, String)) -> Result<Grant, StoreError> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let calls = number(&calls).ok_or(StoreError::Form)?;
    let share = if share.is_empty() { None } else { Some(number(&share).ok_or(StoreError::Form)?) };
    Ok(Grant { calls, share })
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budgets({})", self.fleet)
    }
}

/// Takes what a gateway returns, and gives it what it may have.
///
/// The bucket is a hash: its calls (`level`) at a time (`at`), and what each gets while there is not enough (`share`, as of
/// `counted`). What each wants is the score in a sorted set; what it was given, and when it last asked, is in a hash. A
/// gateway that wants nothing is forgotten.
///
/// The share is counted anew ten times a second, from the smallest want to the largest. What has come since each last
/// asked is owed to it. Beside that, a twentieth of a second's calls stays in the bucket for those who want more all at
/// once; half of what is above it is given in a second.
pub(super) const LEASE: &str = "\
local bucket, wants, held = KEYS[1], KEYS[2], KEYS[3]
local own, rate, burst = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, returned, interval = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', bucket, 'level', 'at', 'share', 'counted')
local level = tonumber(kept[1] or burst) + rate * math.max(0, now - tonumber(kept[2] or now))
local share, counted = tonumber(kept[3] or ''), tonumber(kept[4] or 0)

local before = redis.call('HGET', held, own)
local given, asked = 0, now - interval
if before then
  given, asked = string.match(before, '(%S+) (%S+)')
  given, asked = tonumber(given), tonumber(asked)
end
level = math.min(burst, math.max(-burst, level + math.min(returned, given)))
if wanted > 0 then
  redis.call('ZADD', wants, wanted, own)
else
  redis.call('ZREM', wants, own)
  redis.call('HDEL', held, own)
end

if not before or now < counted or now - counted > 0.1 then
  local all, last = redis.call('ZRANGE', wants, 0, -1, 'WITHSCORES'), {}
  local entries = redis.call('HGETALL', held)
  for number = 1, #entries, 2 do
    last[entries[number]] = tonumber(string.match(entries[number + 1], '%S+ (%S+)'))
  end
  local there, owed = {}, 0
  for number = 1, #all, 2 do
    local process, want = all[number], tonumber(all[number + 1])
    local age = now - (last[process] or asked)
    if process ~= own and age > 3 * interval then
      redis.call('ZREM', wants, process)
      redis.call('HDEL', held, process)
    else
      there[#there + 1] = want
      owed = owed + math.min(want, share or want) * age
    end
  end
  local over, spare = level - owed, rate / 20
  local left = math.max(0, rate + math.min(over, 0) + math.max(over - spare, 0) / 2)
  share = nil
  for number, want in ipairs(there) do
    local equal = left / (#there - number + 1)
    if want >= equal then
      share = equal
      break
    end
    left = left - want
  end
  counted = now
end

local calls, cut = 0, ''
if wanted > 0 then
  local most
  if share then
    calls = wanted * interval + 1
    most = returned + share * math.min(math.max(0, now - asked), 2 * interval)
  else
    local others = redis.call('ZCARD', wants)
    calls = wanted * 2 * interval + 1 + math.max(0, level) / (2 * others)
    most = calls
  end
  if calls > math.min(most, level) then
    calls = math.max(0, math.min(most, level))
    cut = string.format('%.6f', share or rate)
  end
  level = level - calls
  redis.call('HSET', held, own, string.format('%.6f %.6f', calls, now))
end
redis.call('HSET', bucket, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now),
  'share', share and string.format('%.6f', share) or '', 'counted', string.format('%.6f', counted))
local life = math.ceil(60 + 2 * burst / rate)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, life) end
return {string.format('%.6f', calls), cut}";
/// The questions that are under way at the same time.
const MOST_AT_ONCE: usize = 32;
