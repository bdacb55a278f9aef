//! A hostile mix: every flood at once, from strangers and from a caller that is let in, beside callers
//! who behave. None of the good calls fails, and memory stays within what the manual's formula allows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Common,
    call::{LIST, subtenant},
    floods::{Flood, attack},
    gateway::Setup,
    load::{Load, Pace},
    report::Report,
    trail,
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections of each flood, to each of two listeners
    #[arg(long, default_value_t = 40)]
    connections: usize,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("hostile");
    let upstream = Upstream::start().await;
    upstream.forget_ids();
    let mut gateway = Setup::with_strangers(common, &upstream)
        .set("LIMITS__CONNECTIONS", CONNECTIONS.to_string())
        .set("LIMITS__IN_FLIGHT", IN_FLIGHT.to_string())
        .set("LIMITS__HEADER_BYTES", format!("{HEADER_KIB}KiB"))
        .set("CACHE__MAX_BYTES", format!("{CACHE_KIB}KiB"))
        .start()
        .await;
    let (process, good) = (gateway.process(), Pace { callers: 8, rate: Some(GOOD_RATE) });
    let at_rest = process.resident();
    let (stop, ended) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let mut floods = JoinSet::new();
    for listener in ["rude", "strangers"] {
        for (flood, _) in
            Flood::ALL.into_iter().flat_map(|f| (0..options.connections).map(move |n| (f, n)))
        {
            let (stop, ended, address) =
                (stop.clone(), Arc::clone(&ended), gateway.address(listener));
            floods.spawn(async move {
                stop.run_until_cancelled(attack(flood, address, &ended)).await;
            });
        }
    }
    // Every second call is of an object that may be in memory.
    let target = |n: u64| if n.is_multiple_of(2) { LIST.to_owned() } else { subtenant(n % 200) };
    let load = Load::start(gateway.address("main"), good, target);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let tally = load.stop().await;
    stop.cancel();
    floods.join_all().await;
    let (peak, runs) = (process.peak_resident(), gateway.runs());
    gateway.drain().await;
    let verdict = trail::verify(&common.gateway, &gateway.path("audit"));

    let formula = at_rest + CACHE_KIB + IN_FLIGHT * CALL_KIB + CONNECTIONS * 4 * HEADER_KIB;
    report.figure("connections of floods", 2 * (Flood::ALL.len() - 1) * options.connections);
    report.figure("connections that ended", ended.load(Ordering::Relaxed));
    report.figure("memory at rest (KiB)", at_rest);
    report.figure("peak of memory (KiB)", peak);
    report.figure("good calls", tally.calls());
    report.latencies("good calls", &tally.latencies);
    report.promise("the gateway lives", runs, "");
    report.promise(
        "no call fails of those who behave",
        tally.calls() > 0 && tally.successes() == tally.calls(),
        format_args!("{} of {}, else {}", tally.successes(), tally.calls(), tally.failures()),
    );
    report.promise(
        "memory stays within the manual's formula",
        peak <= formula,
        format_args!("{peak} KiB of {formula} KiB"),
    );
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    report
}

/// Calls a second, all who behave together.
const GOOD_RATE: f64 = 200.0;
const CONNECTIONS: u64 = 2_000;
const IN_FLIGHT: u64 = 256;
const HEADER_KIB: u64 = 16;
const CACHE_KIB: u64 = 8 * 1024;
/// A call in flight, and another one whose body is arriving (`docs/src/how-to/size.md`).
const CALL_KIB: u64 = 64 + 176 + 64;
