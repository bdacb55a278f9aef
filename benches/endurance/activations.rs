//! A thousand activations behind one listener, their credentials in OpenBao.
//!
//! First each is called, then nobody calls, then some of them rotate under load while one is withdrawn, one is wrong
//! and the vault is away, and at last somebody asks for names that are not there.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use pigello_mock::{
    Activation, ActivationHandle, Credentials, MockPigello, OldSecret, Options as MockOptions,
};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::{
    Common,
    call::{Caller, LIST},
    gateway::{Gateway, Setup},
    load::{Clock, Pace, Tally},
    report::{Report, progress},
    vault::Vault,
    vault_proxy::VaultProxy,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many activations there are
    #[arg(long, default_value_t = 1_000)]
    members: usize,
    /// How many calls are made over all of them
    #[arg(long, default_value_t = 10_000)]
    calls: u64,
    /// How often each secret is read again, in seconds
    #[arg(long, default_value_t = 10)]
    refresh: u64,
    /// How many activations rotate under load
    #[arg(long, default_value_t = 100)]
    rotations: usize,
    /// Unknown names a second in the attack
    #[arg(long, default_value_t = 1_000.0)]
    unknown: f64,
}

/// What the scenario needs.
struct World {
    names: Arc<[String]>,
    mock: MockPigello,
    vault: Arc<Vault>,
    proxy: VaultProxy,
    gateway: Gateway,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("many activations");
    let mut world = World::make(common, options).await;
    every_member(&mut report, &world, common, options).await;
    nobody_calls(&mut report, &world, options).await;
    rotations(&mut report, &world, common, options).await;
    unknown_names(&mut report, &world, common, options).await;
    world.gateway.drain().await;
    report.promise(
        "no mix of seven values ever arrived",
        world.mock.handle().mixed() == 0,
        world.mock.handle().mixed(),
    );
    let verdict = super::trail::verify(&common.gateway, &world.gateway.path("audit"));
    report.promise("`audit verify` says ok", verdict.is_right, verdict.text);
    report
}

impl World {
    async fn make(common: &Common, options: &Options) -> Self {
        let names: Arc<[String]> =
            (0..options.members).map(|number| format!("customer-{number:04}")).collect();
        let activations = names.iter().map(|name| Activation::made_up(name.as_str()));
        let mock = MockPigello::start(MockOptions::new().activations(activations)).await.unwrap();
        let vault = Arc::new(Vault::start().await);
        let login = vault.approle("secret/data/activations/*").await;
        for name in &*names {
            let activation = mock.handle().activation(name).unwrap();
            write(&vault, name, &activation.credentials().unwrap()).await;
        }
        let proxy = VaultProxy::start(Arc::clone(&vault)).await;
        let text = format!(
            "[vault]\naddress = \"{}\"\n{login}\
             [profiles.\"customer-*\"]\nupstream = \"{}\"\nca_file = \"ca.pem\"\ncredentials = \"customers\"\n\
             [credentials.customers]\nsource = \"vault\"\npath = \"activations/{{profile}}\"\nrefresh = \"{}s\"\n\
             withdrawal_grace = \"1s\"\nrejection_limit = \"1s\"\n\
             [[callers]]\nname = \"app\"\nallow = [\"*\"]\nprofiles = [\"customer-*\"]\n\
             [[callers]]\nname = \"stranger\"\nallow = [\"*\"]\nprofiles = [\"customer-0000\"]\n\
             [[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ncaller = \"app\"\n\
             [[listeners]]\nname = \"strangers\"\naddress = \"127.0.0.1:0\"\ncaller = \"stranger\"\n",
            proxy.origin(),
            mock.origin(),
            options.refresh,
        );
        let gateway = Setup::with_tables(common, mock.ca_pem().unwrap(), &text).start().await;
        Self { names, mock, vault, proxy, gateway }
    }

    fn activation(&self, number: usize) -> ActivationHandle {
        self.mock.handle().activation(&self.names[number]).unwrap()
    }

    fn main(&self) -> SocketAddr {
        self.gateway.address("main")
    }
}

