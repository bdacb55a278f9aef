//! A fleet of a thousand: twenty real gateways, and 980 members of the gateway's own client of the bus, on one real
//! store. How fast is a purge everywhere, how fast a pause, what do calls notice of a store that hangs, and how
//! long does everybody take to come back to one that is empty?

pub mod budget;
mod crowd;
pub mod fresh;
pub mod notices;
mod relay;
pub mod rotation;
pub mod store;
pub mod tier;
mod world;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderValue, Method, StatusCode, header};
use pigello_mock::Fault;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use self::{
    crowd::Crowd,
    store::{Store, StoreKind},
    world::World,
};
use super::{
    Common,
    call::{Caller, LIST},
    load::{Load, Pace, Tally},
    noticed::version_text,
    report::{Report, histogram, progress},
    trail,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many members are nothing but members
    #[arg(long, default_value_t = 980)]
    members: usize,
    /// How many gateways there are
    #[arg(long, default_value_t = 20)]
    gateways: usize,
    /// How many writes are followed to all members
    #[arg(long, default_value_t = 200)]
    writes: usize,
    /// How many windows with the store, and as many with one that hangs
    #[arg(long, default_value_t = 4)]
    windows: u32,
    /// What they share
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet");
    let mut store = world::store(options.store);
    let mut world = World::new(PEOPLE).await;
    for number in 0..options.gateways {
        progress(format_args!("gateway {number}"));
        world.add(common, &store.way(), TABLES).await;
    }
    let crowd = Crowd::start(options.members, world::FLEET, &world.key_file(), &store.way());
    let joined = until_all_hear(&world, &crowd).await;
    report.figure("until all members hear each other after a start (ms)", millis(joined));
    writes(&mut report, &world, &crowd, options).await;
    hot_object(&mut report, &world, &crowd).await;
    hanging_store(&mut report, &world, &store, options).await;
    until_all_hear(&world, &crowd).await;
    // So long that nobody's last connection was a short one.
    sleep(QUIET).await;
    empty_store(&mut report, &world, &crowd, &mut store).await;
    pauses(&mut report, &world, &crowd).await;
    memory(&mut report, &store).await;
    crowd.end().await;
    world.drain().await;
    let verdicts: Vec<_> = world
        .gateways
        .iter()
        .map(|gateway| trail::verify(&common.gateway, &gateway.path("audit")))
        .filter(|verdict| !verdict.is_right)
        .map(|verdict| verdict.text)
        .collect();
    report.promise("`audit verify` finds nothing wrong", verdicts.is_empty(), verdicts.join(", "));
    report
}

/// Waits until every member hears everything, and returns how long that took.
async fn until_all_hear(world: &World, crowd: &Crowd) -> Duration {
    let begun = Instant::now();
    while crowd.hearing() < crowd.len() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{} hear", crowd.hearing());
        sleep(Duration::from_millis(5)).await;
    }
    world.until_hearing().await;
    begun.elapsed()
}

/// Writes through one gateway, and when each member has heard of it and each gateway shows it.
async fn writes(report: &mut Report, world: &World, crowd: &Crowd, options: &Options) {
    let (mut told, mut shown) = (histogram(), histogram());
    let mut missing = 0;
    let mut writer = Caller::new(world.main(0));
    for number in 0..options.writes {
        if number.is_multiple_of(50) {
            progress(format_args!("write {number}"));
        }
        let person = &world.people[number % world.people.len()];
        let version = u32::try_from(number + 1).unwrap();
        let mut readers = JoinSet::new();
        for gateway in 1..world.gateways.len() {
            let reader = reader_of(world, gateway, &person.path).await;
            readers.spawn(until_shown(reader, person.path.clone(), version));
        }
        let body = Bytes::from(json!({ "first_name": version_text(version) }).to_string());
        let answer = writer.call(Method::PATCH, &person.path, body).await.unwrap();
        assert_eq!(answer.status, 200, "the write is made");
        let written = Instant::now();
        let heard = crowd.heard(&person.path, MISSING).await;
        missing += crowd.len() - heard.len();
        for at in heard {
            record(&mut told, at.saturating_duration_since(written));
        }
        for at in readers.join_all().await {
            match at {
                Some(at) => record(&mut shown, at.saturating_duration_since(written)),
                None => missing += 1,
            }
        }
    }
    report.latencies("from the answer to a write until a member has heard of it,", &told);
    report.latencies("until another gateway shows it,", &shown);
    let mut all = told.clone();
    all.add(&shown).unwrap();
    let at = |share| Duration::from_micros(all.value_at_quantile(share));
    let (p50, p99, max) = (at(0.5), at(0.99), Duration::from_micros(all.max()));
    report.promise(
        "a write is known to all members: p50 < 50 ms, p99 < 1 s, max < 5 s",
        missing == 0
            && p50 < Duration::from_millis(50)
            && p99 < Duration::from_secs(1)
            && max < Duration::from_secs(5),
        format_args!("{p50:?}, {p99:?}, {max:?}, {missing} missing"),
    );
}

