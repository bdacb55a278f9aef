//! Is any read older than the manual's table says? Callers read objects whose body says which version it is,
//! while somebody changes them at Pigello and through the gateway, and the event log, webhooks, Pigello's copy,
//! its clock and Pigello itself fail in turn.

mod faults;
mod judge;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use pigello_mock::{ActivationHandle, Change};
use serde::Deserialize;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    faults::Faults,
    judge::{How, Judge, Read, Terms, Through},
};
use super::{
    Common,
    call::Caller,
    load::{Clock, Pace, Tally},
    noticed::{Noticed, Person, version_of, version_text},
    report::{Report, progress},
    trail::{self, Trail},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many reads at least; there is at least one round of all faults
    #[arg(long, default_value_t = 1_000_000)]
    reads: u64,
    /// How many objects
    #[arg(long, default_value_t = 300)]
    objects: usize,
    /// Changes a second, half of them through the gateway
    #[arg(long, default_value_t = 30.0)]
    changes: f64,
    /// Decides which faults come when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What one caller saw.
#[derive(Debug, Default)]
struct Seen {
    tally: Tally,
    reads: Vec<Read>,
    slowest: Duration,
    hits: u64,
    coherent: u64,
    /// When the answer was there of a read that failed.
    failed: Vec<Instant>,
}

/// What one writer did.
#[derive(Debug, Default)]
struct Written {
    elsewhere: u64,
    through: Vec<Through>,
    failed: Vec<String>,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fresh");
    let mut noticed = Noticed::start(common, &tables(), options.objects).await;
    let webhook = noticed.ask_for_webhooks();
    let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let readers = readers(common, &noticed, &next, &stop);
    let writers = writers(options, &noticed, &stop);
    let changes = tokio::spawn(collect(noticed.activation.clone(), stop.clone()));
    let faults = Faults::new(&noticed, &webhook, options.seed);
    faults.run(&next, options.reads).await;
    stop.cancel();
    let (seen, written) = (all_seen(readers).await, all_written(writers).await);
    let changes = changes.await.unwrap();
    let (happened, down) = (faults.happened(), faults.down_times());
    let calm = faults.calm_times();
    let status = noticed.gateway.status().await;
    noticed.gateway.drain().await;

    let terms = Terms {
        interval: INTERVAL,
        settle: SETTLE,
        ttl: TTL,
        stale_if_error: STALE_IF_ERROR,
        slowest: seen.slowest,
    };
    let ids = noticed.people.iter().map(|person| person.id.as_str());
    let through = written.through.len() as u64;
    let judge = Judge::new(ids, changes.clone(), written.through, calm, terms);
    report.figure("reads", seen.tally.successes());
    report.figure("hits", seen.hits);
    report.figure("hits that the event log made live longer", seen.coherent);
    report.figure(
        "changes at Pigello, through the gateway",
        format!("{}, {through}", written.elsewhere),
    );
    report.figure("notices", status["notices"][0]["sources"].clone());
    report.figure("faults", serde_json::to_value(&happened).unwrap());
    report.figure("the slowest answer (ms)", seen.slowest.as_millis() as u64);
    report.latencies("read", &seen.tally.latencies);
    promises(&mut report, &judge, &seen);
    let expected: u64 = judge.newest().map(|newest| newest as u64).sum();
    report.promise(
        "every change was made, and is known",
        written.failed.is_empty() && expected == written.elsewhere + through,
        format_args!("{expected}, failed: {:?}", written.failed.first()),
    );
    held_to_faults(&mut report, &changes, &happened);
    let is_down =
        |ended: &Instant| down.iter().any(|down| down.0 <= *ended && *ended <= down.1 + RECOVERY);
    let failed = seen.failed.iter().filter(|ended| !is_down(ended)).count();
    report.promise(
        "no read fails unless Pigello is down",
        failed == 0,
        format_args!("{failed}, all: {}", seen.tally.failures()),
    );
    progress("reading the trail");
    let directory = noticed.gateway.path("audit");
    let (trail, verdict) = (Trail::read(&directory), trail::verify(&common.gateway, &directory));
    report.figure("lines of the trail about notices", trail.markers.get("notices").copied());
    let records = (trail.calls.len() as u64).saturating_sub(trail.own);
    report.promise(
        "a record for every call of a caller",
        records == seen.tally.calls() + through,
        format_args!("{records}, and {} of the gateway's own", trail.own),
    );
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    report
}

fn tables() -> String {
    format!(
        "[timeouts]\nfirst_byte = \"2s\"\n\
         [[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\", \"tenant.get\"]\n\
         ttl = \"{TTL:?}\"\ncoherent_ttl = \"10m\"\nstale_if_error = \"{STALE_IF_ERROR:?}\"\n\
         [notices]\nevent_log = \"poll\"\ninterval = \"{INTERVAL:?}\"\nsettle = \"{SETTLE:?}\"\noverlap = \"10s\"\n"
    )
}

/// What the manual's table promises.
fn promises(report: &mut Report, judge: &Judge, seen: &Seen) {
    report.promise(
        "there are hits that the event log made live longer",
        seen.coherent > 0,
        seen.coherent,
    );
    for (line, found) in judge.judge(&seen.reads) {
        let measured = format!(
            "{} of {} reads; {} showed an old version, at most {} ms after it could be known, {} ms allowed{}",
            found.broken,
            found.reads,
            found.old,
            found.worst.as_millis(),
            found.allowed.as_millis(),
            found.example.map_or_else(String::new, |example| format!(": {example}")),
        );
        let text = format!("none older than promised: {}", line.text());
        report.promise(text, found.broken == 0 && found.reads > 0, measured);
    }
}

/// Every fault must have happened.
fn held_to_faults(report: &mut Report, changes: &[Change], happened: &BTreeMap<&'static str, u64>) {
    let count = |is: fn(&Change) -> bool| changes.iter().filter(|change| is(change)).count();
    let (late, doubled) = (count(|it| it.logged > it.made), count(|it| it.doubled));
    let tied = changes.windows(2).filter(|two| two[0].created_at == two[1].created_at).count();
    let behind = count(|it| it.readable > it.made);
    report.figure("rows late, doubled, of one time", format!("{late}, {doubled}, {tied}"));
    report.figure("changes that Pigello's copy had late", behind);
    let missing: Vec<_> = faults::KINDS
        .into_iter()
        .filter(|kind| happened.get(kind).is_none_or(|count| *count == 0))
        .collect();
    report.promise(
        "every fault happened",
        missing.is_empty() && [late, doubled, tied, behind].iter().all(|count| *count > 0),
        format_args!("missing: {missing:?}"),
    );
}

/// Collects the changes while they are made.
async fn collect(activation: ActivationHandle, stop: CancellationToken) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let is_last = stop.is_cancelled();
        let last = changes.last().map_or(0, |change| change.number);
        changes.extend(activation.changes(last));
        if is_last {
            return changes;
        }
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
    }
}

