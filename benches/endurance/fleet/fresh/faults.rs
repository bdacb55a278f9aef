//! What happens to the gateways and to the store, in a seeded order: each has a clock of its own, so that any fault
//! of one may meet any of the other.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    fleet::{
        relay::Relay,
        store::{Store, StoreKind, Way},
        world::{self, World},
    },
    report::progress,
    versions::Gateways,
};

/// The store with its replica, the ways to it, and what happened.
pub struct Faults {
    seed: u64,
    /// The primary, and its replica.
    stores: [Store; 2],
    /// One for each gateway.
    relays: Vec<Relay>,
    happened: Happened,
}

/// What happened.
struct Happened {
    begun: Instant,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// When a gateway was away.
    away: Mutex<Vec<(Instant, Instant)>>,
}

#[derive(Clone, Copy, Debug)]
enum OfStore {
    Hangs,
    CutOff,
    BackEmpty,
    FailsOver,
}

impl Faults {
    /// A store with a replica, and a way to it for so many gateways.
    pub async fn start(gateways: usize, seed: u64) -> Self {
        let stores = [(); 2].map(|()| world::store(StoreKind::Valkey));
        follow(&stores[1], &stores[0]).await;
        let mut relays = Vec::new();
        for _ in 0..gateways {
            relays.push(Relay::start(stores[0].port()).await);
        }
        let (counts, away) = (Mutex::default(), Mutex::default());
        let happened = Happened { begun: Instant::now(), counts, away };
        Self { seed, stores, relays, happened }
    }

    /// Where that gateway reaches the store.
    pub fn way(&self, gateway: usize) -> Way {
        Way::plain(self.relays[gateway].port())
    }

    /// Lets things go wrong until so many reads were made, and for at least one round.
    pub async fn run(
        &mut self,
        world: &mut World,
        gateways: &Gateways,
        reads: &AtomicU64,
        wanted: u64,
    ) {
        let Self { seed, stores, relays, happened } = self;
        let is_over = || reads.load(Ordering::Relaxed) >= wanted;
        let of_gateways = async {
            let mut rng = Rng::with_seed(*seed);
            while !(is_over() && OF_GATEWAYS.iter().all(|what| happened.has(what))) {
                gateway_fails(world, gateways, happened, &mut rng).await;
            }
        };
        let of_store = async {
            let (mut rng, mut primary) = (Rng::with_seed(*seed + 1), 0);
            loop {
                let mut round = ROUND;
                rng.shuffle(&mut round);
                for next in round {
                    primary = store_fails(next, stores, primary, relays, happened, &mut rng).await;
                }
                if is_over() {
                    return;
                }
            }
        };
        tokio::join!(of_gateways, of_store);
    }

    /// How often each kind happened.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.happened.counts.lock().clone()
    }

    /// The kinds that did not happen.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = OF_GATEWAYS.into_iter().chain([STORE_HANGS, CUT_OFF, BACK_EMPTY, FAILS_OVER]);
        all.filter(|what| !self.happened.has(what)).collect()
    }

    /// Whether a gateway was away when a read failed, or shortly before.
    pub fn explains(&self, failed: Instant) -> bool {
        let away = self.happened.away.lock();
        away.iter().any(|away| away.0 <= failed && failed <= away.1 + RECOVERY)
    }
}

impl Happened {
    fn note(&self, what: &'static str) {
        progress(format_args!("after {:.1} s: {what}", self.begun.elapsed().as_secs_f64()));
        *self.counts.lock().entry(what).or_default() += 1;
    }

    fn has(&self, what: &str) -> bool {
        self.counts.lock().contains_key(what)
    }
}

