//! A model of a fleet: gateways, their store, and all that may happen between them. The law is the same as for one
//! gateway: no read is older than the table in the manual says, through whichever of them.
//!
//! The gateways are whole below their listeners: cache, notices, readings, leases, and the bus over the protocol of a
//! store that goes away, hangs, comes back empty, or loses its end to a replica whose clock is behind. Its channel
//! loses, doubles and delays messages, connections break before and after a message has arrived, and a message can
//! arrive long after its connection broke. Gateways are cut off, killed and started. What may happen to Pigello is in
//! `model_tests`. Time is tokio's paused clock.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Method;
use parking_lot::Mutex;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    model_tests::{
        COPY_LAG, INTERVAL, LOG_DELAY, Log, ModelLog, OBJECTS, SETTLE, SLOWEST, Scene, World, path,
        run, target,
    },
    poller::Poller,
};
use crate::{
    domain::Span,
    fleet::{
        self, Member, Role, StoreSettings,
        testing::{FakeStore, Way},
    },
};

/// Two hubs, and a member that reads no log.
const HUBS: usize = 2;
const GATEWAYS: usize = 3;

/// A running gateway. What it does ends when it is dropped, as if it was killed.
struct Gateway {
    scene: Scene,
    member: Arc<Member>,
    _tasks: JoinSet<()>,
    ending: CancellationToken,
}

struct Fleet {
    folder: TempDir,
    world: Arc<Mutex<World>>,
    store: FakeStore,
    gateways: Vec<Option<Gateway>>,
    /// How long a reading of the log takes.
    reading_takes: Arc<Mutex<u64>>,
}

