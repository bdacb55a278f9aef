//! Tells the fleet what changes here, and hears what changes elsewhere.
//!
//! Every message is appended to a stream and published on a channel, by one script. The channel is for speed, and may
//! lose messages. The stream is the truth. Each message on the channel names the one before it:
//!
//! ```text
//! names the last one that I have ───────────▶ heard
//! names another ── read the stream from there ─┬─ begins with mine ──▶ all heard
//!                                              └─ it does not ───────▶ missed: begin at its end
//! ```
//!
//! The stream is also read once a second, so that a message that was lost is found although none follows it. The ids
//! are the store's times, which do not come again after a failover, as plain numbers would; where the new clock is behind,
//! one can, so the message at it must be the same as well.
//!
//! A tick says how long it proves something, so it must not seem younger than it is. What was not there when the stream
//! was read to its end came later; and a message with ticks has the store's time, which its id has too.
//!
//! In between, this member writes its record ([`members`]).

use std::{convert::Infallible, fmt, num::NonZero, str, time::Duration};

use aws_lc_rs::digest::{Digest, SHA256, digest};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::{
    change::{Arrival, Change},
    connect::Connection,
    error::StoreError,
    exchange::{Break, Exchange},
    horizon::Position,
    members::{self, Register},
    outbox::Batch,
    record::Record,
    sealed::{FleetKeys, Opened, Opener, Sealer},
    settings::key_of,
};

/// The bus, and how far it was heard.
pub(super) struct Bus {
    /// The name of the stream, and of the channel.
    key: String,
    sealer: Sealer,
    opener: Opener,
    /// The last message that was heard.
    position: Option<EntryId>,
    /// What it was. Another one has its id if a replica took over that lost it, and whose clock is behind.
    last: Option<Digest>,
    /// When an empty message is due, so that entries of the shared cache can be newer than a change.
    mark_due: Option<Instant>,
    /// Whether what is read was told before this member came.
    is_history: bool,
    /// When everything was heard, or so it seems. What is found later in the stream was told after that.
    all_heard: Instant,
    /// When the stream was read to its end the last time.
    all_read: Instant,
    unsent: Option<Unsent>,
    pace: Pace,
    /// The last record of this member that was written, sealed.
    sealed: Vec<u8>,
    /// What it says, and when the next one is due.
    written: Option<(Record, Instant)>,
}

/// A message that may not be in the store yet.
struct Unsent {
    number: u64,
    batch: Batch,
}

/// The id of an entry of the stream: a time in milliseconds, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EntryId(u64, u64);

/// Limits the messages of a second.
type Pace = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// The time since an instant, by tokio's clock, by which the bus sleeps as well.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// Entries as the store answers them: ids, and fields with values.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

impl Bus {
    /// The bus of the fleet with that name; `None` if the system has no random numbers.
    pub(super) fn new(name: &str, keys: &FleetKeys) -> Option<Self> {
        let sealer = keys.sealer()?;
        Some(Self {
            key: key_of(name, "bus"),
            opener: keys.opener(&sealer),
            sealer,
            position: None,
            last: None,
            mark_due: None,
            is_history: false,
            all_heard: Instant::now(),
            all_read: Instant::now(),
            unsent: None,
            pace: RateLimiter::direct_with_clock(
                Quota::per_second(MESSAGES_A_SECOND),
                TokioClock(Instant::now()),
            ),
            sealed: Vec::new(),
            written: None,
        })
    }

    /// Identifies this process.
    pub(super) fn process(&self) -> Uuid {
        Uuid::from_bytes(self.sealer.publisher())
    }

    /// Tells and hears over a connection until it fails.
    pub(super) async fn attend(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
        register: &Register,
    ) -> Result<Infallible, StoreError> {
        connection.subscribe(&self.key).await?;
        self.catch_up(connection, exchange).await?;
        exchange.join();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.written = None;
        loop {
            tokio::select! {
                message = connection.heard() => {
                    self.take(&message, connection, exchange).await?;
                }
                () = self.something_to_tell(exchange) => self.tell(connection, exchange).await?,
                _ = look.tick() => {
                    self.catch_up(connection, exchange).await?;
                    self.mark(connection, exchange).await?;
                    self.keep_record(connection, exchange, register).await?;
                }
            }
        }
    }

