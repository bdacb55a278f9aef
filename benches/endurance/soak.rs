//! An hour's worth of calls in minutes, with callers that come and go: memory and descriptors stay
//! what they were once everything was warm.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Common,
    call::Caller,
    gateway::Setup,
    load::Tally,
    mix,
    report::{Report, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long
    #[arg(long, default_value_t = 480)]
    seconds: u64,
    /// After so many calls a caller takes another connection
    #[arg(long, default_value_t = 50)]
    calls_a_connection: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    seconds: u64,
    calls: u64,
    resident_kib: u64,
    descriptors: usize,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("soak");
    let upstream = Upstream::start().await;
    upstream.forget_ids();
    let setup = Setup::new(common, &upstream).set("TIMEOUTS__FIRST_BYTE", "3s");
    let mut gateway = setup.start().await;
    let (address, process) = (gateway.address("main"), gateway.process());
    let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let callers = start(common, options, &upstream, address, &next, &stop);
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let sample = Sample {
            seconds: begun.elapsed().as_secs(),
            calls: next.load(Ordering::Relaxed),
            resident_kib: process.resident(),
            descriptors: process.descriptors(),
        };
        progress(format_args!("{sample:?}"));
        samples.push(sample);
    }
    let took = begun.elapsed();
    stop.cancel();
    let (mut tally, mut wrong) = (Tally::default(), 0);
    for (of_one, wrong_of_one) in callers.join_all().await {
        tally.merge(of_one);
        wrong += wrong_of_one;
    }

    let calls = next.load(Ordering::Relaxed);
    report.figure("callers", common.callers);
    report.figure("calls", calls);
    report.figure("calls a second", (calls as f64 / took.as_secs_f64()).round());
    report.figure("connections, about", calls / options.calls_a_connection);
    report.latencies("call", &tally.latencies);
    for sample in samples.iter().step_by((samples.len() / 16).max(1)) {
        let Sample { seconds, calls, resident_kib, descriptors } = sample;
        report.figure(
            format!("after {seconds} s"),
            format!("{calls} calls, {resident_kib} KiB resident, {descriptors} descriptors"),
        );
    }
    report.figure("most memory ever (KiB)", process.peak_resident());
    gateway.drain().await;
    report.promise("every call ends as it has to", wrong == 0, wrong);
    let mean = |samples: &[Sample], figure: fn(&Sample) -> f64| {
        samples.iter().map(figure).sum::<f64>() / samples.len().max(1) as f64
    };
    let quarter = samples.len() / 4;
    let (second, last) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    for (name, figure, bound) in [
        ("memory", (|s| s.resident_kib as f64) as fn(&Sample) -> f64, 1.05),
        ("descriptors", |s| s.descriptors as f64, 1.10),
    ] {
        let (then, now) = (mean(second, figure), mean(last, figure));
        report.promise(
            format!("{name} in the last quarter is what it was in the second"),
            now <= bound * then,
            format_args!("{then:.0} then, {now:.0} now"),
        );
    }
    report
}

/// Callers at work until they are stopped: what each got, and how often it was not what it had to be.
fn start(
    common: &Common,
    options: &Options,
    upstream: &Upstream,
    address: SocketAddr,
    next: &Arc<AtomicU64>,
    stop: &CancellationToken,
) -> JoinSet<(Tally, u64)> {
    let (mut callers, each) = (JoinSet::new(), options.calls_a_connection);
    for _ in 0..common.callers {
        let (upstream, next, stop) = (upstream.clone(), Arc::clone(next), stop.clone());
        callers.spawn(async move {
            let (mut caller, mut tally, mut wrong) = (Caller::new(address), Tally::default(), 0);
            for nth in 1_u64.. {
                if stop.is_cancelled() {
                    break;
                }
                let (n, due) = (next.fetch_add(1, Ordering::Relaxed), Instant::now());
                let kind = mix::Kind::of(n, mix::LEFT);
                let outcome = mix::make(&mut caller, &upstream, kind, n).await;
                wrong += u64::from(!mix::note(&mut tally, kind, &outcome, due));
                if nth.is_multiple_of(each) {
                    caller.leave();
                }
            }
            (tally, wrong)
        });
    }
    callers
}
