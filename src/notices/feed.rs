//! Applies events to the cache, and keeps how far each profile's notices are complete.
//!
//! Each change is dropped twice: at once, and again after `settle`. A notice can be faster than the copy of
//! Pigello's database that answers reads; what was fetched in between may be old, and the second drop takes it.
//!
//! | an event says | dropped |
//! | --- | --- |
//! | type and object | the object under every path, the lists of its type, and what depends on the type |
//! | a type alone | all objects and lists of the type, and what depends on it |
//! | an object alone, or nothing | everything of the profile, once a minute at most |

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::Serialize;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Source,
    chain::Chain,
    changes::Changes,
    cursor::Cursor,
    event::{Event, Unreadable},
    history::{Applied, DroppedBy, History, Stored},
    relations::Relations,
    settings::{EventLogChoice, Settings},
    stopped::Stopped,
    told::Told,
};
use crate::{
    audit::NoticesTaken,
    domain::{CanonicalTarget, Catalog, OperationMatch, ProfileName, RequestId},
    proxy::{
        cache::{Affected, Cache, Noticed, object_of},
        profile::{Coherence, Profile},
    },
};

/// The notices of all profiles.
pub struct Notices {
    settings: Settings,
    cache: Cache,
    catalog: Arc<Catalog>,
    relations: Relations,
    /// The profiles that are there now.
    feeds: RwLock<BTreeMap<ProfileName, Arc<Feed>>>,
    /// What came for each `[profiles.…]` table, also for members of it that are gone.
    totals: Mutex<BTreeMap<ProfileName, Arc<Totals>>>,
    settling: Mutex<Settling>,
    /// There is something to drop again or to record.
    work: Notify,
    history: Mutex<History>,
    told: Mutex<Told>,
    record: Recorder,
    unreadable: [AtomicU64; Unreadable::ALL.len()],
}

/// Puts on the audit trail what notices were taken.
pub type Recorder = Arc<dyn Fn(NoticesTaken) + Send + Sync>;

/// The notices of one profile.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) profile: ProfileName,
    /// The profile, if its data is nobody else's ([`Partition::owner`](crate::proxy::profile::Partition::owner)).
    owner: Option<ProfileName>,
    table: ProfileName,
    totals: Arc<Totals>,
    pub(super) coherence: Arc<Coherence>,
    pub(super) cursor: tokio::sync::Mutex<Cursor>,
    pub(super) chain: Mutex<Chain>,
    state: Mutex<FeedState>,
}

#[derive(Debug, Default)]
struct FeedState {
    /// Since when the event log is complete.
    complete_since: Option<Timestamp>,
    last_read: Option<Timestamp>,
    /// Who has read it the last time.
    reader: Option<Reader>,
    /// Why the event log is not read.
    stopped: Option<Stopped>,
    /// When everything was dropped the last time.
    all_dropped: Option<Instant>,
    /// From a change to its drop, the last time.
    lag: Option<Duration>,
    /// What each source has brought since the last record.
    unrecorded: [Tally; Source::ALL.len()],
}

/// Who has read an event log.
#[derive(Clone, Debug)]
pub(super) enum Reader {
    /// This gateway.
    Own,
    /// The member of the fleet with that name, in a reading that began no later than then.
    Member(Box<str>, Instant),
}

/// What each source has brought.
type Totals = Mutex<[Tally; Source::ALL.len()]>;

/// A count of events.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    received: u64,
    applied: u64,
    request_id: Option<RequestId>,
}

impl Tally {
    fn add(&mut self, received: u64, applied: u64, request_id: Option<RequestId>) {
        self.received = self.received.saturating_add(received);
        self.applied = self.applied.saturating_add(applied);
        self.request_id = request_id.or(self.request_id);
    }
}

/// What will be dropped again.
#[derive(Debug, Default)]
struct Settling {
    queue: VecDeque<Again>,
    /// The memory of all changes in the queue, in objects.
    size: usize,
}

/// Changes that will be dropped again.
#[derive(Debug)]
struct Again {
    due: Instant,
    profile: Option<ProfileName>,
    source: Source,
    changes: Changes,
}

/// The notices of a `[profiles.…]` table: of one profile, or of all members of a template.
#[derive(Clone, Debug, Serialize)]
pub struct FeedStatus {
    /// The table.
    pub profile: String,
    /// How many profiles it stands for: those of a template that are loaded.
    pub profiles: u64,
    /// Their state, the worst of each.
    #[serde(flatten)]
    pub state: NoticesState,
    /// The events that each source has brought.
    pub sources: Vec<SourceStatus>,
}

