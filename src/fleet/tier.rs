//! The connection over which members share entries of the cache. It is not the one of the notices, which a large entry
//! must not hold up.
//!
//! It is made when the first call asks. A call waits for the store for `wait` at most, and not at all while it is away or
//! slow; what is to be stored waits in a queue with a bound, and nobody waits for that.
//!
//! An entry ends at a time of the store's clock, which each member knows by asking for it. So one that lay in a
//! connection while the store stood still does not live longer for it.

use std::{
    convert::Infallible,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use redis::Cmd;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    breaker::Breaker,
    connect::{Asker, Connection, Connector},
    entry::EntryPlace,
    error::StoreError,
    horizon::Position,
};
use crate::outbound::Backoff;

/// The way to the entries.
pub struct Tier {
    wait: Duration,
    reconnect: Duration,
    asker: Mutex<Option<Asker>>,
    /// A call has asked.
    asked: Notify,
    breaker: Breaker,
    writes: mpsc::UnboundedSender<Write>,
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Write>>,
    /// The bytes in the queue.
    queued: AtomicUsize,
}

/// An entry that was found, still sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes.
    pub entry: Vec<u8>,
    /// How long the store still keeps it, as of when it was asked.
    pub left: Duration,
    /// The number of its place among those that were asked for.
    pub place: usize,
}

/// The store cannot be asked now, or did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// An entry to be stored.
struct Write {
    name: String,
    size: usize,
    /// When it ends.
    end: Instant,
    seal: Box<dyn FnOnce() -> Option<Vec<u8>> + Send>,
}

/// What the store's clock showed.
#[derive(Clone, Copy)]
struct StoreClock {
    millis: u64,
    /// When the answer came. The clock was read before.
    at: Instant,
}

