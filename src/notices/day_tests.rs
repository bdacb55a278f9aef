//! A working day of 200 callers, replayed over the cache with `ttl` alone and with `coherent_ttl`: the figures of
//! the README.
//!
//! The trace is made up once, from a seed. Time is tokio's paused clock, and Pigello a model.
//!
//! | | in the trace |
//! | --- | --- |
//! | objects | 2,000 subtenants, and 40 lists of them (pages and searches) |
//! | reads | 300 of each caller; 15 in 100 are of a list |
//! | popularity | Zipf with the exponent 0.8, as measured at web caches; the same for reads and changes |
//! | hours | most between 7 and 18, a quarter of that at noon and in the evening, few at night (`BY_HOUR`) |
//! | changes past the gateway | 400 of a subtenant, 40 of a connection between a subtenant and a tenant |
//! | changes through the gateway | one of each caller |
//! | Pigello | answers in 80 to 250 ms from a copy that is up to 1 s behind; its log has an event within 1 s |
//!
//! Reads do not depend on each other. Real callers read the same object several times in a row, which raises the
//! share of hits of both. The readings of the log are the same for any number of reads, so the more callers read the
//! less they weigh.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use futures_util::FutureExt as _;
use http::{Method, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Notices, Settings,
    event::{Event, type_name},
    poller::{EventLog, Page, Poller, Setback},
};
use crate::{
    body::Body,
    domain::{Catalog, RequestId, Span},
    proxy::cache::{Rule, tests::harness::Bench},
};

const CALLERS: usize = 200;
const READS: usize = CALLERS * 300;
const OBJECTS: u16 = 2000;
const LISTS: u16 = 40;
const LISTS_IN_100: usize = 15;
const ZIPF: f64 = 0.8;
const CHANGED: usize = 400;
const CONNECTED: usize = 40;
const CHANGED_THROUGH: usize = CALLERS;
/// How much happens in each hour, beside the others.
const BY_HOUR: [f64; 24] = [
    1., 1., 1., 1., 1., 2., 8., 30., 60., 80., 80., 70., // before noon
    20., 60., 80., 80., 60., 40., 20., 20., 10., 5., 2., 1.,
];
/// How far the copy that answers reads is behind at most, and how late the log shows an event.
const MOST_BEHIND: u64 = 1000;
const SEED: u64 = 27;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Object(usize),
    List(usize),
}

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Action {
    Read(Target),
    /// Changes a subtenant in Pigello's own pages.
    Change(usize),
    /// Connects one with a tenant there.
    Connect(usize),
    /// Changes a subtenant through the gateway.
    ChangeThrough(usize),
}

impl Target {
    fn of(path: &str) -> Self {
        if let Some(page) = path.strip_prefix(LIST) {
            return Self::List(page.parse().unwrap());
        }
        let id = Uuid::try_parse(path.rsplit('/').nth(1).unwrap()).unwrap();
        Self::Object(usize::try_from(id.as_u128() - FIRST).unwrap())
    }

    fn path(self) -> String {
        match self {
            Self::Object(object) => format!("/accounts/users/customer/subtenant/{}/", id(object)),
            Self::List(page) => format!("{LIST}{page}"),
        }
    }
}

const LIST: &str = "/accounts/users/customer/subtenant/list/?_page=";
/// The first object's identifier.
const FIRST: u128 = 0x6b7d_1c1e_0a63_4b2f_9d8e_3f6f_0c9a_0000;

fn id(object: usize) -> Uuid {
    Uuid::from_u128(FIRST + object as u128)
}

/// The day: who does what, by milliseconds after midnight.
fn day() -> Vec<(u64, Action)> {
    let mut rng = Rng::with_seed(SEED);
    let (objects, lists) = (Weights::popularity(OBJECTS), Weights::popularity(LISTS));
    let hours = Weights::of(BY_HOUR.into_iter());
    let reads = |rng: &mut Rng| {
        let is_list = rng.usize(..100) < LISTS_IN_100;
        let list = is_list.then(|| Target::List(lists.draw(rng)));
        Action::Read(list.unwrap_or_else(|| Target::Object(objects.draw(rng))))
    };
    let mut day = Vec::new();
    let mut add = |count, action: &dyn Fn(&mut Rng) -> Action| {
        day.extend((0..count).map(|_| {
            let hour = hours.draw(&mut rng) as u64;
            (hour * 3_600_000 + rng.u64(..3_600_000), action(&mut rng))
        }));
    };
    add(READS, &reads);
    add(CHANGED, &|rng| Action::Change(objects.draw(rng)));
    add(CONNECTED, &|rng| Action::Connect(objects.draw(rng)));
    add(CHANGED_THROUGH, &|rng| Action::ChangeThrough(objects.draw(rng)));
    day.sort_by_key(|(time, _)| *time);
    day
}