/// The state of a profile's notices.
#[derive(Clone, Debug, Serialize)]
pub struct NoticesState {
    /// What the event log is: `off`, `complete`, `incomplete` or `stopped`.
    pub event_log: &'static str,
    /// Why it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// What proves that no notice was missed, or did the last time: `own` readings of the event log, or those of the
    /// `fleet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<&'static str>,
    /// The member of the fleet that reads the event log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<Box<str>>,
    /// Since when no notice was missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_since: Option<Timestamp>,
    /// When the event log was read the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_read: Option<Timestamp>,
    /// From the last change to its drop, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// The events of one source.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SourceStatus {
    /// `event_log` or `webhook`.
    pub source: &'static str,
    /// Events that came.
    pub received: u64,
    /// Events that were new, and dropped something or would have.
    pub applied: u64,
}

impl NoticesState {
    /// Of both, whatever is worse.
    fn with(self, other: Self) -> Self {
        const WORST_FIRST: [&str; 4] = ["stopped", "incomplete", "complete", "off"];
        let worse =
            WORST_FIRST.into_iter().find(|it| [self.event_log, other.event_log].contains(it));
        let complete_since = self.complete_since.zip(other.complete_since);
        let last_read = self.last_read.zip(other.last_read);
        let both = |one: Option<&'static str>, other| one.filter(|one| Some(*one) == other);
        Self {
            event_log: worse.unwrap_or(self.event_log),
            proof: both(self.proof, other.proof),
            // They may have one each.
            reader: self.reader.filter(|reader| other.reader.as_ref() == Some(reader)),
            stopped: self.stopped.or(other.stopped),
            complete_since: complete_since.map(|(one, other)| one.max(other)),
            last_read: last_read.map(|(one, other)| one.min(other)),
            lag_ms: self.lag_ms.max(other.lag_ms),
        }
    }
}

impl Notices {
    /// For no profile yet. `record` puts on the trail what was taken.
    pub fn new(
        settings: Settings,
        cache: Cache,
        catalog: Arc<Catalog>,
        record: Recorder,
    ) -> Arc<Self> {
        let relations = Relations::new(&catalog, cache.rules());
        Arc::new(Self {
            feeds: RwLock::default(),
            totals: Mutex::default(),
            settings,
            cache,
            catalog,
            relations,
            settling: Mutex::default(),
            work: Notify::new(),
            history: Mutex::default(),
            told: Mutex::default(),
            record,
            unreadable: Default::default(),
        })
    }

