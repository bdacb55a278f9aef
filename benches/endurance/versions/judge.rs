//! Holds each read to the tables in `docs/src/how-to/fresh-cache.md` and `fleet.md`.
//!
//! A read counts from when it was *begun*, so what passes until the gateway answers is in the gateway's favour.
//! Everything else is exact: when a version was made, when reads and the event log show it, is the mock's word.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use pigello_mock::Change;
use tokio::time::Instant;

/// What was seen of one object by one read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    pub begun: Instant,
    pub gateway: u32,
    pub person: u32,
    pub version: u32,
    pub how: How,
}

/// Where a read came from, by its `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From Pigello, by a fetch that this read began.
    Fetched,
    /// From memory, which is said to be as fresh as the event log.
    Coherent,
    /// From memory, or by another read's fetch, within `ttl`.
    Plain,
    /// From memory, because Pigello is down.
    Stale,
}

impl How {
    pub fn of(cache_status: &str) -> Self {
        if cache_status.contains("detail=coherent") {
            Self::Coherent
        } else if cache_status.contains("; hit; ttl=-") {
            Self::Stale
        } else if cache_status.contains("; hit") || cache_status.contains("collapsed") {
            Self::Plain
        } else {
            Self::Fetched
        }
    }
}

/// A write through the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Through {
    pub gateway: u32,
    pub person: u32,
    pub version: u32,
    /// When its answer was there.
    pub answered: Instant,
}

/// What the gateway was told.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub interval: Duration,
    pub settle: Duration,
    pub ttl: Duration,
    pub stale_if_error: Duration,
    /// The longest time that an answer of Pigello took. A response is fresh from its arrival.
    pub slowest: Duration,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    EventLogIsRead,
    EventLogIsNotRead,
    PigelloIsDown,
    ThroughTheGateway,
    /// No line: what a fetch shows is Pigello's.
    Fetched,
}

impl Line {
    pub const ALL: [Self; 5] = [
        Self::EventLogIsRead,
        Self::EventLogIsNotRead,
        Self::PigelloIsDown,
        Self::ThroughTheGateway,
        Self::Fetched,
    ];

    pub const fn text(self) -> &'static str {
        match self {
            Self::EventLogIsRead => "the event log is read",
            Self::EventLogIsNotRead => "the event log is not read",
            Self::PigelloIsDown => "Pigello is down",
            Self::ThroughTheGateway => "changed through the gateway",
            Self::Fetched => "fetched",
        }
    }
}

/// What became of the reads of one line.
#[derive(Debug, Default)]
pub struct Found {
    pub reads: u64,
    /// Reads that showed a version of which there was a newer one.
    pub old: u64,
    /// Reads that were older than promised.
    pub broken: u64,
    /// The oldest, without Pigello's own delay, and how old it might have been.
    pub worst: Duration,
    pub allowed: Duration,
    /// The first that was older than promised.
    pub example: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, old, broken, worst, allowed, example } = self;
        let (worst, allowed) = (worst.as_millis(), allowed.as_millis());
        write!(
            f,
            "{broken} of {reads} reads; {old} showed an old version, at most {worst} ms after it could be known, \
             {allowed} ms allowed"
        )?;
        example.as_ref().map_or(Ok(()), |example| write!(f, ": {example}"))
    }
}

/// The versions of one object.
#[derive(Debug, Default)]
struct Versions {
    /// By version.
    changes: Vec<Change>,
    /// By version: since when the event log, and reads, show a newer one.
    logged_after: Vec<Instant>,
    readable_after: Vec<Instant>,
    through: Vec<Through>,
}

/// Everything that happened to the objects.
#[derive(Debug)]
pub struct Judge {
    versions: Vec<Versions>,
    /// When the event log was read without a break.
    calm: Vec<(Instant, Instant)>,
    terms: Terms,
}