fn readers(
    common: &Common,
    noticed: &Noticed,
    next: &Arc<AtomicU64>,
    stop: &CancellationToken,
) -> JoinSet<Seen> {
    let people = noticed.people.iter().enumerate();
    let places: Arc<HashMap<String, u32>> =
        Arc::new(people.map(|(at, person)| (person.id.clone(), at as u32)).collect());
    let mut readers = JoinSet::new();
    for _ in 0..common.callers {
        let (address, people, places) =
            (noticed.main(), Arc::clone(&noticed.people), Arc::clone(&places));
        let (next, stop) = (Arc::clone(next), stop.clone());
        readers.spawn(async move {
            let (mut caller, mut seen) = (Caller::new(address), Seen::default());
            while !stop.is_cancelled() {
                if !seen.read(&mut caller, &people, &places).await {
                    // A caller who fails is no faster for it.
                    tokio::time::sleep(Duration::from_millis(10)).await;
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

async fn all_seen(mut readers: JoinSet<Seen>) -> Seen {
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
            self.reads.push(Read { begun, person, version, how });
        }
        true
    }
}

fn writers(options: &Options, noticed: &Noticed, stop: &CancellationToken) -> JoinSet<Written> {
    let pace = Pace { callers: WRITERS, rate: Some(options.changes) };
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (address, people) = (noticed.main(), Arc::clone(&noticed.people));
        let (activation, stop) = (noticed.activation.clone(), stop.clone());
        let mut rng = fastrand::Rng::with_seed(options.seed + number as u64);
        writers.spawn(async move {
            let mut writer =
                Writer { caller: Caller::new(address), activation, written: Written::default() };
            let mut clock = Clock::new(pace, number as u64);
            // Each object has one writer, so that its changes have an order.
            let own: Vec<usize> = (number..people.len()).step_by(WRITERS).collect();
            let mut versions = vec![0; people.len()];
            while clock.next(&stop).await.is_some() {
                let person = own[rng.usize(..own.len())];
                versions[person] += 1;
                writer.write(&people[person], person as u32, versions[person], rng.bool()).await;
            }
            writer.written
        });
    }
    writers
}

async fn all_written(mut writers: JoinSet<Written>) -> Written {
    let mut all = Written::default();
    while let Some(written) = writers.join_next().await {
        let written = written.unwrap();
        all.elsewhere += written.elsewhere;
        all.through.extend(written.through);
        all.failed.extend(written.failed);
    }
    all
}

struct Writer {
    caller: Caller,
    activation: ActivationHandle,
    written: Written,
}

impl Writer {
    async fn write(&mut self, person: &Person, number: u32, version: u32, is_elsewhere: bool) {
        let body = json!({ "first_name": version_text(version) });
        if is_elsewhere {
            let (status, answer) = self.activation.elsewhere(Method::PATCH, &person.path, &body);
            assert_eq!(status, 200, "{answer}");
            self.written.elsewhere += 1;
            return;
        }
        let body = Bytes::from(body.to_string());
        match self.caller.call(Method::PATCH, &person.path, body).await {
            Ok(answer) if answer.status == 200 => {
                let answered = Instant::now();
                self.written.through.push(Through { person: number, version, answered });
            }
            other => self.written.failed.push(format!("{other:?}")),
        }
    }
}

/// An address of the API's.
const LIST: &str = "/accounts/users/customer/subtenant/list/";
/// Of a hundred reads, so many are of a list.
const LISTS: u32 = 3;
const WRITERS: usize = 4;
/// The shortest that is allowed.
const INTERVAL: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(1);
/// Longer than three times `INTERVAL` and `SETTLE`, so that the lines of the table differ.
const TTL: Duration = Duration::from_secs(6);
const STALE_IF_ERROR: Duration = Duration::from_secs(4);
/// How long the gateway may take to notice that Pigello is back.
const RECOVERY: Duration = Duration::from_secs(15);