/// Calls each activation, most of them several times.
async fn every_member(report: &mut Report, world: &World, common: &Common, options: &Options) {
    let process = world.gateway.process();
    // The first call makes what all have in common.
    let mut caller = Caller::new(world.main());
    caller.get_as(LIST, &world.names[0]).await.unwrap();
    let (logins, reads) = (world.proxy.logins(), world.proxy.reads());
    report.promise(
        "the first call is one login and one read",
        (logins, reads) == (1, 1),
        format_args!("{logins}, {reads}"),
    );
    let before = (process.anonymous(), process.threads(), process.descriptors());
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..common.callers {
        let (names, address) = (Arc::clone(&world.names), world.main());
        let (callers_in_all, calls) = (common.callers, options.calls as usize);
        callers.spawn(async move {
            let (mut caller, mut tally) = (Caller::new(address), Tally::default());
            for call in (number..calls).step_by(callers_in_all) {
                let due = Instant::now();
                let outcome = caller.get_as(LIST, &names[call % names.len()]).await;
                tally.note(&outcome, due);
            }
            tally
        });
    }
    let mut tally = Tally::default();
    while let Some(one) = callers.join_next().await {
        tally.merge(one.unwrap());
    }
    let took = begun.elapsed();
    let accepted: u64 =
        (0..options.members).map(|number| world.activation(number).counts().accepted).sum();
    let least = (0..options.members).map(|number| world.activation(number).counts().accepted).min();
    report.figure("activations", options.members);
    report.figure("calls", tally.calls());
    report.figure(
        "calls a second, with the first of each",
        (tally.calls() as f64 / took.as_secs_f64()).round(),
    );
    report.latencies("call", &tally.latencies);
    report.promise("no failed call", tally.calls() == tally.successes(), tally.failures());
    report.promise(
        "each arrived with the seven values of its activation",
        accepted == options.calls + 1 && least >= Some(options.calls / options.members as u64),
        format_args!("{accepted} of {}", options.calls + 1),
    );
    report.promise("one login", world.proxy.logins() == 1, world.proxy.logins());
    // Let what the calls themselves took go.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let members = options.members as f64 - 1.0;
    let memory = process.anonymous().saturating_sub(before.0) as f64 / members;
    report.promise(
        "at most 24 KiB a loaded idle member",
        memory <= 24.0,
        format_args!("{memory:.1} KiB"),
    );
    let threads = process.threads().saturating_sub(before.1);
    report.promise("no thread of its own", threads <= 8, format_args!("{threads} more threads"));
    let descriptors = process.descriptors().saturating_sub(before.2);
    report.promise(
        "no open file of its own",
        descriptors <= common.callers + 32,
        format_args!("{descriptors} more descriptors"),
    );
}

/// Counts what the vault is asked while nobody calls.
async fn nobody_calls(report: &mut Report, world: &World, options: &Options) {
    let window = Duration::from_secs(options.refresh * 3);
    progress(format_args!("nobody calls for {} s", window.as_secs()));
    let before = world.proxy.reads();
    tokio::time::sleep(window).await;
    let reads = (world.proxy.reads() - before) as f64;
    let wanted = options.members as f64 * 3.0;
    report.promise(
        "reads of the vault are within 10 % of members ÷ refresh",
        (0.9..=1.1).contains(&(reads / wanted)),
        format_args!("{reads} in {} s, {wanted} wanted", window.as_secs()),
    );
}

/// Some rotate under load; one is withdrawn, one gets a wrong secret, one is not there, and the vault is away for a
/// while.
async fn rotations(report: &mut Report, world: &World, common: &Common, options: &Options) {
    let others = Others::start(world, common, 3..options.members);
    let missing = "customer-missing";
    let (withdrawn, wrong) = (&world.names[1], &world.names[2]);
    world.vault.delete(&format!("secret/metadata/activations/{withdrawn}")).await;
    world.activation(2).rotate(OldSecret::Refused);
    let mut sick = Caller::new(world.main());
    let mut broken = Tally::default();
    let rotating = 3..3 + options.rotations;
    for (nth, number) in rotating.clone().enumerate() {
        let new = world.activation(number).rotate(OldSecret::Accepted);
        write(&world.vault, &world.names[number], &new).await;
        for name in [withdrawn.as_str(), wrong.as_str(), missing] {
            let due = Instant::now();
            let outcome = sick.get_as(LIST, name).await;
            broken.note(&outcome, due);
        }
        if nth == options.rotations / 2 {
            progress("the vault is away");
            world.proxy.away(true);
            tokio::time::sleep(Duration::from_secs(options.refresh)).await;
            world.proxy.away(false);
        }
    }
    // A refresh, with what a set that could not be read waits for.
    tokio::time::sleep(Duration::from_secs(options.refresh * 3)).await;
    rotating.clone().for_each(|number| world.activation(number).refuse_old());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let tally = others.stop().await;
    report.figure("rotations under load", rotating.len());
    report.figure("calls of others meanwhile", tally.calls());
    report.figure("calls of the withdrawn, wrong and missing", broken.failures());
    report.latencies("call meanwhile", &tally.latencies);
    report.promise(
        "no failed call of any other member",
        tally.calls() == tally.successes(),
        tally.failures(),
    );
}

