//! The connections over which members share entries of the cache. They are not the one of the notices, which a large
//! entry must not hold up.
//!
//! Each thread that looks has one of its own, so that a look wakes no other thread; another one stores. They are made
//! when the first call asks. A call waits for the store for `wait` at most, and not at all while it is away or slow; what is
//! to be stored waits in a queue with a bound, and nobody waits for that.
//!
//! An entry ends at a time of the store's clock, which each member knows by asking for it. So one that lay in a
//! connection while the store stood still does not live longer for it, and how old one is needs no question.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
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
    settings::StoreSettings,
};
use crate::outbound::Backoff;

/// The way to the entries.
pub struct Tier {
    wait: Duration,
    reconnect: Duration,
    connector: Connector,
    /// The connection of each thread that has asked, while it has one.
    looks: Mutex<HashMap<ThreadId, Option<Look>>>,
    /// There is something to store.
    filled: Notify,
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
    /// The store's time then, or a moment later, in milliseconds.
    pub at: u64,
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
    /// Takes the end by the store's clock.
    seal: Box<dyn FnOnce(u64) -> Option<Vec<u8>> + Send>,
}

/// A connection for looks.
#[derive(Clone)]
struct Look {
    asker: Asker,
    clock: StoreClock,
}

/// What the store's clock showed, in milliseconds, between the question and the answer.
#[derive(Clone, Copy)]
struct StoreClock {
    millis: u64,
    asked: Instant,
    answered: Instant,
}

impl StoreClock {
    /// The store's time at that instant, or a moment before.
    fn earliest(self, instant: Instant) -> u64 {
        self.after(instant.saturating_duration_since(self.answered))
    }

    /// The store's time at that instant, or a moment later: both parts of the sum are cut to whole milliseconds.
    fn latest(self, instant: Instant) -> u64 {
        self.after(instant.saturating_duration_since(self.asked)).saturating_add(2)
    }

