//! A model of Pigello, of everything that may happen to notices, and of what a read may show: no read is older
//! than the table in the manual says.
//!
//! Pigello answers reads from a copy that lags, its log shows events late, webhooks are lost, doubled and forged,
//! answers are slow, the log fails, is forbidden and comes back, and Pigello's clock is put ahead and back. Time is
//! tokio's paused clock.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use http::{Method, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    EventLogChoice, Notices, Settings,
    event::{Event, type_name},
    feed::Feed,
    poller::{EventLog, Page, Poller, Setback},
    stopped::Stopped,
};
use crate::{
    body::Body,
    domain::{Catalog, RequestId, Span},
    fleet::Member,
    proxy::cache::{self, Rule, tests::harness::Bench},
};

pub(super) const OBJECTS: usize = 3;
pub(super) const TTL: Duration = Duration::from_secs(2);
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// How far the copy that answers reads is behind at most.
pub(super) const COPY_LAG: u64 = 1500;
/// How late the log shows an event at most.
pub(super) const LOG_DELAY: u64 = 1000;
/// The longest time that an answer takes. A response is as fresh as `ttl` says from its arrival.
pub(super) const SLOWEST: u64 = 1500;
/// The tick of the second drop, and one of the proof.
pub(super) const TICKS: Duration = Duration::from_millis(350);

/// What Pigello has.
pub(super) struct World {
    began: Instant,
    /// The values of each object, and since when.
    values: Vec<Vec<(Instant, u64)>>,
    pub(super) log: Vec<Logged>,
    /// The most events of a page.
    pub(super) page: usize,
    pub(super) log_works: Log,
    /// How far its clock is ahead, in milliseconds, and whether a reading has seen that.
    pub(super) ahead: i64,
    pub(super) is_clock_seen: bool,
    /// The readings of its log.
    pub(super) readings: usize,
}

pub(super) struct Logged {
    pub(super) event: Event,
    visible: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Log {
    Works,
    Fails,
    Forbidden,
}

impl World {
    pub(super) fn new() -> Self {
        let began = Instant::now();
        let values = (0..OBJECTS).map(|_| vec![(began, 0)]).collect();
        Self {
            began,
            values,
            log: Vec::new(),
            page: 500,
            log_works: Log::Works,
            ahead: 0,
            is_clock_seen: true,
            readings: 0,
        }
    }

    fn time(&self) -> Timestamp {
        let millis = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(2_000_000_000_000 + millis + self.ahead).unwrap()
    }

    pub(super) fn write(&mut self, object: usize, delay: u64) {
        let next = self.values[object].last().unwrap().1 + 1;
        self.values[object].push((Instant::now(), next));
        let event = Event {
            id: Some(self.log.len().to_string().into()),
            of_type: Some(type_name("accounts.tenant")),
            object: Some(id(object)),
            created_at: Some(self.time()),
        };
        self.log.push(Logged { event, visible: Instant::now() + Duration::from_millis(delay) });
    }

    /// What the copy shows that is so far behind.
    pub(super) fn read(&self, object: usize, lag: u64) -> u64 {
        let at = Instant::now().checked_sub(Duration::from_millis(lag)).unwrap_or(self.began);
        let known = self.values[object].iter().rev().find(|(since, _)| *since <= at);
        known.unwrap_or(&self.values[object][0]).1
    }

    /// How long a value has not been the newest one.
    pub(super) fn age(&self, object: usize, value: u64) -> Duration {
        let next = self.values[object].iter().find(|(_, other)| *other > value);
        next.map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }
}

pub(super) fn id(object: usize) -> Uuid {
    Uuid::from_u128(0x6b7d_1c1e_0a63_4b2f_9d8e_3f6f_0c9a_1e00 + object as u128)
}

pub(super) fn path(object: usize) -> String {
    format!("/accounts/users/customer/tenant/{}/", id(object))
}

pub(super) const LIST: &str = "/accounts/users/customer/tenant/list/?q=1";
/// Has the value of the first object.
const DEPENDENT: &str = "/accounts/users/customer/subtenant/00000000-0000-4000-8000-000000000001/";

/// The gateway's part.
pub(super) struct Scene {
    pub(super) world: Arc<Mutex<World>>,
    /// How far the copy is behind, and how long an answer takes.
    pub(super) next: Arc<Mutex<(u64, u64)>>,
    pub(super) bench: Bench,
    pub(super) notices: Arc<Notices>,
    pub(super) feed: Arc<Feed>,
    /// Ends the second drops, as a reload does.
    pub(super) reload: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        Self::of_member(Arc::new(Mutex::new(World::new())), None)
    }

