//! A model of a fleet: gateways, their store, and all that may happen between them. The law is the same as for one
//! gateway: no read is older than the table in the manual says, through whichever of them.
//!
//! The gateways are whole below their listeners: cache, notices, readings, leases, and the bus over the protocol of a
//! store that goes away, hangs, comes back empty, or loses its end to a replica whose clock is behind. Its channel
//! loses, doubles and delays messages, connections break before and after a message has arrived, and a message can
//! arrive long after its connection broke. Gateways are cut off, killed and started. What may happen to Pigello is in
//! `model_tests`. Time is tokio's paused clock.
//!
//! That it finds faults was checked by putting them in, one at a time. Play finds each of these in the default number of
//! cases, if not in each run:
//!
//! | fault | how |
//! | --- | --- |
//! | a hole in the stream, a message that the channel lost, or a number of a publisher that is missing is not noticed | [`told_and_lost`], [`not_heard`], [`kept_back`] |
//! | what was missed is not read after a reconnect | [`not_heard`] |
//! | a break does not end the proof | [`told_and_lost`] |
//! | the fleet is told of a write before it is done | [`Step::Seen`] |
//! | a tick that was long under way proves as much as any | [`late_tick`] |
//! | a member that begins believes the first tick | [`cold_member`] |
//!
//! These it cannot find:
//!
//! - A proof goes on when the store is lost, or a break leaves it to the next tick to end it: it ends within three
//!   intervals, as the law allows. A test below sees the former.
//! - Ticks of a hub that lost its lease are told and believed: they are true, because it told all events before them.
//!   Tests below see that it reads in vain.
//! - A write is told before it is dropped here: nothing happens between the two.
//! - A tick that waits in a hub is told after its break: no chance was large enough so far.
//! - `asof` is taken when a fetch ends: the shared cache is not in this model, and a response that is outdated by what its
//!   own gateway has heard meanwhile is not stored at all.

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
        self, Key, KeyRing, KeySource, Member, Role, StoreSettings,
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

    /// Its event is so late, and its answer takes so long.
    async fn write_through(&self, number: usize, object: usize, next: (u64, u64)) {
        if let Some(Gateway { scene, .. }) = self.get(number) {
            *scene.next.lock() = next;
            scene.bench.request(Method::PATCH, &path(object)).body("{}").send().await;
        }
    }
}

fn member(number: usize, is_hub: bool, key: &Path) -> Arc<Member> {
    let settings = fleet::Settings {
        name: "model".to_owned(),
        role: if is_hub { Role::Hub } else { Role::Member },
        instance: Some(format!("gateway-{number}")),
        key: KeySource::default(),
        store: StoreSettings { reconnect: Span::from_secs(1), ..StoreSettings::default() },
    };
    let ring = KeyRing::new();
    ring.put(Key::of_file(&fs::read(key).unwrap()).unwrap());
    Member::open(settings, ring).unwrap()
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

/// A gateway, by what it does for the fleet when its turn comes.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// The hub that reads the log.
    Reader,
    /// The other hub.
    Other,
    Member,
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        object: usize,
        delay: u64,
    },
    WriteThrough {
        at: Who,
        object: usize,
        delay: u64,
    },
    Read {
        at: Who,
        what: usize,
        lag: u64,
    },
    ReadSlowly {
        at: Who,
        what: usize,
        lag: u64,
        takes: u64,
    },
    ReadAll,
    Wait {
        millis: u64,
    },
    /// Everything is well for a while, so that all are coherent and have everything in memory.
    Calm,
    Trial(Trial),
    /// In the calm, a write through one is under way while all read. Then all see it.
    Seen {
        at: Who,
        object: usize,
        takes: u64,
    },
    Webhook {
        at: Who,
        events_ago: usize,
        names_profile: bool,
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
    Lose {
        at: Who,
        messages: usize,
    },
    Cut {
        at: Who,
        is_cut: bool,
    },
    Disconnect {
        at: Who,
    },
    Kill {
        at: Who,
    },
    KillHubs,
    End {
        at: Who,
    },
    /// Those that are not there.
    Start,
    Restart {
        at: Who,
    },
    Late {
        at: Who,
        millis: u64,
    },
    Unanswered {
        at: Who,
    },
    Delay {
        at: Who,
        millis: u64,
    },
}