impl StoreClock {
    /// The store's time at that instant, or a moment before.
    fn at(self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.at);
        self.millis.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Tier {
    pub(super) fn new(wait: Duration, reconnect: Duration) -> Self {
        let (writes, queue) = mpsc::unbounded_channel();
        Self {
            wait,
            reconnect,
            asker: Mutex::default(),
            asked: Notify::new(),
            breaker: Breaker::default(),
            writes,
            queue: tokio::sync::Mutex::new(queue),
            queued: AtomicUsize::new(0),
        }
    }

    /// Looks for an entry in the first of these places that has one.
    pub async fn find(&self, places: &[EntryPlace]) -> Result<Option<Found>, Away> {
        let mut question = redis::pipe();
        for place in places {
            question.cmd("GET").arg(place.name()).cmd("PTTL").arg(place.name());
        }
        let asked =
            self.ask(async |asker: &mut Asker| asker.ask_all::<Vec<redis::Value>>(&question).await);
        let answers = asked.await?;
        let found = answers.chunks(2).enumerate().find_map(|(place, answer)| match answer {
            [redis::Value::BulkString(entry), redis::Value::Int(left)] => {
                let left = Duration::from_millis(u64::try_from(*left).ok()?);
                Some(Found { entry: entry.clone(), left, place })
            }
            _ => None,
        });
        Ok(found)
    }

    /// Whether this member is to fetch what belongs there, with that `asof`. It is not while another one does whose
    /// fetch began behind `least`.
    pub async fn lease(
        &self,
        place: &EntryPlace,
        least: Position,
        asof: Position,
    ) -> Result<bool, Away> {
        let hex = |position: Position| format!("{:016x}", position.bits());
        let mut lease = redis::cmd("EVAL");
        lease.arg(LEASE).arg(1).arg(lease_of(place.name()));
        lease.arg(hex(least)).arg(hex(asof)).arg(LEASED.as_millis().to_string());
        let leased = self.ask(async |asker: &mut Asker| asker.ask::<i64>(&lease).await);
        Ok(leased.await? == 1)
    }

    async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&mut Asker) -> Result<T, StoreError>,
    ) -> Result<T, Away> {
        let asker = self.asker.lock().clone();
        let Some(mut asker) = asker else {
            self.asked.notify_one();
            return Err(Away);
        };
        if !self.breaker.may_wait() {
            return Err(Away);
        }
        let answer = timeout(self.wait, ask(&mut asker)).await;
        self.breaker.note(answer.is_err());
        answer.ok().and_then(Result::ok).ok_or(Away)
    }

    /// Stores an entry of about that size until then, some time later, when it is sealed too. Returns whether there is room in the queue.
    pub fn keep(
        &self,
        name: String,
        size: usize,
        end: Instant,
        seal: impl FnOnce() -> Option<Vec<u8>> + Send + 'static,
    ) -> bool {
        let size = size.saturating_add(ENTRY);
        if self.queued.fetch_add(size, Ordering::AcqRel).saturating_add(size) > MOST_QUEUED {
            self.queued.fetch_sub(size, Ordering::AcqRel);
            return false;
        }
        self.writes.send(Write { name, size, end, seal: Box::new(seal) }).is_ok()
    }

    /// Stays connected from the first call on, until it is to end.
    pub(super) async fn run(&self, connector: &Connector, ending: &CancellationToken) {
        let mut queue = self.queue.lock().await;
        let mut backoff = Backoff::new(FIRST_PAUSE, self.reconnect);
        while ending.run_until_cancelled(self.asked.notified()).await.is_some() {
            let began = Instant::now();
            let served = self.serve(connector, &mut queue);
            let Some(Err(error)) = ending.run_until_cancelled(served).await else { return };
            *self.asker.lock() = None;
            // What waits is as old as the pause by then.
            while let Ok(write) = queue.try_recv() {
                self.queued.fetch_sub(write.size, Ordering::AcqRel);
            }
            tracing::debug!(%error, "no connection to the shared cache");
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            ending.run_until_cancelled(sleep(backoff.pause())).await;
        }
    }

    async fn serve(
        &self,
        connector: &Connector,
        queue: &mut mpsc::UnboundedReceiver<Write>,
    ) -> Result<Infallible, StoreError> {
        let mut connection = connector.connect().await?;
        let mut clock = clock(&mut connection).await?;
        *self.asker.lock() = Some(connection.asker.clone());
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let place = connection.place.clone();
        let moved = connector.moved(&place);
        tokio::pin!(moved);
        loop {
            tokio::select! {
                Some(write) = queue.recv() => {
                    self.queued.fetch_sub(write.size, Ordering::AcqRel);
                    if let Some(set) = write.command(clock) {
                        match connection.ask::<redis::Value>(&set).await {
                            // It has no memory left: others may still be read.
                            Err(StoreError::Full) => {}
                            result => drop(result?),
                        }
                    }
                }
                _ = look.tick() => clock = self::clock(&mut connection).await?,
                error = &mut moved => return Err(error),
            }
        }
    }
}

impl Write {
    /// `None` if it has ended.
    fn command(self, clock: StoreClock) -> Option<Cmd> {
        if self.end <= Instant::now() {
            return None;
        }
        let mut set = redis::cmd("SET");
        set.arg(&self.name).arg((self.seal)()?).arg("PXAT").arg(clock.at(self.end));
        Some(set)
    }
}

async fn clock(connection: &mut Connection) -> Result<StoreClock, StoreError> {
    let (seconds, micros): (u64, u64) = connection.ask(&redis::cmd("TIME")).await?;
    let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Ok(StoreClock { millis, at: Instant::now() })
}

/// The name of the lease for the entry with that name.
fn lease_of(name: &str) -> String {
    name.replacen(":c:", ":l:", 1)
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tier(connected: {})", self.asker.lock().is_some())
    }
}

/// Takes a lease, unless another one fetches what is new enough. The digits compare as the positions do.
const LEASE: &str = "\
local held = redis.call('GET', KEYS[1])
if held and held >= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";
/// How long a lease holds: longer than most fetches take.
const LEASED: Duration = Duration::from_secs(2);
/// What an entry takes besides a body, about.
const ENTRY: usize = 1024;
/// The bytes that may wait to be stored.
const MOST_QUEUED: usize = 16 * 1024 * 1024;
/// The first pause is as long as this at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted longer was a good one.
const STABLE: Duration = Duration::from_secs(10);
/// How often the store is asked for its time, which also tells whether it answers.
const LOOK: Duration = Duration::from_secs(5);