    /// One of the gateways before the same Pigello.
    pub(super) fn of_member(world: Arc<Mutex<World>>, fleet: Option<Arc<Member>>) -> Self {
        let rule = |operation: &str, depends_on: &[&str]| Rule {
            operations: vec![operation.parse().unwrap()],
            ttl: Span(TTL),
            coherent_ttl: Some(Span::from_secs(3600)),
            depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
            stale_if_error: Span::from_secs(0),
            ..Rule::default()
        };
        let rules = vec![
            rule("tenant.get", &[]),
            rule("tenant.list", &[]),
            rule("subtenant.get", &["tenant"]),
        ];
        let settings = cache::Settings { rules, ..cache::Settings::default() };
        let bench = Bench::of_member(settings, fleet);
        let settings = Settings {
            event_log: EventLogChoice::Poll,
            interval: Span(INTERVAL),
            settle: Span(SETTLE),
            overlap: Span::from_secs(5),
            ..Settings::default()
        };
        let catalog = Arc::new(Catalog::new([]).unwrap());
        let notices = Notices::new(settings, bench.cache.clone(), catalog, Arc::new(|_| {}));
        notices.keep([&bench.profile].into_iter());
        let feed = notices.feed(&bench.profile.name).unwrap();
        let next = Arc::new(Mutex::new((0, 0)));
        let (pigello, lags) = (Arc::clone(&world), Arc::clone(&next));
        bench.upstream.answer_with(move |request| {
            let (lag, takes) = *lags.lock();
            let object = (0..OBJECTS).find(|object| request.target == path(*object));
            if request.method == Method::PATCH {
                let (pigello, object) = (Arc::clone(&pigello), object.unwrap());
                return async move {
                    // It is done when it is answered.
                    sleep(Duration::from_millis(takes)).await;
                    pigello.lock().write(object, lag.min(LOG_DELAY));
                    Response::new(Body::full("{}"))
                }
                .boxed();
            }
            let pigello = pigello.lock();
            let read = |object| pigello.read(object, lag).to_string();
            let body = match object {
                Some(object) => read(object),
                None if request.target == LIST => {
                    (0..OBJECTS).map(read).collect::<Vec<_>>().join(",")
                }
                None => read(0),
            };
            async move {
                sleep(Duration::from_millis(takes)).await;
                Response::new(Body::full(body))
            }
            .boxed()
        });
        let reload = CancellationToken::new();
        tokio::spawn(Arc::clone(&notices).keep_settling(reload.clone()));
        Self { world, next, bench, notices, feed, reload }
    }

    /// Reads a target; what it shows is no older than the table says.
    pub(super) async fn read(&self, target: &str, lag: u64) -> String {
        *self.next.lock() = (lag, 0);
        let was_proved = self.bench.profile.partition.coherence().is_proved();
        let answer = self.bench.get(target).send().await;
        let world = self.world.lock();
        let text = std::str::from_utf8(&answer.body).unwrap();
        let values = text.split(',').map(|value| value.parse::<u64>().unwrap());
        let first = (0..OBJECTS).find(|object| target == path(*object)).unwrap_or(0);
        let oldest = values
            .enumerate()
            .map(|(at, value)| world.age(first + at, value))
            .max()
            .unwrap_or_default();
        let by_ttl = TTL + Duration::from_millis(COPY_LAG + SLOWEST);
        let by_log = Duration::from_millis(LOG_DELAY) + INTERVAL * 3 + SETTLE + TICKS;
        let allowed = if was_proved { by_ttl.max(by_log) } else { by_ttl };
        let status = answer.field("cache-status");
        assert!(oldest <= allowed, "{target} is {oldest:?} old: {status}");
        status
    }

    /// The value of an object in a read that shows what is so now.
    pub(super) async fn value(&self, path: &str) -> u64 {
        *self.next.lock() = (0, 0);
        let answer = self.bench.get(path).send().await;
        std::str::from_utf8(&answer.body).unwrap().parse().unwrap()
    }

    /// Reads a target with an answer that is slow, without waiting for it.
    pub(super) fn read_slowly(&self, target: &str, lag: u64, takes: u64) {
        *self.next.lock() = (lag, takes);
        let answer = self.bench.get(target).begin();
        tokio::spawn(async move { drop(answer.await.unwrap().try_finish().await) });
    }

    async fn poll(&self, takes: u64) {
        let log = ModelLog { world: Arc::clone(&self.world), takes };
        let poller = Poller::new(Arc::clone(&self.notices), Arc::clone(&self.feed), log);
        poller.turn().await;
    }
}

/// The log, whose answers take a while after they are made.
pub(super) struct ModelLog {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) takes: u64,
}