#[derive(Clone, Debug)]
enum StoreStep {
    Stop,
    Start { keeps: bool },
    FailOver { lost: usize, behind: u64 },
    Hang(bool),
    KeepBack { messages: usize },
    Double(bool),
}

/// In the calm, something happens around a change. Much later all read.
#[derive(Clone, Debug)]
struct Trial {
    before: Vec<After>,
    object: usize,
    delay: u64,
    /// A hub that a webhook tells of the change at once.
    told: Option<Who>,
    after: Vec<After>,
    /// All read so long after that, from a copy that is so far behind.
    read: Option<(u64, u64)>,
    /// When all read at last.
    wait: u64,
}

/// A step after a pause in milliseconds.
type After = (u64, Step);

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![8 => single_step(), 1 => trial().prop_map(Step::Trial)]
}

fn anyone() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::Reader), Just(Who::Other), Just(Who::Member)]
}

fn hub() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::Reader), Just(Who::Other)]
}

fn single_step() -> impl Strategy<Value = Step> {
    let (object, what) = (0..OBJECTS, 0..OBJECTS + 2);
    prop_oneof![
        6 => (object.clone(), 0..=LOG_DELAY).prop_map(|(object, delay)| Step::Write { object, delay }),
        2 => (anyone(), object.clone(), 0..=LOG_DELAY)
            .prop_map(|(at, object, delay)| Step::WriteThrough { at, object, delay }),
        6 => (anyone(), what.clone(), 0..=COPY_LAG)
            .prop_map(|(at, what, lag)| Step::Read { at, what, lag }),
        2 => (anyone(), what, 0..=COPY_LAG, 0..=SLOWEST)
            .prop_map(|(at, what, lag, takes)| Step::ReadSlowly { at, what, lag, takes }),
        6 => Just(Step::ReadAll),
        8 => (0..2500_u64).prop_map(|millis| Step::Wait { millis }),
        2 => (2500..20_000_u64).prop_map(|millis| Step::Wait { millis }),
        2 => Just(Step::Calm),
        1 => (anyone(), object, 0..=SLOWEST)
            .prop_map(|(at, object, takes)| Step::Seen { at, object, takes }),
        2 => (hub(), 0..4_usize, any::<bool>()).prop_map(|(at, events_ago, names_profile)| {
            Step::Webhook { at, events_ago, names_profile }
        }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(object, of_type)| Step::Forged { object, of_type }),
        1 => prop_oneof![4 => Just(Log::Works), 1 => Just(Log::Fails), 1 => Just(Log::Forbidden)]
            .prop_map(Step::LogIs),
        1 => (-20_000..20_000_i64).prop_map(|ahead| Step::ClockIs { ahead }),
        16 => mishap(),
    ]
}

/// Something goes wrong, or right again.
fn mishap() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => store_step().prop_map(Step::Store),
        2 => (anyone(), 0..4_usize).prop_map(|(at, messages)| Step::Lose { at, messages }),
        2 => (anyone(), any::<bool>()).prop_map(|(at, is_cut)| Step::Cut { at, is_cut }),
        2 => anyone().prop_map(|at| Step::Disconnect { at }),
        2 => hub().prop_map(|at| Step::Kill { at }),
        1 => Just(Step::KillHubs),
        1 => hub().prop_map(|at| Step::End { at }),
        2 => Just(Step::Start),
        1 => anyone().prop_map(|at| Step::Restart { at }),
        2 => (hub(), 0..30_000_u64).prop_map(|(at, millis)| Step::Late { at, millis }),
        1 => hub().prop_map(|at| Step::Unanswered { at }),
        2 => (anyone(), prop_oneof![Just(0), 0..10_000_u64])
            .prop_map(|(at, millis)| Step::Delay { at, millis }),
        1 => (0..1500_u64).prop_map(|millis| Step::ReadingTakes { millis }),
    ]
}