    fn after(self, time: Duration) -> u64 {
        self.millis.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Tier {
    pub(super) fn new(settings: &StoreSettings) -> Arc<Self> {
        let (writes, queue) = mpsc::unbounded_channel();
        Arc::new(Self {
            wait: *settings.wait,
            reconnect: *settings.reconnect,
            connector: Connector::new(settings.clone()),
            looks: Mutex::default(),
            filled: Notify::new(),
            breaker: Breaker::default(),
            writes,
            queue: tokio::sync::Mutex::new(queue),
            queued: AtomicUsize::new(0),
        })
    }

    /// Looks for an entry in the first of these places that has one.
    pub async fn find(self: &Arc<Self>, places: &[EntryPlace]) -> Result<Option<Found>, Away> {
        let mut question = redis::cmd("MGET");
        for place in places {
            question.arg(place.name());
        }
        let Look { mut asker, clock } = self.connection().ok_or(Away)?;
        let answers: Vec<Option<Vec<u8>>> = self.ask(asker.ask(&question)).await?;
        let at = clock.latest(Instant::now());
        let mut answers = answers.into_iter().enumerate();
        Ok(answers.find_map(|(place, entry)| Some(Found { entry: entry?, at, place })))
    }

    /// Whether this member is to fetch what belongs there, with that `asof`. It is not while another one does whose
    /// fetch began behind `least`.
    pub async fn lease(
        self: &Arc<Self>,
        place: &EntryPlace,
        least: Position,
        asof: Position,
    ) -> Result<bool, Away> {
        let hex = |position: Position| format!("{:016x}", position.bits());
        let mut lease = redis::cmd("EVAL");
        lease.arg(LEASE).arg(1).arg(lease_of(place.name()));
        lease.arg(hex(least)).arg(hex(asof)).arg(LEASED.as_millis().to_string());
        let mut asker = self.connection().ok_or(Away)?.asker;
        let leased: i64 = self.ask(asker.ask(&lease)).await?;
        Ok(leased == 1)
    }

    async fn ask<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, Away> {
        if !self.breaker.may_wait() {
            return Err(Away);
        }
        let answer = timeout(self.wait, answer).await;
        self.breaker.note(answer.is_err());
        answer.ok().and_then(Result::ok).ok_or(Away)
    }

    /// The connection of this thread. The first time it begins to connect, in the thread's own runtime.
    fn connection(self: &Arc<Self>) -> Option<Look> {
        let thread = thread::current().id();
        let mut looks = self.looks.lock();
        if let Some(look) = looks.get(&thread) {
            return look.clone();
        }
        looks.insert(thread, None);
        drop(tokio::spawn(Arc::clone(self).look_for(thread)));
        None
    }

    /// Stays connected for the looks of a thread, as long as its runtime.
    async fn look_for(self: Arc<Self>, thread: ThreadId) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.reconnect);
        loop {
            let began = Instant::now();
            let Err(error) = self.serve_looks(thread).await;
            self.looks.lock().insert(thread, None);
            tracing::debug!(%error, "no connection to look in the shared cache");
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn serve_looks(&self, thread: ThreadId) -> Result<Infallible, StoreError> {
        let mut connection = self.connector.connect().await?;
        let place = connection.place.clone();
        let clocks = async {
            loop {
                let clock = clock(&mut connection).await?;
                let asker = connection.asker.clone();
                self.looks.lock().insert(thread, Some(Look { asker, clock }));
                sleep(CLOCK).await;
            }
        };
        tokio::select! {
            result = clocks => result,
            error = self.connector.moved(&place) => Err(error),
        }
    }

    /// Stores an entry of about that size until then, some time later. Then it is sealed too, with its end by the store's
    /// clock. Returns whether there is room in the queue.
    pub fn keep(
        &self,
        name: String,
        size: usize,
        end: Instant,
        seal: impl FnOnce(u64) -> Option<Vec<u8>> + Send + 'static,
    ) -> bool {
        let size = size.saturating_add(ENTRY);
        if self.queued.fetch_add(size, Ordering::AcqRel).saturating_add(size) > MOST_QUEUED {
            self.queued.fetch_sub(size, Ordering::AcqRel);
            return false;
        }
        let is_kept = self.writes.send(Write { name, size, end, seal: Box::new(seal) }).is_ok();
        self.filled.notify_one();
        is_kept
    }

    /// Stores what is in the queue: stays connected from the first entry on, until it is to end.
    pub(super) async fn run(&self, ending: &CancellationToken) {
        let mut queue = self.queue.lock().await;
        let mut backoff = Backoff::new(FIRST_PAUSE, self.reconnect);
        while ending.run_until_cancelled(self.filled.notified()).await.is_some() {
            let began = Instant::now();
            let served = self.serve(&mut queue);
            let Some(Err(error)) = ending.run_until_cancelled(served).await else { return };
            // What waits is as old as the pause by then.
            while let Ok(write) = queue.try_recv() {
                self.queued.fetch_sub(write.size, Ordering::AcqRel);
            }
            tracing::debug!(%error, "no connection to store in the shared cache");
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            ending.run_until_cancelled(sleep(backoff.pause())).await;
        }
    }

    async fn serve(
        &self,
        queue: &mut mpsc::UnboundedReceiver<Write>,
    ) -> Result<Infallible, StoreError> {
        let mut connection = self.connector.connect().await?;
        let mut clock = clock(&mut connection).await?;
        let mut ask = interval(CLOCK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let place = connection.place.clone();
        let moved = self.connector.moved(&place);
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
                _ = ask.tick() => clock = self::clock(&mut connection).await?,
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
        let end = clock.earliest(self.end);
        let mut set = redis::cmd("SET");
        set.arg(&self.name).arg((self.seal)(end)?).arg("PXAT").arg(end);
        Some(set)
    }
}

async fn clock(connection: &mut Connection) -> Result<StoreClock, StoreError> {
    let asked = Instant::now();
    let (seconds, micros): (u64, u64) = connection.ask(&redis::cmd("TIME")).await?;
    let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Ok(StoreClock { millis, asked, answered: Instant::now() })
}

/// The name of the lease for the entry with that name.
fn lease_of(name: &str) -> String {
    name.replacen(":c:", ":l:", 1)
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looks = self.looks.lock();
        write!(f, "Tier({} of {} threads)", looks.values().flatten().count(), looks.len())
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
const CLOCK: Duration = Duration::from_secs(5);