    /// Writes the record of this member if one is due, or if there is something else to say.
    async fn keep_record(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
        register: &Register,
    ) -> Result<(), StoreError> {
        let Some(record) = exchange.record() else { return Ok(()) };
        let is_new = |(written, due): &(Record, Instant)| {
            Instant::now() >= *due || !record.says_the_same(written)
        };
        if !self.written.as_ref().is_none_or(is_new) {
            return Ok(());
        }
        // It has only strings as keys.
        let text = serde_json::to_vec(&record).unwrap_or_default();
        let sealed = self.sealer.seal_record(text).ok_or(StoreError::Seal)?;
        let before = std::mem::replace(&mut self.sealed, sealed);
        let members = register.write(&mut connection.asker, &before, &self.sealed).await?;
        exchange.know_members(members);
        self.written = Some((record, Instant::now() + members::pause()));
        Ok(())
    }

    /// Removes the record of this member, which ends. If its trail was closed, the last record goes to those that ended.
    pub(super) async fn leave(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
        register: &Register,
    ) -> Result<(), StoreError> {
        let store = &mut connection.asker;
        let Some(record) = exchange.record().filter(Record::has_ended) else {
            return register.remove(store, &self.sealed).await;
        };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        let last = self.sealer.seal_record(text).ok_or(StoreError::Seal)?;
        register.end(store, &self.sealed, &last).await
    }

    /// Takes a message of the channel.
    async fn take(
        &mut self,
        message: &[u8],
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        let mut parts = message.splitn(3, |byte| *byte == b' ');
        let mut id = || parts.next().and_then(EntryId::parse);
        match (id(), id(), parts.next(), self.position) {
            (Some(id), _, _, Some(position)) if id <= position => {}
            (Some(id), Some(before), Some(message), Some(position)) if before == position => {
                self.hear(id, message, Duration::ZERO, exchange);
                self.all_heard = Instant::now();
            }
            _ => self.catch_up(connection, exchange).await?,
        }
        Ok(())
    }