    /// Takes notices for those profiles, and for no others. One that is known goes on.
    pub fn keep<'a>(&self, profiles: impl Iterator<Item = &'a Arc<Profile>>) {
        let mut feeds = self.feeds.write();
        let mut before = std::mem::take(&mut *feeds);
        for profile in profiles {
            let coherence = profile.partition.coherence();
            let known = before.remove(&profile.name);
            let known = known.filter(|feed| Arc::ptr_eq(&feed.coherence, coherence));
            let feed = known.unwrap_or_else(|| {
                Arc::new(Feed {
                    profile: profile.name.clone(),
                    owner: profile.partition.owner().cloned(),
                    table: profile.table.clone(),
                    totals: Arc::clone(
                        self.totals.lock().entry(profile.table.clone()).or_default(),
                    ),
                    coherence: Arc::clone(coherence),
                    cursor: tokio::sync::Mutex::new(Cursor::new(*self.settings.overlap)),
                    chain: Mutex::new(Chain::new()),
                    state: Mutex::default(),
                })
            });
            feeds.insert(profile.name.clone(), feed);
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The cache that is kept fresh.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The events that the fleet knows.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }

    /// Ends every proof, because changes may be missed, or nobody reads these event logs any more.
    pub fn retire(&self) {
        self.feeds.read().values().for_each(|feed| feed.coherence.restart());
    }

    /// The feed of a profile.
    pub(super) fn feed(&self, profile: &ProfileName) -> Option<Arc<Feed>> {
        self.feeds.read().get(profile).cloned()
    }

    /// Counts a body without readable events.
    pub(super) fn count_unreadable(&self, why: Unreadable) {
        let at = Unreadable::ALL.iter().position(|known| *known == why).unwrap_or_default();
        if let Some(count) = self.unreadable.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many bodies had no readable events, by reason.
    pub fn unreadable(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.unreadable.iter().map(|count| count.load(Ordering::Relaxed));
        Unreadable::ALL.iter().map(|why| why.label()).zip(counts)
    }

    /// Drops what events of a webhook have changed, for one profile or for all.
    pub(super) fn take_webhook(&self, profile: Option<&ProfileName>, events: &[Event]) {
        let now = Timestamp::now();
        for feed in self.feeds_of(profile) {
            feed.count(Source::Webhook, events.len(), events.len(), None, lag(events, now));
        }
        self.apply(profile, Source::Webhook, events.iter(), None);
        self.tell_fleet(profile, events);
    }

    /// Drops what events of a profile's event log have changed. `received` of them came, by `date` on
    /// Pigello's clock.
    pub(super) fn take_events(
        &self,
        feed: &Feed,
        received: usize,
        events: &[Event],
        date: Timestamp,
        request_id: RequestId,
    ) {
        let id = Some(request_id);
        feed.count(Source::EventLog, received, events.len(), id, lag(events, date));
        if !events.is_empty() {
            self.apply(Some(&feed.profile), Source::EventLog, events.iter(), id);
            self.tell_fleet(Some(&feed.profile), events);
        }
    }

    pub(super) fn apply<'a>(
        &self,
        profile: Option<&ProfileName>,
        source: Source,
        events: impl Iterator<Item = &'a Event> + Clone,
        request_id: Option<RequestId>,
    ) {
        let changes = Changes::of(events.clone());
        self.drop_now(profile, &changes);
        if changes.is_unclear {
            for feed in self.feeds_of(profile) {
                feed.drop_all(&self.cache, source);
            }
        }
        let at = Timestamp::now();
        let mut history = self.history.lock();
        for event in events {
            let (profile, event) = (profile.cloned(), event.clone());
            history.add(Applied { at, profile, source, request_id, event });
        }
        drop(history);
        self.settle_later(profile, source, changes);
        self.work.notify_one();
    }

    pub(super) fn feeds_of(&self, profile: Option<&ProfileName>) -> Vec<Arc<Feed>> {
        let feeds = self.feeds.read();
        match profile {
            Some(profile) => feeds.get(profile).cloned().into_iter().collect(),
            None => feeds.values().cloned().collect(),
        }
    }

    fn drop_now(&self, profile: Option<&ProfileName>, changes: &Changes) {
        let feeds = self.feeds_of(profile);
        let affected = feeds.iter().map(|feed| feed.affected());
        changes.drop_from(&self.cache, &self.relations, affected);
    }

    /// Has changes dropped again. More than there is memory for are as unclear as those that do not say what
    /// changed.
    fn settle_later(&self, profile: Option<&ProfileName>, source: Source, changes: Changes) {
        let due = Instant::now() + *self.settings.settle;
        let mut settling = self.settling.lock();
        let size = settling.size.saturating_add(changes.size());
        let is_room = size <= MOST_SETTLING;
        let changes = if is_room { changes } else { Changes::unclear() };
        if is_room {
            settling.size = size;
        }
        settling.queue.push_back(Again { due, profile: profile.cloned(), source, changes });
    }

    /// Drops again what is due, and returns whether there will be more.
    fn settle(&self) -> bool {
        loop {
            let mut settling = self.settling.lock();
            match settling.queue.front() {
                None => return false,
                Some(again) if again.due > Instant::now() => return true,
                Some(_) => {}
            }
            let Some(again) = settling.queue.pop_front() else { return false };
            let Again { profile, source, changes, .. } = again;
            settling.size = settling.size.saturating_sub(changes.size());
            drop(settling);
            self.drop_now(profile.as_ref(), &changes);
            if changes.is_unclear && source != Source::Webhook {
                // What was fetched since may be from the slow copy. It lives for `ttl`.
                let feeds = self.feeds_of(profile.as_ref());
                for feed in feeds {
                    feed.coherence.restart();
                }
            }
        }
    }

    /// Drops changes again and records what was taken, until it is cancelled.
    pub async fn keep_settling(self: Arc<Self>, ending: CancellationToken) {
        let settling = async {
            loop {
                // At the start there may be some that were left when this was cancelled before, by a reload.
                let mut has_more = true;
                while has_more {
                    tokio::time::sleep(TICK).await;
                    has_more = self.settle();
                    self.record_taken();
                }
                self.work.notified().await;
            }
        };
        let _never: Option<()> = ending.run_until_cancelled(settling).await;
        self.record_taken();
    }

    fn record_taken(&self) {
        self.feeds.read().values().for_each(|feed| feed.record(&self.record));
    }

    /// The state of the notices of each `[profiles.…]` table. Members of a template are one: the worst of each.
    pub fn status(&self) -> Vec<FeedStatus> {
        let mut tables: BTreeMap<ProfileName, FeedStatus> = BTreeMap::new();
        for feed in self.feeds.read().values() {
            let state = feed.state(self.is_log_followed());
            if let Some(known) = tables.get_mut(&feed.table) {
                known.profiles = known.profiles.saturating_add(1);
                known.state = known.state.clone().with(state);
            } else {
                let (profile, sources) = (feed.table.to_string(), Vec::new());
                let status = FeedStatus { profile, profiles: 1, state, sources };
                tables.insert(feed.table.clone(), status);
            }
        }
        for (table, totals) in &*self.totals.lock() {
            if let Some(status) = tables.get_mut(table) {
                let source = |(source, tally): (Source, &Tally)| SourceStatus {
                    source: source.label(),
                    received: tally.received,
                    applied: tally.applied,
                };
                let totals = totals.lock();
                let all = Source::ALL.into_iter().zip(&*totals);
                let is_there = |it: &Source| *it != Source::Fleet || self.cache.fleet().is_some();
                status.sources = all.filter(|(it, _)| is_there(it)).map(source).collect();
            }
        }
        tables.into_values().collect()
    }

    /// The state of the notices of one profile, a member of a template too; `None` if nothing brings any.
    pub fn state(&self, profile: &ProfileName) -> Option<NoticesState> {
        let is_on = self.is_log_followed() || self.settings.webhook.is_some();
        Some(self.feed(profile).filter(|_| is_on)?.state(self.is_log_followed()))
    }

    /// Whether this gateway reads event logs, if nobody does it for all.
    pub(super) fn is_log_read(&self) -> bool {
        self.settings.event_log == EventLogChoice::Poll
    }

    /// Whether something rests on the event log: this gateway reads it, or has a `coherent_ttl` for which others of its
    /// fleet do.
    fn is_log_followed(&self) -> bool {
        let rests = || self.cache.rules().iter().any(|rule| rule.coherent_ttl.is_some());
        self.is_log_read() || (self.cache.fleet().is_some() && rests())
    }

    /// The last events that dropped what is stored under a path, the newest first.
    pub fn dropped(&self, target: &CanonicalTarget) -> Vec<DroppedBy> {
        let path = target.path();
        let operation = match self.catalog.find(&http::Method::GET, path) {
            OperationMatch::Found(operation) => Some(operation),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => None,
        };
        let Some(rule) = self.cache.rule_number(operation.map(AsRef::as_ref), path) else {
            return Vec::new();
        };
        let stored = Stored {
            object: object_of(path),
            collection: operation.and_then(|it| it.collection()).map(str::to_owned),
            is_list: operation.is_some_and(|it| it.is_list()),
            rule,
        };
        let history = self.history.lock();
        let drops = history.newest().filter_map(|applied| {
            Some(applied.as_drop(self.what_it_dropped(&applied.event, &stored)?))
        });
        drops.take(MOST_TOLD).collect()
    }

    fn what_it_dropped(&self, event: &Event, stored: &Stored) -> Option<&'static str> {
        let Some(of_type) = &event.of_type else { return Some("everything") };
        let related = self.relations.of(of_type);
        let is_of_type = related.zip(stored.collection.as_deref()).is_some_and(|(related, own)| {
            related.collections.iter().any(|collection| &**collection == own)
        });
        if event.object.is_some() && event.object == stored.object {
            Some("object")
        } else if is_of_type && stored.is_list {
            Some("lists")
        } else if is_of_type && event.object.is_none() {
            Some("collection")
        } else if related.is_some_and(|related| related.rules.contains(&stored.rule)) {
            Some("dependents")
        } else {
            None
        }
    }
}