impl Fleet {
    /// All are there, and hear each other.
    async fn new() -> Self {
        fastrand::seed(7);
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, BASE64_STANDARD.encode([7; 32])).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let mut fleet = Self {
            folder,
            world: Arc::new(Mutex::new(World::new())),
            store: FakeStore::new(),
            gateways: (0..GATEWAYS).map(|_| None).collect(),
            reading_takes: Arc::default(),
        };
        for number in 0..GATEWAYS {
            fleet.start(number);
        }
        fleet.until(|fleet| fleet.all().all(|it| it.member.is_hearing())).await;
        fleet
    }

    fn start(&mut self, number: usize) {
        let is_hub = number < HUBS;
        let member = member(number, is_hub, &self.folder.path().join("key"));
        member.lead_to(Way { store: self.store.clone(), client: number });
        let scene = Scene::of_member(Arc::clone(&self.world), Some(Arc::clone(&member)));
        member.hear_for(Arc::clone(&scene.notices));
        let ending = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&member).run(ending.clone()));
        if is_hub {
            let log = SharedLog {
                world: Arc::clone(&self.world),
                takes: Arc::clone(&self.reading_takes),
            };
            let poller = Poller::new(Arc::clone(&scene.notices), Arc::clone(&scene.feed), log);
            tasks.spawn(poller.run());
            let notices = Arc::clone(&scene.notices);
            tasks.spawn(async move {
                loop {
                    notices.want_to_read();
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
        self.gateways[number] = Some(Gateway { scene, member, _tasks: tasks, ending });
    }

    fn kill(&mut self, number: usize) {
        self.gateways[number] = None;
        self.store.disconnect(number);
    }

    /// It ends as it should, and gives back what it has.
    async fn end(&mut self, number: usize) {
        if let Some(gateway) = &self.gateways[number] {
            gateway.ending.cancel();
            sleep(Duration::from_millis(10)).await;
        }
        self.kill(number);
    }

    fn all(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().flatten()
    }

    fn get(&self, number: usize) -> Option<&Gateway> {
        self.gateways[number].as_ref()
    }

    /// Waits until it is so.
    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if is_so(self) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let states: Vec<_> =
            self.all().map(|it| (it.member.status(), it.scene.notices.status())).collect();
        panic!("it does not come to that: {states:#?}");
    }

    fn is_coherent(&self, number: usize) -> bool {
        self.get(number).is_some_and(|it| it.scene.bench.profile.partition.coherence().is_proved())
    }

    async fn until_coherent(&self) {
        self.until(|fleet| {
            (0..GATEWAYS).all(|number| fleet.get(number).is_none() || fleet.is_coherent(number))
        })
        .await;
    }

    /// The hub that reads for all.
    fn reader(&self) -> Option<usize> {
        (0..HUBS).find(|number| {
            self.get(*number).is_some_and(|it| it.member.reads(&it.scene.feed.profile))
        })
    }

    async fn read(&self, number: usize, what: usize, lag: u64) -> String {
        match self.get(number) {
            Some(gateway) => gateway.scene.read(&target(what), lag).await,
            None => String::new(),
        }
    }

    async fn write_through(&self, number: usize, object: usize, delay: u64) {
        if let Some(Gateway { scene, .. }) = self.get(number) {
            *scene.next.lock() = (delay, 0);
            scene.bench.request(Method::PATCH, &path(object)).body("{}").send().await;
        }
    }
}

fn member(number: usize, is_hub: bool, key: &Path) -> Arc<Member> {
    let settings = fleet::Settings {
        name: "model".to_owned(),
        role: if is_hub { Role::Hub } else { Role::Member },
        instance: None,
        key_file: key.to_owned(),
        store: StoreSettings { reconnect: Span::from_secs(1), ..StoreSettings::default() },
    };
    Member::open(settings, &format!("gateway-{number}")).unwrap()
}

/// The log, whose readings take as long as the last step says.
struct SharedLog {
    world: Arc<Mutex<World>>,
    takes: Arc<Mutex<u64>>,
}

impl super::poller::EventLog for SharedLog {
    async fn page(
        &self,
        from: jiff::Timestamp,
        page: u32,
    ) -> Result<super::poller::Page, super::poller::Setback> {
        let takes = *self.takes.lock();
        ModelLog { world: Arc::clone(&self.world), takes }.page(from, page).await
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        object: usize,
        delay: u64,
    },
    WriteThrough {
        at: usize,
        object: usize,
        delay: u64,
    },
    Read {
        at: usize,
        what: usize,
        lag: u64,
    },
    ReadSlowly {
        at: usize,
        what: usize,
        lag: u64,
        takes: u64,
    },
    ReadAll,
    Wait {
        millis: u64,
    },
    /// Everything is well for a while, so that all are coherent.
    Calm,
    /// While all are coherent and have everything in memory, an object changes, and something happens soon after.
    Trial {
        object: usize,
        delay: u64,
        happens_after: u64,
        what: Box<Step>,
        read_after: u64,
        lag: u64,
        millis: u64,
    },
    Webhook {
        at: usize,
        events_ago: usize,
    },
    Forged {
        object: bool,
        of_type: bool,
    },
    LogIs(Log),
    ReadingTakes {
        millis: u64,
    },
    ClockIs {
        ahead: i64,
    },
    Store(StoreStep),
    Cut {
        at: usize,
        is_cut: bool,
    },
    Disconnect {
        at: usize,
    },
    Kill {
        at: usize,
    },
    End {
        at: usize,
    },
    Start {
        at: usize,
    },
    Restart {
        at: usize,
    },
    Late {
        at: usize,
        millis: u64,
    },
    Unanswered {
        at: usize,
    },
    Delay {
        at: usize,
        millis: u64,
    },
}

#[derive(Clone, Debug)]
enum StoreStep {
    Stop,
    Start { keeps: bool },
    FailOver { lost: usize, behind: u64 },
    Hang(bool),
    Lose { messages: usize },
    Double(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let millis = prop_oneof![4 => 0..4_000_u64, 1 => 4_000..30_000_u64];
    let soon = || 0..1500_u64;
    let trial = (0..OBJECTS, 0..=LOG_DELAY, soon(), single_step(), soon(), 0..=COPY_LAG, millis);
    let trial = trial.prop_map(|(object, delay, happens_after, what, read_after, lag, millis)| {
        Step::Trial { object, delay, happens_after, what: Box::new(what), read_after, lag, millis }
    });
    prop_oneof![3 => single_step(), 1 => trial]
}

fn single_step() -> impl Strategy<Value = Step> {
    let (object, at, hub) = (0..OBJECTS, 0..GATEWAYS, 0..HUBS);
    let what = 0..OBJECTS + 2;
    prop_oneof![
        6 => (object.clone(), 0..=LOG_DELAY).prop_map(|(object, delay)| Step::Write { object, delay }),
        2 => (at.clone(), object, 0..=LOG_DELAY)
            .prop_map(|(at, object, delay)| Step::WriteThrough { at, object, delay }),
        6 => (at.clone(), what.clone(), 0..=COPY_LAG)
            .prop_map(|(at, what, lag)| Step::Read { at, what, lag }),
        2 => (at.clone(), what, 0..=COPY_LAG, 0..=SLOWEST)
            .prop_map(|(at, what, lag, takes)| Step::ReadSlowly { at, what, lag, takes }),
        6 => Just(Step::ReadAll),
        8 => (0..2500_u64).prop_map(|millis| Step::Wait { millis }),
        2 => (2500..20_000_u64).prop_map(|millis| Step::Wait { millis }),
        5 => Just(Step::Calm),
        2 => (at.clone(), 0..4_usize).prop_map(|(at, events_ago)| Step::Webhook { at, events_ago }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(object, of_type)| Step::Forged { object, of_type }),
        1 => prop_oneof![4 => Just(Log::Works), 1 => Just(Log::Fails), 1 => Just(Log::Forbidden)]
            .prop_map(Step::LogIs),
        1 => (0..1500_u64).prop_map(|millis| Step::ReadingTakes { millis }),
        1 => (-20_000..20_000_i64).prop_map(|ahead| Step::ClockIs { ahead }),
        6 => store_step().prop_map(Step::Store),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, is_cut)| Step::Cut { at, is_cut }),
        2 => at.clone().prop_map(|at| Step::Disconnect { at }),
        2 => hub.clone().prop_map(|at| Step::Kill { at }),
        1 => hub.clone().prop_map(|at| Step::End { at }),
        2 => at.clone().prop_map(|at| Step::Start { at }),
        1 => at.clone().prop_map(|at| Step::Restart { at }),
        2 => (hub.clone(), 0..30_000_u64).prop_map(|(at, millis)| Step::Late { at, millis }),
        1 => hub.prop_map(|at| Step::Unanswered { at }),
        2 => (at, prop_oneof![Just(0), 0..10_000_u64])
            .prop_map(|(at, millis)| Step::Delay { at, millis }),
    ]
}