impl EventLog for ModelLog {
    async fn page(&self, from: Timestamp, page: u32) -> Result<Page, Setback> {
        let answer = {
            let mut world = self.world.lock();
            world.readings += 1;
            world.is_clock_seen |= world.log_works == Log::Works;
            let now = Instant::now();
            let mut events: Vec<_> = world
                .log
                .iter()
                .filter(|logged| logged.visible <= now && logged.event.created_at >= Some(from))
                .map(|logged| logged.event.clone())
                .collect();
            events.sort_by_key(|event| event.created_at);
            let skipped = (page as usize - 1) * world.page;
            let events = events.into_iter().skip(skipped).take(world.page).collect();
            let date = Timestamp::from_second(world.time().as_second()).unwrap();
            match world.log_works {
                Log::Works => Ok(Page { date, events, request_id: RequestId::fresh() }),
                Log::Fails => Err(Setback::Failed),
                Log::Forbidden => Err(Setback::Stopped(Stopped::Forbidden)),
            }
        };
        sleep(Duration::from_millis(self.takes)).await;
        answer
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        object: usize,
        delay: u64,
    },
    WriteThrough {
        object: usize,
        delay: u64,
    },
    Read {
        target: usize,
        lag: u64,
    },
    ReadSlowly {
        target: usize,
        lag: u64,
        takes: u64,
    },
    Wait {
        millis: u64,
    },
    Poll {
        takes: u64,
    },
    /// Time passes, with a reading an interval; then everything is read.
    Run {
        intervals: usize,
    },
    Webhook {
        events_ago: usize,
        twice: bool,
    },
    Forged {
        object: bool,
        of_type: bool,
    },
    LogIs(Log),
    /// Pigello's clock is put ahead or back.
    ClockIs {
        ahead: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..OBJECTS;
    prop_oneof![
        4 => (object.clone(), 0..=LOG_DELAY).prop_map(|(object, delay)| Step::Write { object, delay }),
        1 => (object, 0..=LOG_DELAY).prop_map(|(object, delay)| Step::WriteThrough { object, delay }),
        8 => (0..OBJECTS + 2, 0..=COPY_LAG).prop_map(|(target, lag)| Step::Read { target, lag }),
        2 => (0..OBJECTS + 2, 0..=COPY_LAG, 0..=SLOWEST)
            .prop_map(|(target, lag, takes)| Step::ReadSlowly { target, lag, takes }),
        8 => (0..2500_u64).prop_map(|millis| Step::Wait { millis }),
        4 => (0..1500_u64).prop_map(|takes| Step::Poll { takes }),
        6 => (1..10_usize).prop_map(|intervals| Step::Run { intervals }),
        2 => (0..4_usize, any::<bool>())
            .prop_map(|(events_ago, twice)| Step::Webhook { events_ago, twice }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(object, of_type)| Step::Forged { object, of_type }),
        1 => prop_oneof![
            8 => Just(Log::Works),
            1 => Just(Log::Fails),
            1 => Just(Log::Forbidden),
        ].prop_map(Step::LogIs),
        1 => (-20_000..20_000_i64).prop_map(|ahead| Step::ClockIs { ahead }),
    ]
}

pub(super) fn target(number: usize) -> String {
    match number {
        object if object < OBJECTS => path(object),
        OBJECTS => LIST.to_owned(),
        _ => DEPENDENT.to_owned(),
    }
}

async fn play(page: usize, steps: Vec<Step>) {
    let scene = Scene::new();
    scene.world.lock().page = page;
    for step in steps {
        match step {
            Step::Write { object, delay } => scene.world.lock().write(object, delay),
            Step::WriteThrough { object, delay } => {
                *scene.next.lock() = (delay, 0);
                scene.bench.request(Method::PATCH, &path(object)).body("{}").send().await;
            }
            Step::Read { target: number, lag } => {
                scene.read(&target(number), lag).await;
            }
            Step::ReadSlowly { target: number, lag, takes } => {
                scene.read_slowly(&target(number), lag, takes);
                tokio::task::yield_now().await;
            }
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Poll { takes } => scene.poll(takes).await,
            Step::Run { intervals } => {
                for _ in 0..intervals {
                    sleep(INTERVAL).await;
                    scene.poll(0).await;
                }
                for number in 0..OBJECTS + 2 {
                    scene.read(&target(number), 0).await;
                }
            }
            Step::Webhook { events_ago, twice } => {
                let event = {
                    let world = scene.world.lock();
                    world.log.iter().rev().nth(events_ago).map(|logged| logged.event.clone())
                };
                for _ in 0..=usize::from(twice) {
                    scene.notices.take_webhook(None, event.as_slice());
                }
            }
            Step::Forged { object, of_type } => {
                let event = Event {
                    object: object.then(|| id(0)),
                    of_type: of_type.then(|| type_name("tenant")),
                    ..Event::default()
                };
                scene.notices.take_webhook(None, &[event]);
            }
            Step::LogIs(log) => scene.world.lock().log_works = log,
            // What is written while the clock is back, and ahead again before a reading, has an event that is
            // older than the readings overlap. Nobody can know of it.
            Step::ClockIs { ahead } => {
                let mut world = scene.world.lock();
                if std::mem::take(&mut world.is_clock_seen) {
                    world.ahead = ahead;
                }
            }
        }
    }
}

pub(super) fn run(future: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_read_is_older_than_the_table_says(
        page in prop_oneof![1..5_usize, Just(500)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        run(play(page, steps));
    }
}

#[test]
fn a_response_lives_past_its_ttl_while_the_log_is_read_and_no_longer() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        assert!(scene.read(&path(0), 0).await.contains("fwd=miss"));
        for _ in 0..10 {
            sleep(INTERVAL).await;
            scene.poll(0).await;
        }
        let status = scene.read(&path(0), 0).await;
        assert!(status.contains("; hit") && status.contains("detail=coherent"), "{status}");
        // Nobody reads the log.
        sleep(INTERVAL * 3).await;
        assert!(scene.read(&path(0), 0).await.contains("fwd=stale"));
        assert_eq!(scene.bench.upstream.count(), 2);
    });
}

