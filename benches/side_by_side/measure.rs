//! One measurement: a fresh contestant, warmed, under load, and what it used.

use std::{
    fmt,
    process::Command,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    contestant::{Contestant, Origin, Running},
    failure::{During as _, Failure},
    load::Outcome,
    machine::{self, CpuTime, Whole, pinned},
    upstream::new_object,
    workload::{Pace, Workload},
};

/// What was seen of one contestant at one workload in one round.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Measurement {
    /// CPU time for each call, in microseconds: all of it, and its parts in and outside the kernel.
    pub cpu_us: f64,
    /// Outside the kernel.
    pub user_us: f64,
    /// In the kernel.
    pub system_us: f64,
    /// Answers a second.
    pub rate: f64,
    /// Latencies in microseconds.
    pub p50_us: f64,
    /// Of a hundred calls, one took longer.
    pub p99_us: f64,
    /// Of a thousand calls, one took longer.
    pub p999_us: f64,
    /// Calls without a good answer.
    pub errors: u64,
    /// Requests that arrived upstream, for each call.
    pub upstream: f64,
    /// How much of its core the contestant used.
    pub core: f64,
    /// How much of the machine others used meanwhile.
    pub foreign: f64,
    /// Resident memory afterwards, in KiB: its own pages and its share of shared ones.
    pub pss_kib: u64,
    /// Resident memory afterwards, in KiB, shared pages counted for each process.
    pub rss_kib: u64,
    /// From exec to the first good answer, in milliseconds; only of [`Workload::Start`].
    pub start_ms: Option<f64>,
    /// p99.9 without the stall, in microseconds; only of [`Workload::Stalled`].
    pub calm_p999_us: Option<f64>,
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(start) = self.start_ms {
            return write!(f, "{start:.1} ms, {} KiB", self.rss_kib);
        }
        write!(f, "{:.1} µs, {:.0}/s, p99 {:.0} µs", self.cpu_us, self.rate, self.p99_us)?;
        write!(f, ", {:.2} upstream, {:.0} % foreign", self.upstream, self.foreign * 100.0)?;
        if self.errors > 0 {
            write!(f, ", {} ERRORS", self.errors)?;
        }
        Ok(())
    }
}

/// Measures one contestant at one workload.
pub fn measure(
    workload: Workload,
    contestant: &Contestant,
    origin: &Origin,
    duration: Duration,
) -> Result<Measurement, Failure> {
    let running = contestant.start(&origin.authority, origin.address(workload))?;
    load(workload, &running, WARM_UP)?;
    under_load(workload, &running, origin, || load(workload, &running, duration))
}

/// Runs a load and takes down what the contestant used meanwhile.
pub fn under_load(
    workload: Workload,
    running: &Running,
    origin: &Origin,
    load: impl FnOnce() -> Result<(Outcome, Duration), Failure>,
) -> Result<Measurement, Failure> {
    let pid = running.process.id();
    let (before, arrived, machine) = (CpuTime::of_tree(pid), origin.requests()?, Whole::now());
    let began = Instant::now();
    let (outcome, generator) = load()?;
    let took = began.elapsed().as_secs_f64();
    let foreign = machine.foreign_since(generator);
    let used = CpuTime::of_tree(pid) - before;
    let arrived = origin.requests()?.saturating_sub(arrived);
    let (rss_kib, pss_kib) = machine::memory(pid);
    if outcome.requests == 0 {
        return Err(Failure::new(format!("not one call of {workload} was answered")));
    }
    #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 calls")]
    let (calls, arrived) = (outcome.requests as f64, arrived as f64);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / calls;
    Ok(Measurement {
        cpu_us: each(used.total),
        user_us: each(used.user),
        system_us: each(used.system),
        rate: calls / outcome.seconds,
        p50_us: outcome.p50,
        p99_us: outcome.p99,
        p999_us: outcome.p999,
        errors: outcome.errors,
        upstream: arrived / calls,
        core: used.total.as_secs_f64() / took,
        foreign,
        pss_kib,
        rss_kib,
        ..Measurement::default()
    })
}

/// Calls for that long, from the core of the rest; also returns the CPU time that calling took.
pub fn load(
    workload: Workload,
    running: &Running,
    duration: Duration,
) -> Result<(Outcome, Duration), Failure> {
    let seconds = duration.as_secs().max(1).to_string();
    let mut command = match workload.pace() {
        Pace::Closed { connections, fresh } => {
            let mut command = pinned(machine::REST, "wrk");
            command.args(["-t", "1", "-c", &connections.to_string(), "-d", &seconds]);
            command.args(["--timeout", "10s", "-s", SCRIPT]);
            command.arg(format!("http://{}{}", running.address, workload.target()));
            let (method, body) =
                if workload.has_body() { ("POST", new_object()) } else { ("GET", String::new()) };
            command.args(["--", method, &body, if fresh { "close" } else { "keep" }]);
            command
        }
        Pace::Open { rate } => {
            let own = std::env::current_exe().during("cannot find this program")?;
            let mut command = pinned(machine::REST, own);
            command.args(["load", "--target", workload.target(), "--seconds", &seconds]);
            command.args(["--address", &running.address.to_string()]);
            command.args(["--rate", &rate.to_string()]);
            command
        }
    };
    outcome(&mut command)
}

/// The last line that a generator says is what came of it.
fn outcome(command: &mut Command) -> Result<(Outcome, Duration), Failure> {
    let before = machine::of_ended_children();
    let said = command.output().during("cannot start a generator (Debian: apt install wrk)")?;
    let used = machine::of_ended_children().saturating_sub(before);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let outcome = serde_json::from_str(last).during(format_args!(
        "a generator failed: {}{}",
        String::from_utf8_lossy(&said.stderr),
        text
    ))?;
    Ok((outcome, used))
}

/// What wrk sends and says.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/side_by_side/wrk.lua");
/// How long a fresh contestant is called before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
