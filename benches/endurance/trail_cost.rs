//! What the trail costs: processor time for an answer from memory with and without it, and the
//! throughput of proxied calls with a synced one against a batched one.
//!
//! The gateway has no switch that turns the trail off. "Without" is a gateway that may go on while
//! its trail cannot be written, and whose queue is full: records are made and thrown away, nothing
//! is encoded, hashed, written or synced. Rounds alternate, so that whatever else the machine does
//! meets all alike; processor time is the kernel's own count for the process.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    Common,
    call::{LIST, subtenant},
    gateway::{Gateway, Setup},
    load::{Load, Pace},
    report::{Report, median, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many rounds
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long a round of each is
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// One round of one gateway.
#[derive(Clone, Copy, Debug)]
struct Round {
    rate: f64,
    /// Processor time a call, in microseconds.
    cpu: f64,
    /// The part of it that the trail's own threads took.
    trail_cpu: f64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("what the trail costs");
    let upstream = Upstream::start().await;
    let on = Setup::new(common, &upstream).start().await;
    let off = without_trail(common, &upstream).await;
    let synced = Setup::new(common, &upstream).set("AUDIT__DURABILITY", "synced").start().await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut batched, mut waiting) = (Vec::new(), Vec::new());
    for number in 1..=options.rounds {
        with.push(round(&on, common, options, true).await);
        without.push(round(&off, common, options, true).await);
        batched.push(round(&on, common, options, false).await);
        waiting.push(round(&synced, common, options, false).await);
        progress(format_args!(
            "round {number}: {:.1} µs with, {:.1} µs without; {:.0}/s batched, {:.0}/s synced",
            with.last().unwrap().cpu,
            without.last().unwrap().cpu,
            batched.last().unwrap().rate,
            waiting.last().unwrap().rate,
        ));
    }
    let lost = off.status().await["audit"]["lost"].as_u64().unwrap_or_default();

    report.figure("callers", common.callers);
    report.figure("rounds", options.rounds);
    let middle = |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    for (name, rounds) in [
        ("from memory, with the trail", &with),
        ("from memory, without", &without),
        ("proxied, batched", &batched),
        ("proxied, synced", &waiting),
    ] {
        let figure = |value: f64| format!("{value:.2}");
        report.figure(format!("{name}: calls a second"), middle(rounds, |r| r.rate).round());
        report.figure(format!("{name}: µs of processor a call"), figure(middle(rounds, |r| r.cpu)));
        let trail_cpu = middle(rounds, |r| r.trail_cpu);
        report.figure(format!("{name}: of them in the trail's threads"), figure(trail_cpu));
    }
    report.promise("without is without", lost > 0, format_args!("{lost} records thrown away"));
    // Round by round, because what else the machine does changes slowly.
    let pairs = with.iter().zip(&without).map(|(with, without)| with.cpu / without.cpu);
    let more = (median(pairs) - 1.0) * 100.0;
    report.promise(
        "the trail costs at most 10 % of processor time",
        more <= 10.0,
        format_args!("{more:.1} %"),
    );
    let share =
        median(waiting.iter().zip(&batched).map(|(synced, batched)| synced.rate / batched.rate));
    report.promise(
        "a synced trail serves at least a quarter of a batched one",
        share >= 0.25,
        format_args!("{:.0} %", share * 100.0),
    );
    report
}

/// Takes the trail's folder away and fills the queue.
async fn without_trail(common: &Common, upstream: &Upstream) -> Gateway {
    let gateway = Setup::new(common, upstream).set("AUDIT__ON_FAILURE", "continue").start().await;
    fs::rename(gateway.path("audit"), gateway.path("taken")).unwrap();
    fs::write(gateway.path("audit"), "in the way").unwrap();
    progress("filling the queue of the gateway without a trail");
    let pace = Pace { callers: common.callers, rate: None };
    let load = Load::start(gateway.address("main"), pace, |n| subtenant(n % OBJECTS));
    while gateway.status().await["audit"]["lost"].as_u64() == Some(0) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    load.stop().await;
    gateway
}

async fn round(gateway: &Gateway, common: &Common, options: &Options, is_cached: bool) -> Round {
    let process = gateway.process();
    let (begun, cpu) = (Instant::now(), process.cpu());
    let trail_cpu = process.cpu_of(is_of_the_trail);
    let pace = Pace { callers: common.callers, rate: None };
    let load = Load::start(gateway.address("main"), pace, move |n| {
        if is_cached { subtenant(n % OBJECTS) } else { LIST.to_owned() }
    });
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let tally = load.stop().await;
    let calls = tally.successes() as f64;
    assert!(tally.calls() == tally.successes(), "{}", tally.failures());
    let micros =
        |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e6 / calls;
    Round {
        rate: calls / begun.elapsed().as_secs_f64(),
        cpu: micros(process.cpu(), cpu),
        trail_cpu: micros(process.cpu_of(is_of_the_trail), trail_cpu),
    }
}

fn is_of_the_trail(thread: &str) -> bool {
    thread.starts_with("audit")
}

/// Objects that are asked for, all in memory after the first moments.
const OBJECTS: u64 = 500;