fn store_step() -> impl Strategy<Value = StoreStep> {
    prop_oneof![
        2 => Just(StoreStep::Stop),
        3 => any::<bool>().prop_map(|keeps| StoreStep::Start { keeps }),
        3 => fail_over(),
        2 => any::<bool>().prop_map(StoreStep::Hang),
        1 => (0..3_usize).prop_map(|messages| StoreStep::KeepBack { messages }),
        1 => any::<bool>().prop_map(StoreStep::Double),
    ]
}

fn fail_over() -> impl Strategy<Value = StoreStep> {
    let lost = prop_oneof![2 => Just(1_usize), 1 => 0..4_usize];
    let behind = prop_oneof![Just(0), 0..5_000_u64];
    (lost, behind).prop_map(|(lost, behind)| StoreStep::FailOver { lost, behind })
}

/// Each is about one thing that the gateways must notice. Chance alone would seldom come to it.
fn trial() -> impl Strategy<Value = Trial> {
    prop_oneof![
        3 => anything(),
        3 => not_heard(),
        4 => told_and_lost(),
        2 => kept_back(),
        2 => waits_while_the_store_is_exchanged(),
        2 => late_tick(),
        2 => cold_member(),
    ]
}

/// A change at that time, and reads from memory when nothing but a proof explains them.
fn change(
    before: impl Strategy<Value = Vec<After>>,
    told: impl Strategy<Value = Option<Who>>,
    after: impl Strategy<Value = Vec<After>>,
) -> impl Strategy<Value = Trial> {
    let wait = prop_oneof![4 => 7_000..10_000_u64, 1 => 10_000..30_000_u64];
    let parts = (before, 0..OBJECTS, 0..=LOG_DELAY, told, after, wait);
    parts.prop_map(|(before, object, delay, told, after, wait)| Trial {
        before,
        object,
        delay,
        told,
        after,
        read: None,
        wait,
    })
}

/// Who tells the fleet. What the reader tells is missed as a number before its next tick.
fn told() -> impl Strategy<Value = Option<Who>> {
    prop_oneof![2 => Just(Some(Who::Other)), 1 => Just(Some(Who::Reader))]
}

fn anything() -> impl Strategy<Value = Trial> {
    let some = || proptest::collection::vec((0..1500_u64, mishap()), 0..3);
    let read = prop::option::of((0..1500_u64, 0..=COPY_LAG));
    (change(some(), prop::option::of(hub()), some()), read)
        .prop_map(|(trial, read)| Trial { read, ..trial })
}

/// The member does not hear of the change when the others do, and is there again before the next tick or after it.
fn not_heard() -> impl Strategy<Value = Trial> {
    let at = Who::Member;
    let deaf = prop_oneof![
        Just(Step::Lose { at, messages: 1 }),
        Just(Step::Disconnect { at }),
        Just(Step::Cut { at, is_cut: true }),
    ];
    let again = (0..1500_u64).prop_map(move |pause| vec![(pause, Step::Cut { at, is_cut: false })]);
    change(deaf.prop_map(|step| vec![(0, step)]), told(), again)
}

/// The store has the message about the change, and loses it before some have heard it.
fn told_and_lost() -> impl Strategy<Value = Trial> {
    let late = prop_oneof![
        2 => Just(vec![Who::Member]),
        1 => Just(vec![Who::Member, Who::Reader]),
        1 => Just(vec![Who::Member, Who::Reader, Who::Other]),
    ];
    let late = late.prop_map(|all| {
        all.into_iter().map(|at| (0, Step::Delay { at, millis: 700 })).collect::<Vec<_>>()
    });
    let loses = prop_oneof![
        3 => fail_over().prop_map(|step| vec![step]),
        1 => Just(vec![StoreStep::Stop, StoreStep::Start { keeps: false }]),
    ];
    let loses = (0..30_u64, loses).prop_map(|(pause, steps)| {
        steps.into_iter().map(|step| (pause, Step::Store(step))).collect::<Vec<_>>()
    });
    change(late, told(), loses)
}

/// Who runs the store keeps the message about the change.
fn kept_back() -> impl Strategy<Value = Trial> {
    let keep =
        (1..3_usize).prop_map(|messages| vec![(0, Step::Store(StoreStep::KeepBack { messages }))]);
    change(keep, told(), Just(Vec::new()))
}