fn store_step() -> impl Strategy<Value = StoreStep> {
    prop_oneof![
        2 => Just(StoreStep::Stop),
        3 => any::<bool>().prop_map(|keeps| StoreStep::Start { keeps }),
        3 => (0..4_usize, prop_oneof![Just(0), 0..5_000_u64])
            .prop_map(|(lost, behind)| StoreStep::FailOver { lost, behind }),
        2 => any::<bool>().prop_map(StoreStep::Hang),
        2 => (0..4_usize).prop_map(|messages| StoreStep::Lose { messages }),
        1 => any::<bool>().prop_map(StoreStep::Double),
    ]
}

impl Fleet {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Write { object, delay } => self.world.lock().write(object, delay),
            Step::WriteThrough { at, object, delay } => self.write_through(at, object, delay).await,
            Step::Read { at, what, lag } => drop(self.read(at, what, lag).await),
            Step::ReadSlowly { at, what, lag, takes } => {
                if let Some(gateway) = self.get(at) {
                    gateway.scene.read_slowly(&target(what), lag, takes);
                    tokio::task::yield_now().await;
                }
            }
            Step::ReadAll => self.read_all(0).await,
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Calm => {
                self.calm();
                sleep(Duration::from_secs(10)).await;
                self.read_all(0).await;
            }
            Step::Trial { object, delay, happens_after, what, read_after, lag, millis } => {
                Box::pin(self.take(Step::Calm)).await;
                self.world.lock().write(object, delay);
                sleep(Duration::from_millis(happens_after)).await;
                Box::pin(self.take(*what)).await;
                sleep(Duration::from_millis(read_after)).await;
                self.read_all(lag).await;
                sleep(Duration::from_millis(millis)).await;
                self.read_all(0).await;
            }
            Step::Webhook { at, events_ago } => {
                let event = {
                    let world = self.world.lock();
                    world.log.iter().rev().nth(events_ago).map(|logged| logged.event.clone())
                };
                if let Some(gateway) = self.get(at) {
                    gateway.scene.notices.take_webhook(None, event.as_slice());
                }
            }
            Step::Forged { object, of_type } => {
                let event = super::event::Event {
                    object: object.then(|| uuid::Uuid::from_u128(1)),
                    of_type: of_type.then(|| "tenant".into()),
                    ..Default::default()
                };
                if let Some(gateway) = self.all().next() {
                    gateway.scene.notices.take_webhook(None, &[event]);
                }
            }
            Step::LogIs(log) => self.world.lock().log_works = log,
            Step::ReadingTakes { millis } => *self.reading_takes.lock() = millis,
            Step::ClockIs { ahead } => {
                let mut world = self.world.lock();
                if std::mem::take(&mut world.is_clock_seen) {
                    world.ahead = ahead;
                }
            }
            Step::Store(step) => match step {
                StoreStep::Stop => self.store.stop(),
                StoreStep::Start { keeps } => self.store.start(keeps),
                StoreStep::FailOver { lost, behind } => self.store.fail_over(lost, behind),
                StoreStep::Hang(hangs) => self.store.hang(hangs),
                StoreStep::Lose { messages } => self.store.lose(messages),
                StoreStep::Double(doubles) => self.store.double(doubles),
            },
            Step::Cut { at, is_cut } => self.store.cut(at, is_cut),
            Step::Disconnect { at } => self.store.disconnect(at),
            Step::Kill { at } => self.kill(at),
            Step::End { at } => self.end(at).await,
            Step::Start { at } if self.get(at).is_none() => self.start(at),
            Step::Start { .. } => {}
            Step::Restart { at } => {
                self.kill(at);
                self.start(at);
            }
            Step::Late { at, millis } => self.store.make_late(at, Duration::from_millis(millis)),
            Step::Unanswered { at } => self.store.leave_unanswered(at),
            Step::Delay { at, millis } => self.store.delay(at, Duration::from_millis(millis)),
        }
    }

    /// Nothing is wrong any more.
    fn calm(&mut self) {
        self.world.lock().log_works = Log::Works;
        *self.reading_takes.lock() = 0;
        self.store.hang(false);
        self.store.lose(0);
        self.store.double(false);
        self.store.start(true);
        for number in 0..GATEWAYS {
            self.store.cut(number, false);
            self.store.delay(number, Duration::ZERO);
            if self.get(number).is_none() {
                self.start(number);
            }
        }
    }

    async fn read_all(&self, lag: u64) {
        for number in 0..GATEWAYS {
            for what in 0..OBJECTS + 2 {
                self.read(number, what, lag).await;
            }
        }
    }
}