/// A gateway is killed and started again, or hangs.
async fn gateway_fails(world: &mut World, gateways: &Gateways, happened: &Happened, rng: &mut Rng) {
    calm(rng).await;
    let number = rng.usize(..world.gateways.len());
    let (gateway, is_hub) = (&mut world.gateways[number], number < world::HUBS);
    let from = Instant::now();
    if rng.bool() {
        happened.note(if is_hub { HUB_KILLED } else { MEMBER_KILLED });
        gateway.kill();
        sleep(Duration::from_millis(rng.u64(200..3_000))).await;
        gateway.restart().await;
        gateways.moved(number, gateway.address("main"));
    } else {
        happened.note(if is_hub { HUB_HANGS } else { MEMBER_HANGS });
        gateway.hang();
        sleep(Duration::from_millis(rng.u64(500..9_000))).await;
        gateway.go_on();
    }
    happened.away.lock().push((from, Instant::now()));
}

/// Something happens to the store. Returns which of them is the primary then.
async fn store_fails(
    next: OfStore,
    stores: &mut [Store; 2],
    primary: usize,
    relays: &[Relay],
    happened: &Happened,
    rng: &mut Rng,
) -> usize {
    calm(rng).await;
    let lasts = Duration::from_millis(rng.u64(500..9_000));
    match next {
        OfStore::Hangs => {
            happened.note(STORE_HANGS);
            stores[primary].hang();
            sleep(lasts).await;
            stores[primary].go_on();
        }
        OfStore::CutOff => {
            happened.note(CUT_OFF);
            let cut: Vec<_> = relays.iter().filter(|_| rng.bool()).collect();
            for is_cut in [true, false] {
                for relay in &cut {
                    relay.cut(is_cut);
                }
                sleep(if is_cut { lasts } else { Duration::ZERO }).await;
            }
        }
        OfStore::BackEmpty => {
            happened.note(BACK_EMPTY);
            stores[primary].kill();
            sleep(lasts / 4).await;
            stores[primary].start_again();
        }
        OfStore::FailsOver => {
            happened.note(FAILS_OVER);
            let replica = 1 - primary;
            follow_nobody(&stores[replica]).await;
            // What is told now, the replica does not know.
            sleep(Duration::from_millis(rng.u64(100..1_500))).await;
            stores[primary].kill();
            for relay in relays {
                relay.lead_to(stores[replica].port());
            }
            stores[primary].start_again();
            follow(&stores[primary], &stores[replica]).await;
            return replica;
        }
    }
    primary
}

/// Nothing goes wrong for a while. Mostly long enough that all is well again, but not always.
async fn calm(rng: &mut Rng) {
    sleep(Duration::from_millis(rng.u64(2_000..14_000))).await;
}

async fn follow(replica: &Store, primary: &Store) {
    let mut follow = redis::cmd("REPLICAOF");
    let answer: String = replica.ask(follow.arg("127.0.0.1").arg(primary.port())).await;
    assert_eq!(answer, "OK", "it follows");
}

async fn follow_nobody(replica: &Store) {
    let mut follow = redis::cmd("REPLICAOF");
    let answer: String = replica.ask(follow.arg("NO").arg("ONE")).await;
    assert_eq!(answer, "OK", "it is a primary");
}

const ROUND: [OfStore; 4] =
    [OfStore::Hangs, OfStore::CutOff, OfStore::BackEmpty, OfStore::FailsOver];
const HUB_KILLED: &str = "a hub is killed";
const HUB_HANGS: &str = "a hub hangs";
const MEMBER_KILLED: &str = "a member is killed";
const MEMBER_HANGS: &str = "a member hangs";
const OF_GATEWAYS: [&str; 4] = [HUB_KILLED, HUB_HANGS, MEMBER_KILLED, MEMBER_HANGS];
const STORE_HANGS: &str = "the store hangs";
const CUT_OFF: &str = "some gateways are cut off from the store";
const BACK_EMPTY: &str = "the store is back empty";
const FAILS_OVER: &str = "a replica takes over that has not heard everything";
/// A caller that waited for a gateway notices this much later.
const RECOVERY: Duration = Duration::from_secs(2);
