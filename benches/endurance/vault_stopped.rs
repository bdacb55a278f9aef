//! The vault is never on the path of a request: it is stopped under load, and later killed, and
//! neither throughput nor latency moves beyond what it does by itself.
//!
//! Windows with the vault running and stopped follow each other, so that whatever else happens on
//! the machine meets both alike. The gateway reads the vault every second, or tries to.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{
    Common,
    call::LIST,
    gateway::Setup,
    load::{Load, Pace, Tally},
    report::{Report, progress},
    upstream::Upstream,
    vault::Vault,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Calls a second
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// How long a window is
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many pairs of windows
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Debug)]
struct Window {
    tally: Tally,
    rate: f64,
}

impl Window {
    fn quantile(&self, quantile: f64) -> u64 {
        self.tally.latencies.value_at_quantile(quantile)
    }
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("the vault is stopped");
    let upstream = Upstream::start().await;
    let vault = Vault::start().await;
    let setup = Setup::with_vault(common, &upstream, &vault);
    let gateway = setup.set("CREDENTIALS__A__REFRESH", "1s").start().await;
    let pace = Pace { callers: common.callers, rate: Some(options.rate) };
    let window = async |name: &str| {
        let begun = Instant::now();
        let load = Load::start(gateway.address("main"), pace, |_| LIST.to_owned());
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        let tally = load.stop().await;
        let rate = tally.successes() as f64 / begun.elapsed().as_secs_f64();
        let window = Window { tally, rate };
        progress(format_args!(
            "{name}: {rate:.0}/s, p50 {} µs, p99 {} µs",
            window.quantile(0.5),
            window.quantile(0.99)
        ));
        window
    };
    window("warming up").await;
    let (mut running, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        running.push(window("running").await);
        vault.signal(Signal::STOP);
        stopped.push(window("stopped").await);
        vault.signal(Signal::CONT);
    }
    running.push(window("running").await);
    drop(vault);
    let killed = window("killed").await;
    let state = gateway.status().await["credentials"][0]["state"].clone();

    report.figure("rate asked (calls a second)", options.rate);
    report.figure("seconds a window", options.seconds);
    report.figure("state of the set at the end", state);
    show(&mut report, "running", &running);
    show(&mut report, "stopped", &stopped);
    show(&mut report, "killed", std::slice::from_ref(&killed));
    let others = stopped.iter().chain([&killed]);
    let failures: Vec<_> = running.iter().chain(others).map(|w| w.tally.failures()).collect();
    report.promise("no failed call", failures.iter().all(|f| f == "0"), failures.join(", "));
    let slowest = |windows: &[Window]| windows.iter().map(|w| w.rate).fold(f64::MAX, f64::min);
    report.promise(
        "throughput stays within what it is with the vault running",
        median(&stopped, |w| w.rate) >= 0.99 * slowest(&running),
        format_args!(
            "{:.1}/s against {:.1}/s at least",
            median(&stopped, |w| w.rate),
            slowest(&running)
        ),
    );
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let worst = running.iter().map(|w| w.quantile(quantile)).max().unwrap_or_default();
        let here = median(&stopped, |w| w.quantile(quantile) as f64);
        report.promise(
            format!("{name} stays within what it is with the vault running"),
            here <= 1.05 * worst as f64,
            format_args!("median {here:.0} µs against at most {worst} µs"),
        );
    }
    report
}

fn show(report: &mut Report, name: &str, windows: &[Window]) {
    let list = |figure: &dyn Fn(&Window) -> f64| {
        let figures: Vec<_> = windows.iter().map(|w| format!("{:.0}", figure(w))).collect();
        figures.join(" ")
    };
    report.figure(format!("{name}: calls a second"), list(&|w| w.rate));
    report.figure(format!("{name}: p50 (µs)"), list(&|w| w.quantile(0.5) as f64));
    report.figure(format!("{name}: p99 (µs)"), list(&|w| w.quantile(0.99) as f64));
}

fn median(windows: &[Window], figure: impl Fn(&Window) -> f64) -> f64 {
    super::report::median(windows.iter().map(figure))
}