async fn play(page: usize, steps: Vec<Step>) {
    let mut fleet = Fleet::new().await;
    fleet.world.lock().page = page;
    for step in steps {
        fleet.take(step).await;
    }
    fleet.read_all(0).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_read_through_any_gateway_is_older_than_the_table_says(
        page in prop_oneof![1..5_usize, Just(500)],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        run(play(page, steps));
    }
}

/// A hit that `ttl` does not explain.
fn is_coherent_hit(status: &str) -> bool {
    status.contains("; hit") && status.contains("detail=coherent")
}

#[test]
fn one_reads_for_all_and_all_are_coherent() {
    run(async {
        let fleet = Fleet::new().await;
        fleet.until_coherent().await;
        sleep(SETTLE).await;
        let before = fleet.world.lock().readings;
        for number in 0..GATEWAYS {
            fleet.read(number, 0, 0).await;
        }
        sleep(Duration::from_secs(30)).await;
        let readings = fleet.world.lock().readings - before;
        // Each reading has two pages while there are events, and one otherwise.
        assert!((25..=65).contains(&readings), "{readings} readings in 30 intervals");
        for number in 0..GATEWAYS {
            let status = fleet.read(number, 0, 0).await;
            assert!(is_coherent_hit(&status), "{number}: {status}");
        }
        fleet.world.lock().write(0, 0);
        sleep(INTERVAL * 2).await;
        for number in 0..GATEWAYS {
            let status = fleet.read(number, 0, 0).await;
            assert!(status.contains("fwd=miss"), "{number}: {status}");
        }
    });
}

#[test]
fn another_reader_goes_on_where_the_last_one_ended() {
    run(async {
        for is_killed in [true, false] {
            let mut fleet = Fleet::new().await;
            fleet.until_coherent().await;
            fleet.until(|fleet| fleet.reader().is_some()).await;
            sleep(SETTLE + INTERVAL * 3).await;
            let reader = fleet.reader().unwrap();
            let member = GATEWAYS - 1;
            for what in 0..OBJECTS {
                fleet.read(member, what, 0).await;
            }
            if is_killed {
                fleet.kill(reader)
            } else {
                fleet.end(reader).await
            }
            fleet.world.lock().write(1, 0);
            fleet.until(|fleet| fleet.reader().is_some()).await;
            fleet.until_coherent().await;
            sleep(INTERVAL * 3).await;
            assert_ne!(fleet.reader(), Some(reader));
            let status = fleet.read(member, 0, 0).await;
            assert!(
                is_coherent_hit(&status),
                "what was stored before is of the same chain: {status}"
            );
            assert!(fleet.read(member, 1, 0).await.contains("fwd=miss"), "and the change is known");
        }
    });
}

