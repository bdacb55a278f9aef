//! The upstream's name moves from address to address, one of its addresses swallows packets, and a load
//! balancer ends all connections each second: reads do not fail, and no write is sent twice.
//!
//! It runs in a network of its own, so it needs root. A quiet time comes first: one address that stays.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Common,
    call::{Caller, LIST},
    gateway::Setup,
    load::{Clock, Pace, Tally},
    network::{self, DEAD, LIVE, Names},
    report::{Report, progress},
    upstream::{self, Upstream},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Calls a second; a tenth of them writes
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// How long the quiet time is, and how long the other
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The upstream speaks HTTP/1.1 only
    #[arg(long)]
    http1: bool,
    /// Set where the network has been made
    #[arg(long, hide = true)]
    inside: bool,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    if !options.inside {
        network::again_in_its_own();
    }
    let mut report = Report::new("moving");
    let protocols: &[&str] = if options.http1 { &["http/1.1"] } else { &["h2", "http/1.1"] };
    let upstream = Upstream::listening(Ipv4Addr::UNSPECIFIED, protocols).await;
    let names = Names::mounted();
    names.lead_to(&[LIVE[0]]);
    let origin = format!("https://{}:{}", upstream::NAME, upstream.address.port());
    let setup = Setup::new(common, &upstream)
        .set("PROFILES__A__UPSTREAM", origin)
        .set("PROFILES__A__ALLOW_PRIVATE", "true")
        .set("TIMEOUTS__CONNECTION_AGE", "2s");
    let mut gateway = setup.start().await;
    let address = gateway.address("main");
    let pace = Pace { callers: common.callers, rate: Some(options.rate) };
    let during = Duration::from_secs(options.seconds);

    progress("a quiet time");
    let quiet = Calls::begin(address, pace).for_a_time(during).await;
    progress("everything moves");
    let calls = Calls::begin(address, pace);
    let begun = Instant::now();
    let mut seconds = 0;
    while begun.elapsed() < during {
        names.lead_to(&[DEAD, LIVE[seconds % LIVE.len()]]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        upstream.retire_connections();
        seconds += 1;
    }
    let moving = calls.stop().await;
    gateway.drain().await;

    report.figure("protocol of the upstream", if options.http1 { "HTTP/1.1" } else { "HTTP/2" });
    report.figure("calls a second", options.rate);
    for (name, calls) in [("quiet", &quiet), ("moving", &moving)] {
        report.figure(format!("{name}: calls"), calls.reads.calls() + calls.writes.calls());
        report.latencies(&format!("{name}: read"), &calls.reads.latencies);
        report.latencies(&format!("{name}: write"), &calls.writes.latencies);
        let failed = calls.reads.failures();
        report.promise(format!("{name}: no failed read"), failed == "0", failed);
        report.figure(format!("{name}: failed writes"), calls.writes.failures());
    }
    report.figure("requests that arrived", upstream.requests());
    let connections = upstream.connections();
    report.figure("connections of the upstream", format!("{connections:?}"));
    let moved = LIVE.iter().all(|address| connections.contains_key(address));
    report.promise("both addresses are used", moved, connections.len());
    // A read may be sent twice.
    let ids = upstream.ids();
    let twice = quiet
        .written
        .iter()
        .chain(&moving.written)
        .filter(|id| ids.get(id).is_some_and(|times| *times > 1));
    let twice = twice.count();
    report.promise("no write is sent twice", twice == 0, twice);
    report.figure("reads sent again", ids.values().filter(|times| **times > 1).count());
    report
}

/// Callers at work, and what they got.
struct Calls {
    stop: CancellationToken,
    callers: JoinSet<Got>,
}

#[derive(Debug, Default)]
struct Got {
    reads: Tally,
    writes: Tally,
    /// The ids of the writes.
    written: Vec<u128>,
}

impl Calls {
    fn begin(address: SocketAddr, pace: Pace) -> Self {
        let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let mut callers = JoinSet::new();
        for number in 0..pace.callers as u64 {
            let (stop, next) = (stop.clone(), Arc::clone(&next));
            callers.spawn(async move {
                let (mut caller, mut got) = (Caller::new(address), Got::default());
                let mut clock = Clock::new(pace, number);
                while let Some(due) = clock.next(&stop).await {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if call.is_multiple_of(10) {
                        let written = caller.call(Method::POST, CREATE, NEW).await;
                        got.written.extend(written.as_ref().ok().and_then(|answer| answer.id));
                        got.writes.note(&written, due);
                    } else {
                        let read = caller.get(LIST).await;
                        got.reads.note(&read, due);
                    }
                }
                got
            });
        }
        Self { stop, callers }
    }

    async fn for_a_time(self, time: Duration) -> Got {
        tokio::time::sleep(time).await;
        self.stop().await
    }

    async fn stop(self) -> Got {
        self.stop.cancel();
        let mut all = Got::default();
        for got in self.callers.join_all().await {
            all.reads.merge(got.reads);
            all.writes.merge(got.writes);
            all.written.extend(got.written);
        }
        all
    }
}

/// An operation that is not idempotent.
const CREATE: &str = "/accounts/users/customer/tenant/";
/// Its body.
const NEW: Bytes = Bytes::from_static(b"{}");