impl Judge {
    /// `ids` are the objects in their order, and each change of one is its next version.
    pub fn new<'a>(
        ids: impl Iterator<Item = &'a str>,
        changes: Vec<Change>,
        through: Vec<Through>,
        calm: Vec<(Instant, Instant)>,
        terms: Terms,
    ) -> Self {
        let places: HashMap<_, _> = ids.enumerate().map(|(at, id)| (id, at)).collect();
        let mut versions: Vec<_> = places.iter().map(|_| Versions::default()).collect();
        for change in changes {
            if let Some(place) = places.get(change.id.as_str()) {
                versions[*place].changes.push(change);
            }
        }
        for write in through {
            versions[write.person as usize].through.push(write);
        }
        for versions in &mut versions {
            versions.logged_after = earliest_after(&versions.changes, |change| change.logged);
            versions.readable_after = earliest_after(&versions.changes, |change| change.readable);
        }
        Self { versions, calm, terms }
    }

    /// The newest version of each object.
    pub fn newest(&self) -> impl Iterator<Item = usize> {
        self.versions.iter().map(|versions| versions.changes.len().saturating_sub(1))
    }

    pub fn judge(&self, reads: &[Read]) -> BTreeMap<Line, Found> {
        let mut found: BTreeMap<_, Found> =
            Line::ALL.into_iter().map(|line| (line, Found::default())).collect();
        for read in reads {
            for (line, since, allowed) in self.promises(read) {
                let found = found.get_mut(&line).unwrap();
                found.reads += 1;
                let Some(since) = since else { continue };
                found.old += 1;
                let age = read.begun.saturating_duration_since(since);
                if found.allowed < allowed || found.worst < age {
                    (found.worst, found.allowed) = (found.worst.max(age), allowed);
                }
                if read.begun > since + allowed {
                    found.broken += 1;
                    found.example.get_or_insert_with(|| self.describe(read, age, allowed));
                }
            }
        }
        found
    }

    /// What was promised of a read: since when something newer counts, and how much older it may be. No time if it
    /// showed the newest version.
    fn promises(&self, read: &Read) -> Vec<(Line, Option<Instant>, Duration)> {
        let versions = &self.versions[read.person as usize];
        let (begun, version) = (read.begun, read.version as usize);
        let is_old = versions.changes.get(version + 1).is_some_and(|next| next.made <= begun);
        let after = |times: &[Instant]| times.get(version).copied().filter(|_| is_old);
        let (logged, readable) = (after(&versions.logged_after), after(&versions.readable_after));
        let by_log = self.terms.interval * 3 + self.terms.settle;
        let by_ttl = self.terms.ttl + self.terms.slowest;
        let is_calm =
            versions.changes.get(version + 1).is_none_or(|next| self.is_calm(next.made, begun));
        let mut promises = vec![match read.how {
            How::Fetched => (Line::Fetched, readable, Duration::ZERO),
            How::Coherent => (Line::EventLogIsRead, logged, by_log),
            How::Plain => (Line::EventLogIsNotRead, readable, by_ttl),
            How::Stale => (Line::PigelloIsDown, readable, by_ttl + self.terms.stale_if_error),
        }];
        if read.how == How::Plain && is_calm {
            promises.push((Line::EventLogIsRead, logged, by_log));
        }
        // A copy that is behind shows even the writer the past. That is the delay of the lines above.
        let before = versions.through.partition_point(|write| write.answered <= begun);
        let mut before = versions.through[..before].iter().rev();
        if let Some(write) = before.find(|write| write.gateway == read.gateway) {
            let change = &versions.changes[write.version as usize];
            let is_older = read.version < write.version && change.readable == change.made;
            let newest = versions.changes.partition_point(|change| change.made <= begun);
            if is_older || newest == write.version as usize + 1 {
                let since = is_older.then_some(write.answered);
                promises.push((Line::ThroughTheGateway, since, Duration::ZERO));
            }
        }
        promises
    }

    fn is_calm(&self, from: Instant, to: Instant) -> bool {
        self.calm.iter().any(|calm| calm.0 <= from && to <= calm.1)
    }

    /// When the first object was made.
    fn begun(&self) -> Instant {
        self.versions[0].changes[0].made
    }

    fn describe(&self, read: &Read, age: Duration, allowed: Duration) -> String {
        let changes = &self.versions[read.person as usize].changes;
        let next = &changes[read.version as usize + 1];
        let since = |at: Instant| {
            let before = at.saturating_duration_since(read.begun);
            read.begun.saturating_duration_since(at).as_secs_f64() - before.as_secs_f64()
        };
        format!(
            "after {:.1} s {} shows version {} of {}, {:?}; the next one was made {:.3} s before, readable {:.3} s, in the log \
             {:.3} s; {age:?} of {allowed:?}",
            read.begun.duration_since(self.begun()).as_secs_f64(),
            next.id,
            read.version,
            changes.len() - 1,
            read.how,
            since(next.made),
            since(next.readable),
            since(next.logged),
        )
    }
}

/// For each version, the earliest time of any later one.
fn earliest_after(changes: &[Change], time: impl Fn(&Change) -> Instant) -> Vec<Instant> {
    let mut earliest: Vec<Instant> = Vec::with_capacity(changes.len());
    for change in changes.iter().skip(1).rev() {
        let of_later = earliest.last().copied();
        earliest.push(of_later.map_or(time(change), |later| later.min(time(change))));
    }
    earliest.reverse();
    earliest
}