#[test]
fn a_log_that_comes_back_in_time_proves_what_was_stored_before_it_failed() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.read(&path(0), 0).await;
        scene.read(&path(1), 0).await;
        scene.world.lock().log_works = Log::Fails;
        scene.poll(0).await;
        sleep(Duration::from_mins(1)).await;
        scene.world.lock().write(1, 0);
        sleep(Duration::from_mins(1)).await;
        scene.world.lock().log_works = Log::Works;
        scene.poll(0).await;
        assert!(scene.read(&path(0), 0).await.contains("detail=coherent"));
        assert!(scene.read(&path(1), 0).await.contains("fwd=miss"));
    });
}

#[test]
fn a_log_that_is_forbidden_flushes_nothing_and_says_so() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.read(&path(0), 0).await;
        scene.world.lock().log_works = Log::Forbidden;
        scene.poll(0).await;
        let status = scene.read(&path(0), 0).await;
        assert!(status.contains("; hit") && !status.contains("coherent"), "{status}");
        let status = scene.notices.status().remove(0).state;
        assert_eq!((status.stopped, status.complete_since), (Some(Stopped::Forbidden), None));
        scene.world.lock().log_works = Log::Works;
        scene.poll(0).await;
        assert!(!scene.read(&path(0), 0).await.contains("coherent"), "another chain");
    });
}

#[test]
fn an_object_is_dropped_again_for_a_copy_that_was_behind() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.read(&path(0), 0).await;
        scene.world.lock().write(0, 0);
        scene.poll(0).await;
        // The copy has not heard of it.
        assert!(scene.read(&path(0), COPY_LAG).await.contains("fwd=miss"));
        sleep(SETTLE + TICKS).await;
        assert!(scene.read(&path(0), 0).await.contains("fwd=miss"), "dropped a second time");
        sleep(SETTLE + TICKS).await;
        assert!(!scene.read(&path(0), 0).await.contains("fwd=miss"), "and not a third time");
    });
}

#[test]
fn what_is_written_after_the_clock_was_put_back_is_not_missed() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.read(&path(0), 0).await;
        scene.world.lock().log_works = Log::Fails;
        sleep(INTERVAL).await;
        scene.poll(0).await;
        {
            let mut world = scene.world.lock();
            world.ahead = -20_000;
            world.write(0, 0);
        }
        // Longer than the readings overlap, so that no window will begin before the write.
        sleep(Duration::from_secs(10)).await;
        scene.world.lock().log_works = Log::Works;
        for _ in 0..10 {
            scene.poll(0).await;
            scene.read(&path(0), 0).await;
            sleep(INTERVAL).await;
        }
    });
}

#[test]
fn a_reload_forgets_no_second_drop() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.world.lock().write(0, 0);
        scene.poll(0).await;
        scene.read(&path(0), COPY_LAG).await;
        sleep(TICKS).await;
        scene.reload.cancel();
        tokio::spawn(Arc::clone(&scene.notices).keep_settling(CancellationToken::new()));
        // Nothing else happens that would wake it.
        sleep(SETTLE + TICKS).await;
        assert!(scene.read(&path(0), 0).await.contains("fwd=miss"), "dropped a second time");
    });
}

#[test]
fn more_than_can_be_read_at_once_begins_another_chain() {
    run(async {
        let scene = Scene::new();
        scene.poll(0).await;
        scene.read(&path(0), 0).await;
        for _ in 0..50 * 500 {
            scene.world.lock().write(1, 0);
        }
        scene.poll(0).await;
        sleep(INTERVAL * 6).await;
        scene.poll(0).await;
        assert!(scene.bench.profile.partition.coherence().is_proved());
        assert!(scene.read(&path(0), 0).await.contains("fwd=stale"), "of the chain before");
    });
}
