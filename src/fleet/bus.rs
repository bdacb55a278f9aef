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
//! are the store's times, which do not come again after a failover, as plain numbers would.
//!
//! In between, this member writes its record ([`members`](super::members)).

use std::{convert::Infallible, fmt, num::NonZero, str, sync::atomic::Ordering, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::{
    change::Change,
    connect::Connection,
    error::StoreError,
    exchange::{Break, Exchange},
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
    /// When everything was heard. What is found later in the stream was told after that.
    all_heard: Instant,
    unsent: Option<Unsent>,
    pace: DefaultDirectRateLimiter,
    /// The last record of this member that was written, sealed.
    sealed: Vec<u8>,
    /// What it says, and when the next one is due.
    written: Option<(Record, Instant)>,
}

/// A message that may not be in the store yet.
struct Unsent {
    message: Vec<u8>,
    /// The number of changes that are told with it.
    upto: u64,
}

/// The id of an entry of the stream: a time in milliseconds, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EntryId(u64, u64);

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
            all_heard: Instant::now(),
            unsent: None,
            pace: RateLimiter::direct(Quota::per_second(MESSAGES_A_SECOND)),
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
        exchange.members.store(members, Ordering::Relaxed);
        self.written = Some((record, Instant::now() + members::pause()));
        Ok(())
    }

    /// Removes the record of this member, which ends. If its trail was closed, the last record goes to those that ended.
    pub(super) async fn leave(
        &self,
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
        let Some(mut position) = self.position else {
            self.begin_at_end(connection, exchange).await?;
            exchange.missed(None);
            return Ok(());
        };
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&self.key).arg(position.to_string()).arg("+").arg("COUNT").arg(PAGE);
            let entries: Entries = connection.ask(&range).await?;
            let is_last = entries.len() < PAGE;
            let mut entries = entries.into_iter().map(entry);
            let first = entries.next().transpose()?;
            if first.is_none_or(|(id, _)| id != position) {
                self.begin_at_end(connection, exchange).await?;
                exchange.missed(Some(Break::Position));
                return Ok(());
            }
            for entry in entries {
                let (id, message) = entry?;
                self.hear(id, &message, self.all_heard.elapsed(), exchange);
                position = id;
            }
            if is_last {
                self.all_heard = began;
                return Ok(());
            }
        }
    }

    /// Takes the end of the stream for the position. An empty one has none, so something is put in.
    async fn begin_at_end(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        self.opener.forget();
        loop {
            let mut last = redis::cmd("XREVRANGE");
            last.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
            let last: Entries = connection.ask(&last).await?;
            if let Some((id, _)) = last.first() {
                self.position = Some(EntryId::parse(id.as_bytes()).ok_or(StoreError::Form)?);
                self.all_heard = Instant::now();
                return Ok(());
            }
            self.tell(connection, exchange).await?;
        }
    }

    /// Opens a message of that age, at most, and passes on what it tells.
    fn hear(&mut self, id: EntryId, message: &[u8], age: Duration, exchange: &Exchange) {
        self.position = Some(id);
        let (changes, mut missed) = match self.opener.open(message) {
            Ok(Opened::Own | Opened::Again) => return,
            Ok(Opened::Next(changes)) => (changes, None),
            Ok(Opened::AfterGap(changes)) => (changes, Some(Break::Gap)),
            Err(_) => (Vec::new(), Some(Break::Unreadable)),
        };
        match serde_json::from_slice::<Vec<Change>>(&changes) {
            Ok(changes) => {
                exchange.hear(changes.into_iter().map(|change| change.aged(age)).collect());
            }
            Err(_) => missed = Some(Break::Unreadable),
        }
        if missed.is_some() {
            exchange.missed(missed);
        }
    }

    /// Waits until something is to be told, and it may be.
    async fn something_to_tell(&self, exchange: &Exchange) {
        if self.unsent.is_none() {
            exchange.outbox.filled().await;
        }
        while let Err(early) = self.pace.check() {
            sleep(early.wait_time_from(DefaultClock::default().now())).await;
        }
    }

    /// Tells what waits. A message that may not have arrived is sent again: others skip it by its number if it has.
    async fn tell(
        &mut self,
        connection: &mut Connection,
        exchange: &Exchange,
    ) -> Result<(), StoreError> {
        let unsent = if let Some(unsent) = self.unsent.take() {
            unsent
        } else {
            let Batch { changes, upto } = exchange.outbox.take();
            Unsent { message: self.sealer.seal(changes).ok_or(StoreError::Seal)?, upto }
        };
        let mut publish = redis::cmd("EVAL");
        publish.arg(PUBLISH).arg(1).arg(&self.key).arg(&unsent.message).arg(ENTRIES);
        let upto = self.unsent.insert(unsent).upto;
        let _id: String = connection.ask(&publish).await?;
        self.unsent = None;
        exchange.messages.fetch_add(1, Ordering::Relaxed);
        exchange.outbox.told(upto);
        Ok(())
    }
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
/// The messages that a member tells in a second. Every other member reads each of them.
const MESSAGES_A_SECOND: NonZero<u32> = NonZero::new(20).unwrap();