/// Numbers that are drawn, each as often as its weight says: the sums of the weights.
struct Weights(Vec<f64>);

impl Weights {
    fn of(weights: impl Iterator<Item = f64>) -> Self {
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self(sums.collect())
    }

    /// By Zipf's law.
    fn popularity(count: u16) -> Self {
        Self::of((1..=count).map(|rank| f64::from(rank).powf(-ZIPF)))
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let drawn = rng.f64() * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum <= drawn)
    }
}

/// Pigello: when each subtenant changed, when any did, and its event log.
struct Pigello {
    began: Instant,
    rng: Rng,
    of_objects: Vec<Vec<Instant>>,
    of_all: Vec<Instant>,
    log: Vec<Logged>,
}

struct Logged {
    event: Event,
    visible: Instant,
}

impl Pigello {
    fn new() -> Self {
        let of_objects = vec![Vec::new(); usize::from(OBJECTS)];
        let (began, rng) = (Instant::now(), Rng::with_seed(SEED));
        Self { began, rng, of_objects, of_all: Vec::new(), log: Vec::new() }
    }

    fn time(&self) -> Timestamp {
        let millis = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(2_000_000_000_000 + millis).unwrap()
    }

    /// The time that an answer takes.
    fn takes(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(80..=250))
    }

    fn change(&mut self, object: usize, of_type: &str) {
        let now = Instant::now();
        self.of_objects[object].push(now);
        self.of_all.push(now);
        let number = self.log.len();
        let changed =
            if of_type == "subtenant" { id(object) } else { id(usize::from(OBJECTS) + number) };
        let event = Event {
            id: Some(number.to_string().into()),
            of_type: Some(type_name(of_type)),
            object: Some(changed),
            created_at: Some(self.time()),
        };
        let visible = now + Duration::from_millis(self.rng.u64(..=MOST_BEHIND));
        self.log.push(Logged { event, visible });
    }

    fn changes(&self, target: Target) -> &[Instant] {
        match target {
            Target::Object(object) => &self.of_objects[object],
            Target::List(_) => &self.of_all,
        }
    }

    /// What the copy shows: how many changes it has seen.
    fn read(&mut self, target: Target) -> usize {
        let behind = Duration::from_millis(self.rng.u64(..=MOST_BEHIND));
        self.changes(target).partition_point(|changed| changed.elapsed() >= behind)
    }

    /// How long what was shown is not the newest any more.
    fn age(&self, target: Target, shown: usize) -> Duration {
        self.changes(target).get(shown).map_or(Duration::ZERO, Instant::elapsed)
    }
}

/// Its event log, as the gateway reads it.
struct Log {
    pigello: Arc<Mutex<Pigello>>,
    asked: Arc<AtomicUsize>,
}

impl EventLog for Log {
    async fn page(&self, from: Timestamp, page: u32) -> Result<Page, Setback> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let takes = self.pigello.lock().takes();
        sleep(takes).await;
        let pigello = self.pigello.lock();
        let first = pigello.log.partition_point(|it| it.event.created_at < Some(from));
        let visible = pigello.log[first..].iter().filter(|it| it.visible <= Instant::now());
        let events = visible.skip((page as usize - 1) * 500).take(500);
        let events = events.map(|it| it.event.clone()).collect();
        let date = Timestamp::from_second(pigello.time().as_second()).unwrap();
        Ok(Page { date, events, request_id: RequestId::fresh() })
    }
}

/// What came of a day.
#[derive(Debug, Default)]
struct Figures {
    reads: usize,
    hits: usize,
    /// Reads that Pigello answered.
    fetches: usize,
    /// Pages of the event log that it answered.
    polls: usize,
    /// The longest time that a read showed what was not the newest any more.
    oldest: Duration,
}

