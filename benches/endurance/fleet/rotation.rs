//! The credentials of twenty gateways are rotated under load, with `adopt = "proven"`: good ones are to be in use
//! everywhere soon, wrong ones are to be tried by few, and no call is to fail.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Method;
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    millis, record,
    store::StoreKind,
    world::{self, HUBS, KEY},
};
use crate::{
    Common,
    call::{Caller, LIST, subtenant},
    credentials::{Mark, Mounted},
    gateway::{Gateway, Setup},
    load::{Clock, Pace, Tally},
    report::{Report, histogram, progress},
    rotations::SourceKind,
    upstream::Upstream,
    vault::Vault,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many gateways there are
    #[arg(long, default_value_t = 20)]
    gateways: usize,
    /// How many good rotations of each kind
    #[arg(long, default_value_t = 5)]
    rotations: u64,
    /// How many wrong ones
    #[arg(long, default_value_t = 3)]
    wrong: u64,
    /// Calls a second of each gateway
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Where the credentials are
    #[arg(long, value_enum, default_value_t = SourceKind::Vault)]
    source: SourceKind,
    /// What they share
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

/// Where versions are written.
enum Source {
    Vault(Box<Vault>),
    /// A folder for each gateway.
    Directories(Vec<Mounted>),
}

/// Who finds a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Hubs read the vault every two seconds.
    Hubs,
    /// One member is told, as by `pigello-gateway refresh`.
    OneThatIsTold,
    /// Everybody sees its own files change.
    All,
}

/// The gateways, and what their callers see.
struct Fleet {
    upstream: Upstream,
    source: Source,
    gateways: Vec<Gateway>,
    views: Vec<Arc<View>>,
    /// The newest good version.
    good: u64,
    /// Until good versions are in use.
    in_use: BTreeMap<Found, InUse>,
    /// The same, by `fleet wait`.
    waited: Histogram<u64>,
}

/// Which version one gateway's calls have, and since when they have no other.
struct View(Mutex<(u64, Instant)>);

/// Until good versions are in use, from when they were written.
struct InUse {
    /// By the first gateway: the one that has found it.
    first: Histogram<u64>,
    /// By each.
    each: Histogram<u64>,
}

/// What became of a wrong version.
#[derive(Debug)]
struct Wrong {
    /// How many gateways have sent it.
    senders: usize,
    /// Whether `fleet wait` waited for it in vain.
    is_waited_for: bool,
    /// In how many members it is refused, and in how many it waits, by `fleet status`.
    refused: usize,
    waiting: usize,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet-rotation");
    let store = world::store(options.store);
    let mut fleet = Fleet::new(options.source).await;
    for number in 0..options.gateways {
        progress(format_args!("gateway {number}"));
        let role = if number < HUBS { "hub" } else { "member" };
        let tables = world::fleet_tables(role, &format!("gateway-{number:02}"), &store.way());
        fleet.add(common, role, &tables).await;
    }
    fleet.until_all_are_listed().await;
    let (stop, callers) = fleet.callers(options.rate);
    let kinds: &[_] = match options.source {
        SourceKind::Vault => &[Found::Hubs, Found::OneThatIsTold],
        SourceKind::Directory => &[Found::All],
    };
    for number in 0..options.rotations {
        for kind in kinds {
            progress(format_args!("rotation {number}, found by {kind:?}"));
            fleet.rotate(*kind).await;
        }
    }
    let mut wrong = Vec::new();
    for number in 0..options.wrong {
        progress(format_args!("wrong one {number}"));
        wrong.push(fleet.rotate_wrongly(number).await);
        fleet.rotate(kinds[0]).await;
    }
    stop.cancel();
    let mut tally = Tally::default();
    for of_gateway in callers.join_all().await {
        tally.merge(of_gateway);
    }
    for gateway in &mut fleet.gateways {
        gateway.drain().await;
    }
    fleet.report(&mut report, &tally, &wrong);
    report
}

impl Fleet {
    async fn new(source: SourceKind) -> Self {
        let upstream = Upstream::start().await;
        upstream.forget_ids();
        let source = match source {
            SourceKind::Vault => Source::Vault(Box::new(Vault::start().await)),
            SourceKind::Directory => Source::Directories(Vec::new()),
        };
        Self {
            upstream,
            source,
            gateways: Vec::new(),
            views: Vec::new(),
            good: 1,
            in_use: BTreeMap::new(),
            waited: histogram(),
        }
    }