    /// Reads what was not heard, or begins at the end of the stream if that is not known.
    async fn catch_up(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        let began = Instant::now();
        let mut position = if let Some(position) = self.position {
            position
        } else {
            let end = self.begin_at_end(connection, exchange).await?;
            self.missed(None, end, exchange);
            let Some(horizon) = exchange.horizon() else { return Ok(()) };
            // Entries of others from before this member came can be used if it knows what has changed since.
            self.is_history = true;
            let first = self.begin_before(end, connection, exchange).await?;
            horizon.begin(first.position());
            first
        };
        let round = exchange.round();
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.key).arg(position.to_string()).arg("+").arg("COUNT").arg(PAGE);
            let entries: Entries = connection.ask(&range).await?;
            let is_last = entries.len() < PAGE;
            let mut entries = entries.into_iter().map(entry);
            let first = entries.next().transpose()?;
            let is_mine = |(id, message): (EntryId, Vec<u8>)| {
                id == position
                    && self.last.is_some_and(|last| last.as_ref() == digest_of(&message).as_ref())
            };
            if !first.is_some_and(is_mine) {
                let end = self.begin_at_end(connection, exchange).await?;
                self.missed(Some(Break::Position), end, exchange);
                return Ok(());
            }
            for entry in entries {
                let (id, message) = entry?;
                let age = self.all_heard.elapsed();
                self.hear(id, &message, age, exchange);
                position = id;
            }
            if is_last {
                self.is_history = false;
                self.read_to_end(began, exchange);
                if let Some(round) = round {
                    round.end(position.position().next());
                }
                return Ok(());
            }
        }
    }

    /// Takes the end of the stream for the position. An empty one has none, so something is put in.
    async fn begin_at_end(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<EntryId, StoreError> {
        self.opener.forget();
        loop {
            let began = Instant::now();
            let mut last = redis::cmd("XREVRANGE");
            last.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
            let last: Entries = connection.ask(&last).await?;
            if let Some(last) = last.into_iter().next() {
                let (id, message) = entry(last)?;
                self.heard(id, &message, exchange);
                self.read_to_end(began, exchange);
                return Ok(id);
            }
            self.tell(connection, exchange).await?;
        }
    }

    /// Takes the first message for the position that is not much older than the end of the stream, and hears it.
    async fn begin_before(
        &mut self,
        end: EntryId,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<EntryId, StoreError> {
        let back = u64::try_from(LOOK_BACK.as_millis()).unwrap_or(u64::MAX);
        let from = EntryId(end.0.saturating_sub(back), 0);
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.key).arg(from.to_string()).arg("+").arg("COUNT").arg(1);
        let found: Entries = connection.ask(&range).await?;
        let Some(first) = found.into_iter().next() else { return Ok(end) };
        let (id, message) = entry(first)?;
        self.hear(id, &message, Duration::ZERO, exchange);
        Ok(id)
    }

    /// Notes that the stream was read to its end by a question of that time.
    fn read_to_end(&mut self, asked: Instant, exchange: &Exchange) {
        self.all_heard = asked;
        self.all_read = asked;
        exchange.read_to_end(asked);
    }

    /// Notes that changes may have been missed, up to that message. What this member has told may be lost as well, so its ticks would claim
    /// too much.
    fn missed(&mut self, why: Option<Break>, upto: EntryId, exchange: &Exchange) {
        exchange.missed(why, upto.position());
        exchange.outbox.drop_ticks();
        let unsent = self.unsent.iter_mut().flat_map(|unsent| &mut unsent.batch.changes);
        unsent.for_each(Change::drop_tick);
    }

    /// Opens a message that probably lay in the store for so long, and passes on what it tells.
    fn hear(&mut self, id: EntryId, message: &[u8], lain: Duration, exchange: &Exchange) {
        let mut way =
            Arrival { lain, read_before: self.all_read, stored_ms: id.0, is_midway: false };
        let (changes, mut missed) = match self.opener.open(message) {
            Ok(Opened::Own | Opened::Again) => return self.heard(id, message, exchange),
            Ok(Opened::Next(changes)) => (changes, None),
            Ok(Opened::Midway(changes)) => {
                way.is_midway = true;
                (changes, None)
            }
            Ok(Opened::AfterGap(changes)) => (changes, Some(Break::Gap)),
            Err(_) => (Vec::new(), Some(Break::Unreadable)),
        };
        match serde_json::from_slice::<Vec<Change>>(&changes) {
            Ok(changes) => {
                let changes = changes.into_iter().map(|change| change.arrived(&way));
                let is_of_use = |change: &Change| !self.is_history || change.is_lasting();
                exchange.hear(id.position(), changes.filter(is_of_use).collect());
            }
            Err(_) => missed = Some(Break::Unreadable),
        }
        if missed.is_some() {
            self.missed(missed, id, exchange);
        }
        self.heard(id, message, exchange);
    }

    /// Everything up to that message is heard, and applied.
    fn heard(&mut self, id: EntryId, message: &[u8], exchange: &Exchange) {
        self.position = Some(id);
        self.last = Some(digest_of(message));
        exchange.heard_to(id.position());
    }

    /// Publishes an empty message if no entry can be newer than a change, and nobody else does soon.
    async fn mark(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        let at = self.position.map(EntryId::position);
        let is_ahead = exchange.horizon().zip(at).is_some_and(|(it, at)| it.is_ahead_of(at));
        if !is_ahead {
            self.mark_due = None;
            return Ok(());
        }
        let soon = || Instant::now() + MARK_WITHIN.mul_f64(fastrand::f64());
        if *self.mark_due.get_or_insert_with(soon) <= Instant::now() {
            self.mark_due = None;
            self.tell(connection, exchange).await?;
        }
        Ok(())
    }

    /// Waits until something is to be told, and it may be.
    async fn something_to_tell(&self, exchange: &Exchange) {
        if self.unsent.is_none() {
            exchange.outbox.filled().await;
        }
        while let Err(early) = self.pace.check() {
            sleep(early.wait_time_from(self.pace.clock().now())).await;
        }
    }

    /// Tells what waits. A message that may not have arrived is sent again: others skip it by its number if it has.
    async fn tell(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        if self.unsent.is_none() {
            let number = self.sealer.next().ok_or(StoreError::Seal)?;
            self.unsent = Some(Unsent { number, batch: exchange.outbox.take() });
        }
        let Some(Unsent { number, batch }) = &mut self.unsent else { return Ok(()) };
        let ticks: Vec<_> = batch.changes.iter_mut().filter_map(Change::as_tick).collect();
        if !ticks.is_empty() {
            let now = time_of(connection).await?;
            for tick in ticks {
                tick.sealed_ms = now;
            }
        }
        // It has only strings as keys.
        let changes = serde_json::to_vec(&batch.changes).unwrap_or_default();
        let message = self.sealer.seal(*number, changes).ok_or(StoreError::Seal)?;
        let mut publish = redis::cmd("EVAL");
        publish.arg(PUBLISH).arg(1).arg(&self.key).arg(message).arg(ENTRIES);
        let round = exchange.round();
        let id: String = connection.ask(&publish).await?;
        let id = EntryId::parse(id.as_bytes()).ok_or(StoreError::Form)?;
        if let Some(round) = round {
            round.end(id.position());
        }
        exchange.has_told(batch);
        self.unsent = None;
        Ok(())
    }
}