#[test]
fn without_the_store_hubs_read_for_themselves_and_members_do_not() {
    run(async {
        let fleet = Fleet::new().await;
        fleet.until_coherent().await;
        sleep(SETTLE + INTERVAL * 3).await;
        for number in 0..GATEWAYS {
            fleet.read(number, 0, 0).await;
        }
        fleet.store.stop();
        sleep(Duration::from_secs(10)).await;
        for number in 0..HUBS {
            assert!(is_coherent_hit(&fleet.read(number, 0, 0).await), "{number}");
        }
        let status = fleet.read(HUBS, 0, 0).await;
        assert!(status.contains("fwd=stale"), "it lives for `ttl`: {status}");
        fleet.world.lock().write(1, 0);
        fleet.store.start(true);
        fleet.until_coherent().await;
        sleep(INTERVAL * 2).await;
        assert!(is_coherent_hit(&fleet.read(HUBS, 0, 0).await), "everything was heard after all");
        fleet.store.stop();
        sleep(Duration::from_secs(10)).await;
        fleet.store.start(false);
        sleep(Duration::from_secs(10)).await;
        fleet.until_coherent().await;
        let status = fleet.read(HUBS, 0, 0).await;
        assert!(
            status.contains("fwd=stale"),
            "a store that comes back empty begins anew: {status}"
        );
    });
}

#[test]
fn a_reader_that_cannot_read_leaves_it_to_the_other() {
    run(async {
        let fleet = Fleet::new().await;
        fleet.until_coherent().await;
        fleet.until(|fleet| fleet.reader().is_some()).await;
        let reader = fleet.reader().unwrap();
        fleet.world.lock().log_works = Log::Fails;
        fleet.until(|fleet| fleet.reader().is_some_and(|it| it != reader)).await;
        fleet.world.lock().log_works = Log::Works;
        fleet.until_coherent().await;
    });
}

#[test]
fn what_a_copy_shows_that_is_behind_is_not_proved_by_who_has_just_begun() {
    run(async {
        let mut fleet = Fleet::new().await;
        fleet.until_coherent().await;
        sleep(SETTLE + INTERVAL * 3).await;
        let readings = fleet.world.lock().readings;
        fleet.until(|fleet| fleet.world.lock().readings > readings).await;
        // The fleet is told of it before the member begins, so it will not hear of it.
        fleet.world.lock().write(0, 0);
        let event = fleet.world.lock().log[0].event.clone();
        let hub = &fleet.get(0).unwrap().scene;
        hub.notices.take_webhook(Some(&hub.feed.profile), &[event]);
        sleep(Duration::from_millis(20)).await;
        fleet.take(Step::Restart { at: HUBS }).await;
        // There is a tick by now.
        sleep(Duration::from_millis(1_200)).await;
        fleet.read(HUBS, 0, COPY_LAG).await;
        sleep(Duration::from_secs(8)).await;
        assert!(fleet.is_coherent(HUBS));
        fleet.read(HUBS, 0, 0).await;
    });
}

#[test]
fn a_tick_that_arrives_late_proves_nothing() {
    run(async {
        let mut fleet = Fleet::new().await;
        fleet.until_coherent().await;
        sleep(SETTLE + INTERVAL * 3).await;
        let reader = fleet.reader().unwrap();
        fleet.read(HUBS, 0, 0).await;
        fleet.store.make_late(reader, Duration::from_secs(20));
        // It dies before it can send it again.
        fleet.until(|fleet| !fleet.get(reader).unwrap().member.is_hearing()).await;
        fleet.kill(reader);
        fleet.kill(1 - reader);
        fleet.world.lock().write(0, 0);
        // The store has it now, and the member hears it.
        sleep(Duration::from_millis(20_500)).await;
        assert!(!fleet.is_coherent(HUBS));
        fleet.read(HUBS, 0, 0).await;
    });
}