/// Replays the day and prints the figures. The log is read if there is a `coherent_ttl`.
#[expect(clippy::print_stdout, clippy::use_debug, reason = "whoever repeats it reads the figures")]
async fn replay(day: &[(u64, Action)], coherent_ttl: Option<Span>) -> Figures {
    let rule = Rule {
        operations: vec!["subtenant.get".parse().unwrap(), "subtenant.list".parse().unwrap()],
        ttl: Span::from_secs(60),
        coherent_ttl,
        depends_on: vec!["subtenanttenantconnection".to_owned()],
        ..Rule::default()
    };
    let bench = Bench::with_rule(rule);
    let pigello = Arc::new(Mutex::new(Pigello::new()));
    let model = Arc::clone(&pigello);
    bench.upstream.answer_with(move |request| {
        let mut pigello = model.lock();
        let (target, takes) = (Target::of(&request.target), pigello.takes());
        if let (&Method::PATCH, Target::Object(object)) = (&request.method, target) {
            pigello.change(object, "subtenant");
        }
        let shown = pigello.read(target).to_string();
        async move {
            sleep(takes).await;
            Response::new(Body::full(shown))
        }
        .boxed()
    });

    let ending = CancellationToken::new();
    let asked = Arc::new(AtomicUsize::new(0));
    if coherent_ttl.is_some() {
        let catalog = Arc::new(Catalog::new([]).unwrap());
        let cache = bench.cache.clone();
        let notices = Notices::new(Settings::default(), cache, catalog, Arc::new(|_| {}));
        notices.keep([&bench.profile].into_iter());
        let feed = notices.feed(&bench.profile.name).unwrap();
        let log = Log { pigello: Arc::clone(&pigello), asked: Arc::clone(&asked) };
        let poller = Poller::new(Arc::clone(&notices), feed, log);
        let readings = async move {
            loop {
                let began = Instant::now();
                let pause = poller.turn().await;
                sleep_until(began + pause).await;
            }
        };
        tokio::spawn(ending.clone().run_until_cancelled_owned(readings));
        tokio::spawn(notices.keep_settling(ending.clone()));
    }

    let midnight = Instant::now();
    let figures = Arc::new(Mutex::new(Figures::default()));
    for (time, action) in day {
        sleep_until(midnight + Duration::from_millis(*time)).await;
        match *action {
            Action::Read(target) => {
                let answer = bench.get(&target.path()).begin();
                let (pigello, figures) = (Arc::clone(&pigello), Arc::clone(&figures));
                tokio::spawn(async move {
                    let answer = answer.await.unwrap().try_finish().await.unwrap();
                    let shown = std::str::from_utf8(&answer.body).unwrap().parse().unwrap();
                    let age = pigello.lock().age(target, shown);
                    let mut figures = figures.lock();
                    figures.reads += 1;
                    figures.hits += usize::from(answer.field("cache-status").contains("; hit"));
                    figures.oldest = figures.oldest.max(age);
                });
            }
            Action::Change(object) => pigello.lock().change(object, "subtenant"),
            Action::Connect(object) => pigello.lock().change(object, "subtenanttenantconnection"),
            Action::ChangeThrough(object) => {
                let path = Target::Object(object).path();
                let answer = bench.request(Method::PATCH, &path).body("{}").begin();
                tokio::spawn(async move { drop(answer.await.unwrap().try_finish().await) });
            }
        }
    }
    sleep_until(midnight + Duration::from_hours(24)).await;
    ending.cancel();
    let figures = std::mem::take(&mut *figures.lock());
    let fetches = bench.upstream.count() - CHANGED_THROUGH;
    let figures = Figures { fetches, polls: asked.load(Ordering::Relaxed), ..figures };
    println!("{figures:?}");
    figures
}

/// Timers have whole milliseconds, so two runs differ a little.
fn assert_near(measured: usize, expected: usize) {
    assert!(measured.abs_diff(expected) * 100 <= expected, "{measured}, and not {expected}");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_200_callers_with_ttl_alone() {
    let figures = replay(&day(), None).await;
    assert_eq!((figures.reads, figures.polls), (60_000, 0));
    assert_near(figures.hits, 11_800);
    assert_near(figures.fetches, 48_100);
    assert!((50..=61).contains(&figures.oldest.as_secs()), "{:?}", figures.oldest);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_200_callers_with_coherent_ttl() {
    let figures = replay(&day(), Some(Span::from_secs(600))).await;
    assert_eq!(figures.reads, 60_000);
    assert_near(figures.hits, 24_400);
    assert_near(figures.fetches, 35_500);
    assert_near(figures.polls, 17_600);
    // Until the log has the change, until it is read, and until the answer is there.
    assert!(figures.oldest < Duration::from_millis(1000 + 5000 + 500), "{:?}", figures.oldest);
}