    async fn add(&mut self, common: &Common, role: &str, tables: &str) {
        let setup = match &mut self.source {
            Source::Vault(vault) => Setup::with_vault(common, &self.upstream, vault),
            Source::Directories(folders) => {
                let setup = Setup::new(common, &self.upstream);
                folders.push(setup.mounted(Mark::A));
                setup
            }
        };
        let refresh = if role == "hub" { "2s" } else { "1m" };
        let setup = setup
            .and(tables)
            .set("RUNTIME__WORKERS", "1")
            .set("CREDENTIALS__A__ADOPT", "proven")
            .set("CREDENTIALS__A__REFRESH", refresh);
        setup.write_secret("fleet-key", &format!("{KEY}\n"));
        self.gateways.push(setup.start().await);
        self.views.push(Arc::new(View(Mutex::new((1, Instant::now())))));
    }

    /// Waits until each gateway sees all others, so that the canaries are those of the whole fleet.
    async fn until_all_are_listed(&self) {
        let begun = Instant::now();
        for gateway in &self.gateways {
            while gateway.status().await["fleet"]["members"] != self.gateways.len() {
                assert!(begun.elapsed() < Duration::from_mins(1), "not all members are listed");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// A caller of each gateway.
    fn callers(&self, rate: f64) -> (CancellationToken, JoinSet<Tally>) {
        let (stop, mut callers) = (CancellationToken::new(), JoinSet::new());
        for (number, (gateway, view)) in self.gateways.iter().zip(&self.views).enumerate() {
            let (address, view, stop) = (gateway.address("main"), Arc::clone(view), stop.clone());
            callers.spawn(async move { view.call(address, number, rate, &stop).await });
        }
        (stop, callers)
    }

    async fn write(&self, version: u64) {
        match &self.source {
            Source::Vault(vault) => assert!(vault.write(version).await, "OpenBao takes {version}"),
            Source::Directories(folders) => folders.iter().for_each(|folder| folder.write(version)),
        }
    }

    /// Writes a good version, waits until all calls have it, and then withdraws the one before.
    async fn rotate(&mut self, found: Found) {
        let before = self.good;
        self.good += 1;
        self.upstream.accept(Mark::A, before, self.good);
        let written = Instant::now();
        self.write(self.good).await;
        if found == Found::OneThatIsTold {
            assert!(self.gateways.last().unwrap().refresh().await, "it reads its credentials");
        }
        self.until_used(self.good, written).await;
        let name = self.name_in_use().await;
        let (is_everywhere, said) = self.wait_for(&name, "30s").await;
        assert!(is_everywhere, "{said}");
        record(&mut self.waited, written.elapsed());
        // Nobody goes back to the one before.
        sleep(Duration::from_secs(2)).await;
        let new = || InUse { first: histogram(), each: histogram() };
        let times = self.in_use.entry(found).or_insert_with(new);
        let mut first = Duration::MAX;
        for view in &self.views {
            let (version, since) = *view.0.lock();
            assert_eq!(version, self.good, "the version that all calls have");
            let took = since.saturating_duration_since(written);
            record(&mut times.each, took);
            first = first.min(took);
        }
        record(&mut times.first, first);
        self.upstream.accept(Mark::A, self.good, self.good);
        // Rotations are days apart. A gateway that has just read its source does not read it at once again.
        sleep(APART).await;
    }

    /// Writes a wrong version, and sees who tries it.
    async fn rotate_wrongly(&self, number: u64) -> Wrong {
        let version = FIRST_WRONG + number;
        self.write(version).await;
        let begun = Instant::now();
        for gateway in &self.gateways {
            loop {
                let set = gateway.status().await["credentials"][0].take();
                if set["refused_version"].is_string() || set["rejected_version"].is_string() {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_mins(1), "{set}");
                sleep(Duration::from_millis(100)).await;
            }
        }
        // Who would try it has the time, and records are in the store.
        sleep(APART).await;
        let name = self.gateways[0].status().await["credentials"][0]["refused_version"].take();
        let (is_everywhere, said) = self.wait_for(name.as_str().unwrap(), "1s").await;
        progress(said.trim_end());
        let (_, status) = self.gateways[0].ask_by_command(&["fleet", "status"]).await;
        let count =
            |what: &str| status.matches(&format!("{} {what})", name.as_str().unwrap())).count();
        Wrong {
            senders: self.upstream.senders(version).len(),
            is_waited_for: !is_everywhere,
            refused: count("refused"),
            waiting: count("waits"),
        }
    }

    async fn until_used(&self, version: u64, written: Instant) {
        while self.views.iter().any(|view| view.0.lock().0 != version) {
            assert!(written.elapsed() < Duration::from_mins(1), "not all gateways use {version}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the source calls the version in use.
    async fn name_in_use(&self) -> String {
        let set = self.gateways[0].status().await["credentials"][0].take();
        set["version"].as_str().unwrap().to_owned()
    }

    /// `fleet wait` for a version: whether it is in use everywhere, and what it says.
    async fn wait_for(&self, version: &str, timeout: &str) -> (bool, String) {
        let members = self.gateways.len().to_string();
        let wait = ["fleet", "wait", "--version", version, "--members", &members];
        self.gateways[0].ask_by_command(&[&wait[..], &["--timeout", timeout]].concat()).await
    }

    fn report(&self, report: &mut Report, tally: &Tally, wrong: &[Wrong]) {
        for (found, times) in &self.in_use {
            for (who, times) in [("the first gateway", &times.first), ("a gateway", &times.each)] {
                report.latencies(&format!("until {who} uses it, found by {found:?},"), times);
            }
            let slowest = Duration::from_micros(times.each.max());
            report.promise(
                format!("a good version is in use everywhere in less than 5 s, found by {found:?}"),
                slowest < Duration::from_secs(5),
                format_args!("{slowest:?}"),
            );
        }
        let slowest = Duration::from_micros(self.waited.max());
        report.figure("until `fleet wait` says that all use it, at most (ms)", millis(slowest));
        report.figure("calls", tally.calls());
        report.latencies("call", &tally.latencies);
        report.figure("calls that were answered 401 and saved", self.upstream.unknown());
        report.promise("no failed call", tally.calls() == tally.successes(), tally.failures());
        report.promise("no mixed set", self.upstream.mixed() == 0, self.upstream.mixed());
        let most = self.gateways.len().div_ceil(100) + HUBS;
        report.promise(
            "a wrong version is tried by 1 % of the members and the hubs",
            wrong.iter().all(|wrong| (1..=most).contains(&wrong.senders)),
            format_args!("{:?}", wrong.iter().map(|wrong| wrong.senders).collect::<Vec<_>>()),
        );
        report.promise(
            "`fleet wait` waits for a wrong version in vain, and `fleet status` shows it everywhere",
            wrong.iter().all(|wrong| {
                wrong.is_waited_for && wrong.refused + wrong.waiting == self.gateways.len()
            }),
            format_args!("{wrong:?}"),
        );
    }
}

impl View {
    /// Calls one gateway until it is to stop, and looks which version its calls have.
    async fn call(
        &self,
        address: SocketAddr,
        number: usize,
        rate: f64,
        stop: &CancellationToken,
    ) -> Tally {
        let (mut caller, mut tally) = (Caller::new(address), Tally::default());
        let mut clock = Clock::new(Pace { callers: 1, rate: Some(rate) }, 0);
        for nth in 0_u64.. {
            let Some(due) = clock.next(stop).await else { break };
            // A write is never repeated, so none is a trial.
            let (method, path) = match nth % 4 {
                0 => (Method::PATCH, subtenant(nth)),
                _ => (Method::GET, LIST.to_owned()),
            };
            let outcome = caller.call(method, &format!("{path}?by={number}"), Bytes::new()).await;
            tally.note(&outcome, due);
            let set = outcome.ok().and_then(|answer| answer.set);
            if let Some(version) = set.and_then(|set| set.strip_prefix("a.")?.parse().ok()) {
                let mut view = self.0.lock();
                if view.0 != version {
                    *view = (version, Instant::now());
                }
            }
        }
        tally
    }
}

/// Above all good versions.
const FIRST_WRONG: u64 = 1_000_000;
/// The time between two rotations.
const APART: Duration = Duration::from_secs(6);
