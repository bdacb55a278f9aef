//! A flood of forged webhooks, from those who have a token and those who have none, beside callers who read:
//! Pigello gets no more calls than callers make, no call fails, and memory is bounded. Quiet windows and windows
//! with the flood alternate, so that their latencies can be compared.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Common,
    call::{Caller, LIST},
    load::{Clock, Load, Pace, Tally},
    noticed::{Noticed, Person, TOKEN},
    report::{Report, median, progress},
    trail,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many windows with the flood, and as many without
    #[arg(long, default_value_t = 4)]
    windows: u32,
    /// How long each window lasts
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections of the flood
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Webhooks a second, all connections together
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
}

/// What was seen in one window.
#[derive(Debug)]
struct Window {
    tally: Tally,
    /// The calls that Pigello got.
    upstream: u64,
    /// The gateway's processor time.
    processor: Duration,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("forged");
    let mut noticed = Noticed::start(common, TABLES, PEOPLE).await;
    let process = noticed.gateway.process();
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    let (mut sent, bodies) = ([0; 2], Arc::from(forged(&noticed.people)));
    // The first one fills the memory.
    window(&noticed, options).await;
    let at_rest = process.resident();
    for number in 0..options.windows {
        progress(format_args!("window {number}"));
        quiet.push(window(&noticed, options).await);
        let flood = Flood::start(options, &noticed, &bodies);
        flooded.push(window(&noticed, options).await);
        let [taken, refused] = flood.stop().await;
        sent = [sent[0] + taken, sent[1] + refused];
    }
    let (peak, runs) = (process.peak_resident(), noticed.gateway.runs());
    let metrics = noticed.gateway.admin(Method::GET, "/metrics").await.1;
    let metrics = String::from_utf8_lossy(&metrics);
    let unreadable = metrics.lines().filter(|line| line.contains("notices_unreadable_total{"));
    report.figure("webhooks taken", sent[0]);
    report.figure("webhooks refused, or broken off", sent[1]);
    report.figure("could not be read", unreadable.collect::<Vec<_>>().join(", "));
    report.figure("memory before (KiB)", at_rest);
    for (name, windows) in [("quiet", &quiet), ("flooded", &flooded)] {
        let at = |share: f64| {
            let of = |window: &Window| window.tally.latencies.value_at_quantile(share) as f64;
            median(windows.iter().map(of))
        };
        report.figure(format!("calls, {name}"), calls(windows));
        report.figure(format!("calls at Pigello, {name}"), upstream(windows));
        let processor: Duration = windows.iter().map(|window| window.processor).sum();
        report.figure(
            format!("the gateway's processor time (ms), {name}"),
            processor.as_millis() as u64,
        );
        report.figure(format!("p50 (µs), {name}"), at(0.5));
        report.figure(format!("p99 (µs), {name}"), at(0.99));
    }
    noticed.gateway.drain().await;
    let verdict = trail::verify(&common.gateway, &noticed.gateway.path("audit"));

    report.promise("the gateway lives", runs, "");
    report.promise(
        "forged webhooks of both kinds came",
        sent.iter().all(|count| *count > 0),
        format_args!("{sent:?}"),
    );
    let (asked, got) = (calls(&flooded), upstream(&flooded));
    // A reading of the event log each second, and one that was under way; each asks for a page behind the last one.
    let readings = 2 * u64::from(options.windows) * (options.seconds * 10 / 9 + 2);
    report.promise(
        "Pigello gets no more calls than callers make, and the event log's",
        got <= asked + readings,
        format_args!("{got} for {asked}, and {readings}"),
    );
    for (name, windows) in [("quiet", &quiet), ("flooded", &flooded)] {
        let failed: Vec<_> = windows
            .iter()
            .filter(|window| window.tally.successes() < window.tally.calls())
            .map(|window| window.tally.failures())
            .collect();
        report.promise(
            format!("no call fails, {name}"),
            failed.is_empty(),
            format_args!("{failed:?}"),
        );
    }
    let wanted = u64::from(CALLS_A_SECOND) * options.seconds * u64::from(options.windows);
    report.promise(
        "every caller's call is made when it is due",
        asked >= wanted * 98 / 100,
        format_args!("{asked} of {wanted}"),
    );
    let most = at_rest + CACHE_KIB + WEBHOOKS_KIB;
    report.promise("memory is bounded", peak <= most, format_args!("{peak} KiB of {most} KiB"));
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    report
}

fn calls(windows: &[Window]) -> u64 {
    windows.iter().map(|window| window.tally.calls()).sum()
}

fn upstream(windows: &[Window]) -> u64 {
    windows.iter().map(|window| window.upstream).sum()
}