impl Feed {
    pub(super) fn affected(&self) -> Affected<'_> {
        Affected { profile: &self.profile, owner: self.owner.as_ref(), coherence: &self.coherence }
    }

    /// Drops everything, once a minute at most. In between, an event of the log makes everything from before
    /// it as old as `ttl` allows, and no more.
    fn drop_all(&self, cache: &Cache, source: Source) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.all_dropped.is_none_or(|last| now.duration_since(last) >= ALL_EVERY) {
            state.all_dropped = Some(now);
            drop(state);
            cache.drop_noticed(self.affected(), Noticed::Everything);
            tracing::warn!(
                profile = %self.profile,
                source = source.label(),
                "an event does not say what changed; everything of the profile is dropped from the cache"
            );
        }
        // A member may have it from a log or from a webhook.
        if source != Source::Webhook {
            self.coherence.restart();
        }
    }

    pub(super) fn count(
        &self,
        source: Source,
        received: usize,
        applied: usize,
        request_id: Option<RequestId>,
        lag: Option<Duration>,
    ) {
        let (received, applied) = (received as u64, applied as u64);
        let mut state = self.state.lock();
        state.lag = lag.or(state.lag);
        for tallies in [&mut state.unrecorded, &mut *self.totals.lock()] {
            if let Some(tally) = tallies.get_mut(source as usize) {
                tally.add(received, applied, request_id);
            }
        }
    }

    /// Records what was applied since the last record.
    fn record(&self, record: &Recorder) {
        let mut state = self.state.lock();
        let lag = state.lag;
        let unrecorded = std::mem::take(&mut state.unrecorded);
        drop(state);
        for (source, tally) in Source::ALL.into_iter().zip(unrecorded) {
            if tally.applied > 0 {
                record(NoticesTaken {
                    time: SystemTime::now(),
                    profile: self.profile.clone(),
                    source: source.label(),
                    received: tally.received,
                    applied: tally.applied,
                    lag,
                    request_id: tally.request_id,
                });
            }
        }
    }

    /// Notes a complete reading.
    pub(super) fn completed(&self, continues: bool, reader: Reader) {
        let age = match &reader {
            Reader::Own => Duration::ZERO,
            Reader::Member(_, began) => began.elapsed(),
        };
        let now = Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN);
        let mut state = self.state.lock();
        let was_stopped = state.stopped.take().is_some();
        state.last_read = Some(now);
        state.reader = Some(reader);
        if !continues || state.complete_since.is_none() {
            state.complete_since = Some(now);
        }
        drop(state);
        if was_stopped {
            tracing::info!(profile = %self.profile, "the event log is read again");
        }
    }

    /// Notes that the log is not read any more.
    pub(super) fn stopped(&self, why: Stopped) {
        let mut state = self.state.lock();
        state.complete_since = None;
        if state.stopped.replace(why) != Some(why) {
            drop(state);
            tracing::error!(
                profile = %self.profile,
                reason = why.label(),
                "the event log cannot be used: {}; stored responses live for `ttl`",
                why.in_words()
            );
        }
    }

    fn state(&self, is_log_followed: bool) -> NoticesState {
        let state = self.state.lock();
        let is_proved = self.coherence.is_proved();
        NoticesState {
            event_log: match state.stopped {
                _ if !is_log_followed => "off",
                Some(_) => "stopped",
                None if is_proved => "complete",
                None => "incomplete",
            },
            proof: state.reader.as_ref().map(|reader| match reader {
                Reader::Own => "own",
                Reader::Member(..) => "fleet",
            }),
            reader: match &state.reader {
                Some(Reader::Member(name, _)) => Some(name.clone()),
                Some(Reader::Own) | None => None,
            },
            stopped: state.stopped,
            complete_since: state.complete_since.filter(|_| is_proved),
            last_read: state.last_read,
            lag_ms: state.lag.and_then(|lag| u64::try_from(lag.as_millis()).ok()),
        }
    }
}

/// From the oldest of the events to `now`.
pub(super) fn lag(events: &[Event], now: Timestamp) -> Option<Duration> {
    let oldest = events.iter().filter_map(|event| event.created_at).min()?;
    Some(Duration::try_from(now.duration_since(oldest)).unwrap_or_default())
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How exact the second drop is, and how often the trail has a line at most.
const TICK: Duration = Duration::from_millis(250);
/// The most objects that wait for their second drop.
const MOST_SETTLING: usize = 50_000;
/// How often everything of a profile is dropped at most.
const ALL_EVERY: Duration = Duration::from_mins(1);
/// The most events that are told of one path.
const MOST_TOLD: usize = 20;