fn digest_of(message: &[u8]) -> Digest {
    digest(&SHA256, message)
}

/// The store's time, in milliseconds.
async fn time_of(connection: &mut Connection) -> Result<u64, StoreError> {
    let (seconds, micros): (u64, u64) = connection.ask(&redis::cmd("TIME")).await?;
    Ok(seconds.saturating_mul(1000).saturating_add(micros / 1000))
}

/// The id of an entry, and the message in its one field.
fn entry((id, fields): (String, Vec<(String, Vec<u8>)>)) -> Result<(EntryId, Vec<u8>), StoreError> {
    let id = EntryId::parse(id.as_bytes()).ok_or(StoreError::Form)?;
    let (_, message) = fields.into_iter().next().ok_or(StoreError::Form)?;
    Ok((id, message))
}

impl EntryId {
    fn parse(text: &[u8]) -> Option<Self> {
        let (time, number) = str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self(time.parse().ok()?, number.parse().ok()?))
    }

    fn position(self) -> Position {
        Position::new(self.0, self.1)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bus({})", self.key)
    }
}

/// Appends a message and publishes it with its id and the one before it.
pub(super) const PUBLISH: &str = "\
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1])
redis.call('PUBLISH', KEYS[1], id .. ' ' .. (last and last[1] or '') .. ' ' .. ARGV[1])
return id";
/// The entries that the stream keeps: minutes of a busy fleet. A member that was away for longer begins anew.
const ENTRIES: u32 = 10_000;
/// The entries of one reading.
const PAGE: usize = 100;
/// The time between two readings of the stream, which also tell whether the store answers.
const LOOK: Duration = Duration::from_secs(1);
/// How far a member that comes reads back: as long as entries of the shared cache live.
pub(super) const LOOK_BACK: Duration = Duration::from_hours(1);
/// How long a member waits for another one's message before it publishes an empty one.
const MARK_WITHIN: Duration = Duration::from_secs(3);
/// The messages that a member tells in a second. Every other member reads each of them.
const MESSAGES_A_SECOND: NonZero<u32> = NonZero::new(20).unwrap();
