//! Objects whose `first_name` says which version they are, and those who read and change them: through one gateway
//! or several, and past all of them. [`judge`] holds each read to what is promised.

pub mod judge;

use std::{
    borrow::Cow,
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use pigello_mock::{ActivationHandle, Change};
use serde::Deserialize;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::judge::{How, Read, Through};
use super::{
    call::Caller,
    load::{Clock, Pace, Tally},
    noticed::{Person, version_of, version_text},
    report::progress,
};

/// The objects, Pigello, and the gateways in front of it.
#[derive(Clone)]
pub struct Scene {
    pub people: Arc<[Person]>,
    pub activation: ActivationHandle,
    pub gateways: Gateways,
}

/// Where each gateway listens now. One that is started again has another address.
#[derive(Clone)]
pub struct Gateways(Arc<[Mutex<SocketAddr>]>);

impl Gateways {
    pub fn new(addresses: impl Iterator<Item = SocketAddr>) -> Self {
        Self(addresses.map(Mutex::new).collect())
    }

    pub fn moved(&self, gateway: usize, address: SocketAddr) {
        *self.0[gateway].lock() = address;
    }

    fn caller(&self, gateway: usize) -> Caller {
        Caller::new(*self.0[gateway].lock())
    }
}

/// What one caller saw.
#[derive(Debug, Default)]
pub struct Seen {
    gateway: u32,
    pub tally: Tally,
    pub reads: Vec<Read>,
    pub slowest: Duration,
    pub hits: u64,
    pub coherent: u64,
    /// When the answer was there of a read that failed.
    pub failed: Vec<Instant>,
}

/// What one writer did.
#[derive(Debug, Default)]
pub struct Written {
    pub elsewhere: u64,
    pub through: Vec<Through>,
    pub failed: Vec<String>,
}

impl Scene {
    /// Callers who read through all gateways in turn, until they are stopped. `next` counts the reads.
    pub fn readers(
        &self,
        callers: usize,
        next: &Arc<AtomicU64>,
        stop: &CancellationToken,
    ) -> JoinSet<Seen> {
        let people = self.people.iter().enumerate();
        let places: Arc<HashMap<String, u32>> =
            Arc::new(people.map(|(at, person)| (person.id.clone(), at as u32)).collect());
        let mut readers = JoinSet::new();
        for number in 0..callers {
            let (scene, places) = (self.clone(), Arc::clone(&places));
            let (next, stop) = (Arc::clone(next), stop.clone());
            readers.spawn(async move {
                let gateway = number % scene.gateways.0.len();
                let mut caller = scene.gateways.caller(gateway);
                let mut seen = Seen { gateway: gateway as u32, ..Seen::default() };
                while !stop.is_cancelled() {
                    if !seen.read(&mut caller, &scene.people, &places).await {
                        // A caller who fails is no faster for it.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        caller = scene.gateways.caller(gateway);
                        continue;
                    }
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n.is_multiple_of(100_000) {
                        progress(format_args!("read {n}"));
                    }
                }
                seen
            });
        }
        readers
    }

    /// Callers who change objects at Pigello and through the gateways, so many a second, until they are stopped.
    pub fn writers(&self, rate: f64, seed: u64, stop: &CancellationToken) -> JoinSet<Written> {
        let pace = Pace { callers: WRITERS, rate: Some(rate) };
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let (scene, stop) = (self.clone(), stop.clone());
            let mut rng = fastrand::Rng::with_seed(seed + number as u64);
            writers.spawn(async move {
                let mut written = Written::default();
                let mut clock = Clock::new(pace, number as u64);
                // Each object has one writer, so that its changes have an order.
                let mut own: Vec<usize> = (number..scene.people.len()).step_by(WRITERS).collect();
                let mut versions = vec![0; scene.people.len()];
                let mut callers: Vec<_> = (0..scene.gateways.0.len())
                    .map(|gateway| scene.gateways.caller(gateway))
                    .collect();
                while clock.next(&stop).await.is_some() && !own.is_empty() {
                    let place = rng.usize(..own.len());
                    let person = own[place];
                    versions[person] += 1;
                    let version = versions[person];
                    if rng.bool() {
                        scene.write_elsewhere(person, version);
                        written.elsewhere += 1;
                        continue;
                    }
                    let gateway = rng.usize(..callers.len());
                    match scene.write(&mut callers[gateway], person, version).await {
                        Ok(answered) => {
                            let (person, gateway) = (person as u32, gateway as u32);
                            written.through.push(Through { gateway, person, version, answered });
                        }
                        Err(failed) => {
                            written.failed.push(failed);
                            callers[gateway] = scene.gateways.caller(gateway);
                            // Nobody knows which version it has now.
                            own.swap_remove(place);
                        }
                    }
                }
                written
            });
        }
        writers
    }

    /// Collects the changes while they are made.
    pub async fn changes(self, stop: CancellationToken) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        loop {
            let is_last = stop.is_cancelled();
            let last = changes.last().map_or(0, |change| change.number);
            changes.extend(self.activation.changes(last));
            if is_last {
                return changes;
            }
            stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
        }
    }

    fn write_elsewhere(&self, person: usize, version: u32) {
        let body = json!({ "first_name": version_text(version) });
        let path = &self.people[person].path;
        let (status, answer) = self.activation.elsewhere(Method::PATCH, path, &body);
        assert_eq!(status, 200, "{answer}");
    }

    /// Writes through a gateway, and returns when its answer was there.
    async fn write(
        &self,
        caller: &mut Caller,
        person: usize,
        version: u32,
    ) -> Result<Instant, String> {
        let body = Bytes::from(json!({ "first_name": version_text(version) }).to_string());
        match caller.call(Method::PATCH, &self.people[person].path, body).await {
            Ok(answer) if answer.status == 200 => Ok(Instant::now()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// What all readers saw.
pub async fn all_seen(mut readers: JoinSet<Seen>) -> Seen {
    let mut all = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.unwrap();
        all.tally.merge(seen.tally);
        all.reads.extend(seen.reads);
        all.failed.extend(seen.failed);
        all.slowest = all.slowest.max(seen.slowest);
        (all.hits, all.coherent) = (all.hits + seen.hits, all.coherent + seen.coherent);
    }
    all
}

/// What all writers did.
pub async fn all_written(mut writers: JoinSet<Written>) -> Written {
    let mut all = Written::default();
    while let Some(written) = writers.join_next().await {
        let written = written.unwrap();
        all.elsewhere += written.elsewhere;
        all.through.extend(written.through);
        all.failed.extend(written.failed);
    }
    all
}

#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    first_name: Option<Cow<'a, str>>,
}

impl Seen {
    /// Reads an object, some more often than others, or now and then a page of a list. Returns whether there was
    /// an answer.
    async fn read(
        &mut self,
        caller: &mut Caller,
        people: &[Person],
        places: &HashMap<String, u32>,
    ) -> bool {
        let is_list = fastrand::u32(0..100) < LISTS;
        let target = if is_list {
            format!("{LIST}?_page={}&_page_size=5", fastrand::u32(1..=10))
        } else {
            let one = || fastrand::usize(..people.len());
            people[one().min(one())].path.clone()
        };
        let begun = Instant::now();
        let outcome = caller.get(&target).await;
        self.tally.note(&outcome, begun.into_std());
        let Some(answer) = outcome.ok().filter(|answer| answer.status == 200) else {
            self.failed.push(Instant::now());
            return false;
        };
        let how = How::of(answer.cache_status());
        if how == How::Fetched {
            self.slowest = self.slowest.max(begun.elapsed());
        }
        self.hits += u64::from(answer.is_hit());
        self.coherent += u64::from(answer.is_hit() && how == How::Coherent);
        let shown: Vec<Shown<'_>> = if is_list {
            serde_json::from_slice(&answer.body).unwrap()
        } else {
            vec![serde_json::from_slice(&answer.body).unwrap()]
        };
        for shown in shown {
            // Others than those that were made for this have no version.
            let Some(person) = places.get(&*shown.id).copied() else { continue };
            let version = version_of(&shown.first_name.unwrap()).unwrap();
            self.reads.push(Read { begun, gateway: self.gateway, person, version, how });
        }
        true
    }
}

/// An address of the API's.
const LIST: &str = "/accounts/users/customer/subtenant/list/";
/// Of a hundred reads, so many are of a list.
const LISTS: u32 = 3;
const WRITERS: usize = 4;
