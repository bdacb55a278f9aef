//! What a store has of the trails: two gateways under load, and between them and the store a collector of other
//! people that is killed again and again. It says yes to lines before it has passed them on, so each kill loses some
//! for good. The manual's SQL, in `ClickHouse`'s engine, finds them; `audit export --resend-from` sends them again.
//!
//! The collector is `rotel-agent`. Behind it this bench keeps the lines in files, and loads them into the tables of
//! `docs/src/how-to/prove-the-trail.md`, whose statements it runs as they stand there.

mod agent;
mod store;

use std::{
    env, fs,
    net::SocketAddr,
    ops::ControlFlow,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pigello_gateway::audit::{self, PUBLIC_KEY, ReadItem, TrailReadError};
use serde_json::Value;
use tokio::time::sleep;

use self::{agent::Agent, store::Store};
use super::{
    Common,
    call::subtenant,
    gateway::{Gateway, Setup},
    load::{Load, Pace, Tally},
    report::{Report, progress},
    trail::Verdict,
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many calls, through both gateways together
    #[arg(long, default_value_t = 200_000)]
    calls: u64,
    /// How often the collector is killed
    #[arg(long, default_value_t = 20)]
    kills: u64,
}

/// What the store lacked, and what became of it.
#[derive(Debug, Default)]
struct Again {
    /// What the collector had taken and the store did not get.
    lost: u64,
    holes: u64,
    resent: u64,
    /// What the store lacks in the end.
    missing: u64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("collector");
    let store = Store::open().await;
    let mut agent = Agent::start(store.address()).await;
    let upstream = Upstream::start().await;
    upstream.forget_ids();
    let endpoint = format!("http://{}", agent.address());
    let setup = || Setup::new(common, &upstream).set("TELEMETRY__OTLP_ENDPOINT", &*endpoint);
    let mut gateways = [setup().start().await, setup().start().await];
    let begun = Instant::now();
    let tally = under_load(common, options, &gateways, &mut agent).await;
    let took = begun.elapsed().as_secs_f64();
    let again = send_again(common, &mut gateways, &mut agent, &store).await;

    let records: u64 = gateways.iter().map(|gateway| end_of_chain(gateway).1).sum();
    let Again { lost, holes, resent, missing } = again;
    report.figure("calls", tally.calls());
    report.figure("records of both trails", records);
    report.figure("records a second to the collector", (records as f64 / took).round());
    report.figure("kills of the collector", options.kills);
    report.figure("records that it lost after it had taken them", lost);
    report.figure("holes in the store", holes);
    report.figure("records sent again", resent);
    report.figure("records that arrived", store.arrived());
    report.figure("rows before FINAL", store.ask(&["SELECT count() FROM audit"]));
    report.promise("every call succeeds", tally.successes() == tally.calls(), tally.failures());
    report.promise("kills lose what the collector had taken", lost > 0, lost);
    report.promise("nothing is missing once it was sent again", missing == 0, missing);
    let counts = store.ask(&["SELECT count(), count() - uniqExact(chain, seq), \
         countIf(startsWith(body, '{\"kind\":\"call\"')) FROM audit FINAL"]);
    let counts: Vec<u64> = counts.split('\t').map(|count| count.parse().unwrap()).collect();
    report.promise("FINAL has all records", counts[0] == records, counts[0]);
    report.promise("FINAL has none twice", counts[1] == 0, counts[1]);
    report.promise("one record is of each call", counts[2] == tally.calls(), counts[2]);
    let unlike = store.ask(&["SELECT count() FROM (SELECT 1 FROM audit GROUP BY chain, seq \
         HAVING min(cityHash64(body)) != max(cityHash64(body)))"]);
    report.promise("what arrived twice is the same", unlike == "0", unlike);
    let verdict = verify(common, &gateways, &store);
    report.promise("`audit verify --stdin` says ok", verdict.is_right, verdict.text);
    report
}

/// Kills the collector while callers are at work and the gateways export, and waits until it has taken everything.
async fn under_load(
    common: &Common,
    options: &Options,
    gateways: &[Gateway; 2],
    agent: &mut Agent,
) -> Tally {
    let addresses = gateways.each_ref().map(|gateway| gateway.address("main"));
    let load = tokio::spawn(load(common.callers / 2, options.calls, addresses));
    for kill in 0..options.kills {
        let between = options.calls / options.kills;
        let due = kill * between + fastrand::u64(..between);
        until_exported(gateways, |exported, _| exported >= due).await;
        sleep(Duration::from_millis(fastrand::u64(..MOST_BEFORE_KILL))).await;
        progress(format_args!("kill {kill}, after {due} records"));
        agent.kill();
        agent.start_again().await;
    }
    let tally = load.await.unwrap();
    until_exported(gateways, |exported, last| exported == last).await;
    tally
}

/// Sends again what the store lacks, of the second trail without its gateway and of the first beside it, until it
/// has everything.
async fn send_again(
    common: &Common,
    gateways: &mut [Gateway; 2],
    agent: &mut Agent,
    store: &Store,
) -> Again {
    gateways[1].drain().await;
    let mut again = Again::default();
    for round in 0..MOST_ROUNDS {
        agent.end().await;
        store.load();
        let missing = store.missing(&gateways.each_ref().map(end_of_chain));
        progress(format_args!("round {round}: {missing:?}"));
        again.missing = missing.iter().map(|of_chain| of_chain.lines).sum();
        if round == 0 {
            again.lost = again.missing;
            again.holes = missing.iter().map(|of_chain| of_chain.holes).sum();
        } else if again.missing == 0 {
            break;
        }
        agent.start_again().await;
        for (gateway, of_chain) in gateways.iter().zip(&missing) {
            if let Some(first) = of_chain.first {
                again.resent += resend(common, gateway, agent, first);
            }
        }
        if round == 0 {
            until_exported(&gateways[..1], |exported, last| exported == last).await;
            gateways[0].drain().await;
        }
    }
    again
}

/// Calls of objects in memory, half of them through each gateway, until there were so many.
async fn load(callers: usize, calls: u64, addresses: [SocketAddr; 2]) -> Tally {
    let made = Arc::new(AtomicU64::new(0));
    let loads = addresses.map(|address| {
        let made = Arc::clone(&made);
        Load::start(address, Pace { callers, rate: None }, move |number| {
            made.fetch_add(1, Ordering::Relaxed);
            subtenant(number % 8)
        })
    });
    while made.load(Ordering::Relaxed) < calls {
        sleep(Duration::from_millis(10)).await;
    }
    let mut tally = Tally::default();
    for load in loads {
        tally.merge(load.stop().await);
    }
    tally
}

/// Waits until what the gateways have exported, all together, and what there is are as they have to be.
async fn until_exported(gateways: &[Gateway], is_reached: impl Fn(u64, u64) -> bool) {
    let (mut most, mut since) = (0, Instant::now());
    loop {
        let (mut exported, mut last) = (0, 0);
        for gateway in gateways {
            let audit = &gateway.status().await["audit"];
            exported += audit["exported_seq"].as_u64().unwrap_or_default();
            last += audit["last_seq"].as_u64().unwrap_or(u64::from(u32::MAX));
        }
        if is_reached(exported, last) {
            return;
        }
        if exported > most {
            (most, since) = (exported, Instant::now());
        }
        assert!(since.elapsed() < STANDSTILL, "the export stands still at {exported} of {last}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The chain of a gateway's trail, and the number of its last line.
fn end_of_chain(gateway: &Gateway) -> (String, u64) {
    let directory = gateway.path("audit");
    let chain = fs::read(directory.join("chain.json")).unwrap();
    let chain: Value = serde_json::from_slice(&chain).unwrap();
    let files = audit::files(&directory).unwrap();
    let mut last = 0;
    audit::read_through(&files[files.len() - 1..], |found| {
        if let ReadItem::Line(line) = found {
            last = audit::line_head(line).map_or(last, |head| head.seq);
        }
        Ok::<_, TrailReadError>(ControlFlow::Continue(()))
    })
    .unwrap();
    (chain["chain"].as_str().unwrap().to_owned(), last)
}

/// Sends the lines of a trail from that one on once more, as the manual says. Returns how many there were.
fn resend(common: &Common, gateway: &Gateway, agent: &Agent, from: u64) -> u64 {
    let output = Command::new(&common.gateway)
        .args(["audit", "export", "--config"])
        .arg(gateway.path("gateway.toml"))
        .args(["--resend-from", &from.to_string()])
        .env_clear()
        .env("PIGELLO_GATEWAY_TELEMETRY__OTLP_ENDPOINT", format!("http://{}", agent.address()))
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "lines cannot be sent again: {text}");
    text.split(' ').next().unwrap().parse().expect(&text)
}

/// Has `audit verify` check what the store gives back.
fn verify(common: &Common, gateways: &[Gateway], store: &Store) -> Verdict {
    let keys = gateways.iter().map(|gateway| fs::read(gateway.path("audit").join(PUBLIC_KEY)));
    let keys: Vec<_> = keys.map(Result::unwrap).collect();
    let file = gateways[0].path("keys.pem");
    fs::write(&file, keys.concat()).unwrap();
    let mut lines = store.lines();
    let output = Command::new(&common.gateway)
        .args(["audit", "verify", "--stdin", "--public-key"])
        .arg(file)
        .env_clear()
        .stdin(lines.stdout.take().unwrap())
        .output()
        .unwrap();
    let is_right = output.status.success() && lines.wait().unwrap().success();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    // The last line is about all chains.
    let text = text.rsplit("; ").next().filter(|_| is_right).unwrap_or(&text).to_owned();
    Verdict { is_right, text }
}

/// A program that this scenario needs, and which one that is.
fn tool(variable: &str, what: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the bench's own switch")]
    let program = env::var(variable);
    PathBuf::from(program.unwrap_or_else(|_| panic!("{variable} has to name {what}")))
}

/// How long the collector may go on after the moment at which a kill is due, in milliseconds: longer than it keeps
/// lines before it passes them on.
const MOST_BEFORE_KILL: u64 = 300;
/// The longest pause of an export is a minute.
const STANDSTILL: Duration = Duration::from_mins(3);
const MOST_ROUNDS: usize = 4;