/// A tick waits for a store that hangs, and then for one that has lost what the tick says was told.
fn waits_while_the_store_is_exchanged() -> impl Strategy<Value = Trial> {
    let late = Just(vec![(0, Step::Delay { at: Who::Member, millis: 5_000 })]);
    let after = (0..20_u64, 300..1800_u64, fail_over()).prop_map(|(soon, later, fails)| {
        let steps = [(soon, StoreStep::Hang(true)), (later, fails), (0, StoreStep::Hang(false))];
        steps.map(|(pause, step)| (pause, Step::Store(step))).to_vec()
    });
    change(late, told(), after)
}

/// A tick is under way when nobody is left who reads, and arrives long after the change.
fn late_tick() -> impl Strategy<Value = Trial> {
    let before = (6_500..8_500_u64, 500..1500_u64).prop_map(|(millis, soon)| {
        vec![(0, Step::Late { at: Who::Reader, millis }), (soon, Step::KillHubs)]
    });
    change(before, Just(None), Just(Vec::new()))
}

/// The fleet is told before a member begins, which reads from a copy that is behind.
fn cold_member() -> impl Strategy<Value = Trial> {
    let restart = (0..50_u64).prop_map(|pause| vec![(pause, Step::Restart { at: Who::Member })]);
    let trial = change(Just(Vec::new()), told(), restart);
    (trial, 300..1500_u64).prop_map(|(trial, read_after)| {
        let read = Some((read_after, COPY_LAG));
        Trial { read, ..trial }
    })
}