/// Somebody asks for names that are not there, some in an odd form, and a caller tries all members.
async fn unknown_names(report: &mut Report, world: &World, common: &Common, options: &Options) {
    const NAMES: u64 = 500;
    const SECONDS: u64 = 10;
    let others = Others::start(world, common, 3..options.members);
    let (logins, reads) = (world.proxy.logins(), world.proxy.reads());
    let refreshes = options.members as u64 * SECONDS / options.refresh;
    let pace = Pace { callers: 8, rate: Some(options.unknown) };
    let begun = Instant::now();
    let mut attackers = JoinSet::new();
    for number in 0..pace.callers as u64 {
        let address = world.main();
        let strangers = world.gateway.address("strangers");
        let names = Arc::clone(&world.names);
        attackers.spawn(async move {
            let (mut caller, mut stranger) = (Caller::new(address), Caller::new(strangers));
            let (mut refused, mut served) = (0_u64, 0_u64);
            let mut clock = Clock::new(pace, number);
            let never = tokio_util::sync::CancellationToken::new();
            for nth in 0.. {
                if begun.elapsed() > Duration::from_secs(SECONDS) {
                    break;
                }
                clock.next(&never).await;
                let nth = nth * 8 + number;
                let answer = match nth % 4 {
                    0 => caller.get_as(LIST, odd_name(nth).as_str()).await,
                    1 => stranger.get_as(LIST, &names[nth as usize % (names.len() - 1) + 1]).await,
                    _ => caller.get_as(LIST, &format!("customer-nobody-{}", nth % NAMES)).await,
                };
                match answer {
                    Ok(answer) if (400..500).contains(&answer.status) => refused += 1,
                    _ => served += 1,
                }
            }
            (refused, served)
        });
    }
    let (mut refused, mut served) = (0, 0);
    while let Some(one) = attackers.join_next().await {
        let (more_refused, more_served) = one.unwrap();
        (refused, served) = (refused + more_refused, served + more_served);
    }
    let tally = others.stop().await;
    let asked = world.proxy.reads() - reads;
    report.figure("unknown names: calls refused", refused);
    report.figure("unknown names: reads of the vault, refreshes in it", asked);
    report.figure("unknown names: refreshes at the most", refreshes * 11 / 10 + refreshes / 10);
    report.latencies("others meanwhile", &tally.latencies);
    report.promise("each was refused", served == 0, served);
    report.promise(
        "the vault is asked at most once a name and negative_ttl",
        asked <= NAMES + refreshes * 12 / 10 + 100,
        format_args!("{asked} reads: {NAMES} names, {refreshes} refreshes"),
    );
    report.promise(
        "nobody logged in again",
        world.proxy.logins() == logins,
        world.proxy.logins() - logins,
    );
    report.promise(
        "no failed call of a member",
        tally.calls() == tally.successes(),
        tally.failures(),
    );
}

/// Callers of members that have no trouble.
struct Others {
    stop: tokio_util::sync::CancellationToken,
    callers: JoinSet<Tally>,
}

impl Others {
    fn start(world: &World, common: &Common, members: std::ops::Range<usize>) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let pace = Pace { callers: common.callers, rate: Some(1_000.0) };
        let mut callers = JoinSet::new();
        for number in 0..pace.callers as u64 {
            let (names, address) = (Arc::clone(&world.names), world.main());
            let (stop, members) = (stop.clone(), members.clone());
            callers.spawn(async move {
                let (mut caller, mut tally) = (Caller::new(address), Tally::default());
                let mut clock = Clock::new(pace, number);
                while let Some(due) = clock.next(&stop).await {
                    let name = &names[fastrand::usize(members.clone())];
                    let outcome = caller.get_as(LIST, name).await;
                    tally.note(&outcome, due);
                }
                tally
            });
        }
        Self { stop, callers }
    }

    async fn stop(mut self) -> Tally {
        self.stop.cancel();
        let mut whole = Tally::default();
        while let Some(tally) = self.callers.join_next().await {
            whole.merge(tally.unwrap());
        }
        whole
    }
}

/// Names that are none.
fn odd_name(nth: u64) -> String {
    let odd = [
        "..",
        "../../sys/health",
        "customer-..%2f..",
        "Customer-0001",
        "customer_0001",
        "-",
        "*",
        "customer-*",
        "customer-0001/",
        "%00",
        "{profile}",
        "customer-0001;x",
        "\"",
        "å",
    ];
    odd[nth as usize / 4 % odd.len()].to_owned()
}

async fn write(vault: &Vault, name: &str, credentials: &Credentials) {
    let values = credentials
        .values()
        .map(|(name, value)| (name.key().to_owned(), Value::from(value.to_str().unwrap())));
    let body = json!({ "data": values.collect::<Map<_, _>>() });
    let path = format!("secret/data/activations/{name}");
    let (status, _) = vault.ask(Method::POST, &path, Bytes::from(body.to_string())).await;
    assert!((200..300).contains(&status), "OpenBao takes {name}: {status}");
}