/// Callers at work for a while: of three calls, one is never answered from memory.
async fn window(noticed: &Noticed, options: &Options) -> Window {
    let before = (noticed.pigello().request_count(), noticed.gateway.process().cpu());
    let people = Arc::clone(&noticed.people);
    let target = move |n: u64| {
        if n.is_multiple_of(3) {
            LIST.to_owned()
        } else {
            people[n as usize % people.len()].path.clone()
        }
    };
    let pace = Pace { callers: 16, rate: Some(f64::from(CALLS_A_SECOND)) };
    let load = Load::start(noticed.main(), pace, target);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let tally = load.stop().await;
    Window {
        tally,
        upstream: noticed.pigello().request_count() - before.0,
        processor: noticed.gateway.process().cpu().saturating_sub(before.1),
    }
}

/// Senders of forged webhooks.
struct Flood {
    stop: CancellationToken,
    senders: JoinSet<()>,
    /// Those that were answered with 204, and all others.
    ended: Arc<[AtomicU64; 2]>,
}

impl Flood {
    fn start(options: &Options, noticed: &Noticed, bodies: &Arc<[Bytes]>) -> Self {
        let (stop, ended) = (CancellationToken::new(), Arc::new([const { AtomicU64::new(0) }; 2]));
        let pace = Pace { callers: options.connections, rate: Some(options.rate) };
        let address: SocketAddr = noticed.gateway.address("webhook");
        let mut senders = JoinSet::new();
        for number in 0..pace.callers as u64 {
            let (stop, ended, bodies) = (stop.clone(), Arc::clone(&ended), Arc::clone(bodies));
            senders.spawn(async move {
                let (mut caller, mut clock) = (Caller::new(address), Clock::new(pace, number));
                while clock.next(&stop).await.is_some() {
                    let body = bodies[fastrand::usize(..bodies.len())].clone();
                    let answer = caller.call(Method::POST, &target(), body).await;
                    let is_taken = answer.is_ok_and(|answer| answer.status == 204);
                    ended[usize::from(!is_taken)].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, senders, ended }
    }

    async fn stop(self) -> [u64; 2] {
        self.stop.cancel();
        self.senders.join_all().await;
        self.ended.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// The bodies of webhooks that Pigello did not send. They are made before the flood, which would wait for them.
fn forged(people: &[Person]) -> Vec<Bytes> {
    let event = |object: Option<String>| json!({ "content_type": "accounts.subtenant", "object_id": object, "event_context": {} });
    let nobody = || Some(Uuid::from_u128(fastrand::u128(..)).to_string());
    let of_type = |name: &str| json!([{ "content_type": name }]);
    let list = |events: &mut dyn Iterator<Item = Value>| Value::Array(events.collect());
    let everybody = || people.iter().map(|person| event(Some(person.id.clone())));
    let bodies = (0..8).flat_map(|_| {
        let texts = [
            list(&mut (0..1).map(|_| event(nobody()))).to_string(),
            list(&mut (0..1_000).map(|_| event(nobody()))).to_string(),
            // Without a type, so that nobody knows what changed.
            list(&mut (0..9_000).map(|_| json!({ "object_id": nobody() }))).to_string(),
            list(&mut everybody().skip(fastrand::usize(..people.len())).take(1)).to_string(),
            list(&mut everybody()).to_string(),
            of_type("accounts.subtenant").to_string(),
            of_type("nothing.known").to_string(),
            json!([{}]).to_string(),
            "[{\"content_type\": ".to_owned(),
            "[".repeat(100_000),
            list(&mut (0..11_000).map(|_| json!({}))).to_string(),
            format!("[\"{}\"]", "x".repeat(2 << 20)),
        ];
        texts.map(Bytes::from)
    });
    bodies.collect()
}

/// Where a webhook is sent to: half of them with the token.
fn target() -> String {
    match fastrand::u32(0..10) {
        0..5 => format!("/hooks/{TOKEN}"),
        5..9 => format!("/hooks/{}", Uuid::from_u128(fastrand::u128(..)).simple()),
        _ => "/accounts/users/customer/subtenant/list/".to_owned(),
    }
}

const TABLES: &str = "[cache]\nmax_bytes = \"8MiB\"\n\
     [[cache.rules]]\noperations = [\"subtenant.get\", \"tenant.get\"]\nttl = \"1m\"\ncoherent_ttl = \"10m\"\n\
     [notices]\nevent_log = \"poll\"\ninterval = \"1s\"\n";
const PEOPLE: usize = 200;
/// Calls a second, all callers together.
const CALLS_A_SECOND: u32 = 300;
const CACHE_KIB: u64 = 8 * 1024;
/// Sixteen bodies of 1 MiB, what is read from them, and what waits for its second drop.
const WEBHOOKS_KIB: u64 = 64 * 1024;