/// A reader of a gateway that has an object in memory.
async fn reader_of(world: &World, gateway: usize, path: &str) -> Caller {
    let mut reader = Caller::new(world.main(gateway));
    reader.get(path).await.unwrap();
    assert!(reader.get(path).await.unwrap().is_hit(), "it is in memory");
    reader
}

/// Reads an object until it is that version, and returns when it was; `None` if it does not come.
async fn until_shown(mut reader: Caller, path: String, version: u32) -> Option<Instant> {
    let begun = Instant::now();
    loop {
        let answer = reader.get(&path).await.unwrap();
        if first_name(&answer.body) == version_text(version) {
            return Some(Instant::now());
        }
        if begun.elapsed() > MISSING {
            return None;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// An object that everybody wants changes, and everybody asks for it at once.
async fn hot_object(report: &mut Report, world: &World, crowd: &Crowd) {
    let mut writer = Caller::new(world.main(0));
    let mut most = 0;
    for number in 0..HOT {
        let person = &world.people[world.people.len() - 1 - number];
        let mut callers = Vec::new();
        for gateway in 0..world.gateways.len() {
            for _ in 0..CALLERS_OF_HOT {
                let mut caller = Caller::new(world.main(gateway));
                caller.get(&person.path).await.unwrap();
                callers.push(caller);
            }
        }
        let body = Bytes::from(json!({ "first_name": version_text(7_000) }).to_string());
        writer.call(Method::PATCH, &person.path, body).await.unwrap();
        crowd.heard(&person.path, MISSING).await;
        let before = world.pigello().request_count();
        let mut calls = JoinSet::new();
        for mut caller in callers {
            let path = person.path.clone();
            calls.spawn(async move { caller.get(&path).await.unwrap().status });
        }
        let failed = calls.join_all().await.into_iter().filter(|status| *status != 200).count();
        assert_eq!(failed, 0, "every call is answered");
        most = most.max(world.pigello().request_count() - before);
    }
    report.promise(
        "Pigello gets at most 2 calls for an object that all callers of all gateways ask for",
        most <= 2,
        format_args!("{most} at most, for {} calls", CALLERS_OF_HOT * world.gateways.len()),
    );
}

/// Pigello asks one gateway for a pause.
async fn pauses(report: &mut Report, world: &World, crowd: &Crowd) {
    let last = world.gateways.len() - 1;
    let busy = Fault::new().method(Method::GET).path(LIST);
    let busy = busy.status(StatusCode::TOO_MANY_REQUESTS);
    let busy = busy.header(header::RETRY_AFTER, HeaderValue::from_static("5"));
    world.pigello().fault(busy.times(1));
    let answer = Caller::new(world.main(last)).get(LIST).await.unwrap();
    assert_eq!(answer.status, 429, "Pigello asks for a pause");
    let asked = Instant::now();
    let heard = crowd.heard("tenant.list", MISSING).await;
    let missing = crowd.len() - heard.len();
    let latest = heard.iter().map(|at| at.saturating_duration_since(asked)).max();
    let mut slowest = latest.unwrap_or_default();
    for gateway in 0..last {
        let mut caller = Caller::new(world.main(gateway));
        while caller.get(LIST).await.unwrap().status == 200 {
            sleep(Duration::from_millis(1)).await;
        }
        slowest = slowest.max(asked.elapsed());
    }
    report.promise(
        "a pause that one gateway is asked for is one of all members within a second",
        missing == 0 && slowest < Duration::from_secs(1),
        format_args!("{slowest:?}, {missing} missing"),
    );
}

/// Calls, while the store runs and while it hangs, in turns.
async fn hanging_store(report: &mut Report, world: &World, store: &Store, options: &Options) {
    let (mut running, mut hanging) = (Tally::default(), Tally::default());
    window(world).await;
    for number in 0..options.windows {
        progress(format_args!("window {number}"));
        running.merge(window(world).await);
        store.hang();
        // By then it is known to be away.
        sleep(Duration::from_secs(5)).await;
        hanging.merge(window(world).await);
        store.go_on();
        world.until_hearing().await;
    }
    report.latencies("a call while the store runs,", &running.latencies);
    report.latencies("a call while it hangs,", &hanging.latencies);
    let p99 = |tally: &Tally| tally.latencies.value_at_quantile(0.99);
    let more = p99(&hanging).saturating_sub(p99(&running));
    report.promise(
        "p99 of calls is at most 1 ms more while the store hangs",
        more <= 1_000,
        format_args!("{more} µs more"),
    );
    for (name, tally) in [("runs", running), ("hangs", hanging)] {
        let has_failed = tally.successes() < tally.calls();
        report.promise(
            format!("no call fails while the store {name}"),
            !has_failed,
            tally.failures(),
        );
    }
}

/// Calls of one gateway, of which one in three is never answered from memory.
async fn window(world: &World) -> Tally {
    let people = Arc::clone(&world.people);
    let target = move |n: u64| {
        let person = &people[n as usize % people.len()];
        if n.is_multiple_of(3) { LIST.to_owned() } else { person.path.clone() }
    };
    let pace = Pace { callers: 16, rate: Some(CALLS_A_SECOND) };
    let load = Load::start(world.main(0), pace, target);
    sleep(WINDOW).await;
    load.stop().await
}

/// The store is killed, and is back at once with nothing in it. Then it is away for longer.
async fn empty_store(report: &mut Report, world: &World, crowd: &Crowd, store: &mut Store) {
    store.kill();
    store.start_again();
    // Until every member has noticed.
    sleep(Duration::from_secs(1)).await;
    let back = until_all_hear(world, crowd).await;
    let slow: u64 = store.ask(redis::cmd("SLOWLOG").arg("LEN")).await;
    report.figure("processor time of the store until then (ms)", millis(store.process().cpu()));
    report.promise(
        "all members hear each other 15 s after an empty store is there",
        back <= Duration::from_secs(14),
        format_args!("{back:?} and 1 s"),
    );
    report.promise("no command of the store took over 100 ms", slow == 0, slow);
    store.kill();
    sleep(AWAY).await;
    store.start_again();
    let back = until_all_hear(world, crowd).await;
    report.figure("until all members hear each other after an outage of 20 s (ms)", millis(back));
}

async fn memory(report: &mut Report, store: &Store) {
    let members: u64 =
        store.ask(redis::cmd("ZCARD").arg(format!("pgw:{{{}}}:members", world::FLEET))).await;
    report.figure("records of members", members);
    report.figure("memory of the store (KiB)", store.process().resident());
}

fn first_name(body: &[u8]) -> String {
    let person: serde_json::Value = serde_json::from_slice(body).unwrap();
    person["first_name"].as_str().unwrap_or_default().to_owned()
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

const TABLES: &str = "[[cache.rules]]\noperations = [\"subtenant.get\", \"tenant.get\"]\nttl = \"10m\"\nshared = true\n";
const PEOPLE: usize = 300;
/// How many objects everybody wants, one after the other, and how many callers of each gateway do.
const HOT: usize = 10;
const CALLERS_OF_HOT: usize = 50;
/// Who has not heard by then will not.
const MISSING: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_secs(15);
const AWAY: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_secs(8);
const CALLS_A_SECOND: f64 = 300.0;