impl Fleet {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Write { object, delay } => self.world.lock().write(object, delay),
            Step::WriteThrough { at, object, delay } => {
                self.write_through(self.who(at), object, (delay, 0)).await;
            }
            Step::Read { at, what, lag } => drop(self.read(self.who(at), what, lag).await),
            Step::ReadSlowly { at, what, lag, takes } => {
                if let Some(gateway) = self.get(self.who(at)) {
                    gateway.scene.read_slowly(&target(what), lag, takes);
                    tokio::task::yield_now().await;
                }
            }
            Step::ReadAll => self.read_all(0).await,
            Step::Wait { millis } => sleep(Duration::from_millis(millis)).await,
            Step::Calm => self.until_calm().await,
            Step::Trial(trial) => Box::pin(self.try_out(trial)).await,
            Step::Seen { at, object, takes } => self.is_seen(self.who(at), object, takes).await,
            Step::Webhook { at, events_ago, names_profile } => {
                let event = {
                    let world = self.world.lock();
                    world.log.iter().rev().nth(events_ago).map(|logged| logged.event.clone())
                };
                if let Some(Gateway { scene, .. }) = self.get(self.who(at)) {
                    let profile = names_profile.then_some(&scene.feed.profile);
                    scene.notices.take_webhook(profile, event.as_slice());
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
                StoreStep::KeepBack { messages } => self.store.keep_back(messages),
                StoreStep::Double(doubles) => self.store.double(doubles),
            },
            Step::Lose { at, messages } => self.store.lose(self.who(at), messages),
            Step::Cut { at, is_cut } => self.store.cut(self.who(at), is_cut),
            Step::Disconnect { at } => self.store.disconnect(self.who(at)),
            Step::Kill { at } => self.kill(self.who(at)),
            Step::KillHubs => (0..HUBS).for_each(|hub| self.kill(hub)),
            Step::End { at } => self.end(self.who(at)).await,
            Step::Start => self.start_all(),
            Step::Restart { at } => {
                let number = self.who(at);
                self.kill(number);
                self.start(number);
            }
            Step::Late { at, millis } => {
                self.store.make_late(self.who(at), Duration::from_millis(millis));
            }
            Step::Unanswered { at } => self.store.leave_unanswered(self.who(at)),
            Step::Delay { at, millis } => {
                self.store.delay(self.who(at), Duration::from_millis(millis));
            }
        }
    }

    fn who(&self, who: Who) -> usize {
        let reader = self.reader().unwrap_or(0);
        match who {
            Who::Reader => reader,
            Who::Other => HUBS - 1 - reader,
            Who::Member => HUBS,
        }
    }

    async fn try_out(&mut self, trial: Trial) {
        self.until_calm().await;
        for (pause, step) in trial.before {
            sleep(Duration::from_millis(pause)).await;
            self.take(step).await;
        }
        self.world.lock().write(trial.object, trial.delay);
        if let Some(at) = trial.told {
            // The log will have it as well, and the fleet knows that it has been told.
            self.take(Step::Webhook { at, events_ago: 0, names_profile: true }).await;
        }
        for (pause, step) in trial.after {
            sleep(Duration::from_millis(pause)).await;
            self.take(step).await;
        }
        if let Some((pause, lag)) = trial.read {
            sleep(Duration::from_millis(pause)).await;
            self.read_all(lag).await;
        }
        sleep(Duration::from_millis(trial.wait)).await;
        self.read_all(0).await;
    }

    async fn is_seen(&mut self, writer: usize, object: usize, takes: u64) {
        self.until_calm().await;
        let others = async {
            sleep(Duration::from_millis(takes / 2)).await;
            self.read_all(0).await;
        };
        tokio::join!(self.write_through(writer, object, (0, takes)), others);
        // The bus tells it, and all hear it.
        sleep(Duration::from_millis(100)).await;
        for gateway in self.all() {
            let value = gateway.scene.value(&path(object)).await;
            let age = self.world.lock().age(object, value);
            assert!(age.is_zero(), "a write through {writer} is not seen for {age:?}");
        }
    }

    /// Everything is well, all prove, and have everything in memory.
    async fn until_calm(&mut self) {
        self.calm();
        // No event is dropped a second time any more.
        sleep(SETTLE + INTERVAL * 2).await;
        for _ in 0..28 {
            if (0..GATEWAYS).all(|number| self.is_coherent(number)) {
                break;
            }
            sleep(INTERVAL / 4).await;
        }
        self.read_all(0).await;
    }

    /// Nothing is wrong any more.
    fn calm(&mut self) {
        self.world.lock().log_works = Log::Works;
        *self.reading_takes.lock() = 0;
        self.store.mend();
        self.start_all();
    }

    fn start_all(&mut self) {
        for number in 0..GATEWAYS {
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

fn page() -> impl Strategy<Value = usize> {
    prop_oneof![1..5_usize, Just(500)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_read_through_any_gateway_is_older_than_the_table_says(
        page in page(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        run(play(page, steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_read_is_older_when_one_thing_goes_wrong_around_a_change(
        page in page(),
        trials in proptest::collection::vec(trial(), 1..12),
    ) {
        run(play(page, trials.into_iter().map(Step::Trial).collect()));
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
                fleet.kill(reader);
            } else {
                fleet.end(reader).await;
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
        fleet.until(|fleet| fleet.all().all(|it| !it.member.is_hearing())).await;
        assert!(!fleet.is_coherent(HUBS), "it does not wait for the end of the last proof");
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
        fleet.take(Step::Restart { at: Who::Member }).await;
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

#[test]
fn a_message_that_takes_the_id_of_one_that_was_lost_is_another() {
    run(async {
        let mut fleet = Fleet::new().await;
        fleet.until_calm().await;
        fleet.until(|fleet| fleet.reader().is_some()).await;
        fleet.take(Step::Delay { at: Who::Member, millis: 5_000 }).await;
        // Two messages of one millisecond.
        for object in 0..2 {
            fleet.world.lock().write(object, 0);
            let told = Step::Webhook { at: Who::Other, events_ago: 0, names_profile: true };
            fleet.take(told).await;
            let other = Arc::clone(&fleet.get(fleet.who(Who::Other)).unwrap().member);
            assert!(other.is_told_within(INTERVAL).await);
        }
        // The second one is lost. What the member tells has its id, and the hubs see the store only then.
        (0..HUBS).for_each(|hub| fleet.store.cut(hub, true));
        fleet.store.fail_over(1, 5_000);
        fleet.until(|fleet| !fleet.get(HUBS).unwrap().member.is_hearing()).await;
        fleet.until(|fleet| fleet.get(HUBS).unwrap().member.is_hearing()).await;
        fleet.write_through(HUBS, 2, (0, 0)).await;
        (0..HUBS).for_each(|hub| fleet.store.cut(hub, false));
        sleep(Duration::from_secs(9)).await;
        fleet.read_all(0).await;
    });
}
