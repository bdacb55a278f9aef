//! Calls at a fixed rate, and what they waited.
//!
//! A call is due at its time whether earlier ones have been answered or not, and its latency counts
//! from then: a gateway that stops for a moment is not spared the calls of that moment. One thread a
//! connection, because a blocking thread is woken to within some ten microseconds; runtimes' timers
//! are a hundred times coarser.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    exchange::{Connection, request},
    failure::{During as _, Failure},
};

/// What to call, and how fast.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Whom.
    #[arg(long)]
    address: SocketAddr,
    /// What.
    #[arg(long)]
    target: String,
    /// Calls a second.
    #[arg(long)]
    rate: u32,
    /// For how long.
    #[arg(long)]
    seconds: u64,
}

/// What a load did, as wrk and this module write it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Outcome {
    /// Calls that were answered.
    pub requests: u64,
    /// Calls that were not, or with an error.
    pub errors: u64,
    /// How long it took.
    pub seconds: f64,
    /// Latencies in microseconds.
    pub p50: f64,
    /// Of a hundred calls, one took longer.
    pub p99: f64,
    /// Of a thousand calls, one took longer.
    pub p999: f64,
}

/// Makes the calls, and writes one line of JSON.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Threads take this over from the one that starts them; without it each sleeps 50 µs longer.
    fs::write("/proc/self/timerslack_ns", "1").during("cannot sleep exactly")?;
    let total = u64::from(arguments.rate) * arguments.seconds;
    let next = AtomicU64::new(0);
    let request = request("GET", &arguments.target, "", "");
    let connections = (0..CONNECTIONS)
        .map(|_| Connection::open(arguments.address).during("cannot connect"))
        .collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    let gap = Duration::from_secs(1) / arguments.rate;
    let caller = |mut connection: Connection| -> Result<Seen, Failure> {
        let mut seen = Seen::new()?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= total {
                return Ok(seen);
            }
            let due = begin + gap * u32::try_from(number).unwrap_or(u32::MAX);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answered = connection.call(&request).is_ok_and(|answer| answer.status.is_success());
            if answered {
                seen.latencies.saturating_record(nanoseconds(due.elapsed()));
            } else {
                seen.errors += 1;
                connection = Connection::open(arguments.address).during("cannot connect again")?;
            }
        }
    };
    let mut all = Seen::new()?;
    thread::scope(|scope| {
        let callers: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(move || caller(connection)))
            .collect();
        for caller in callers {
            let seen: Result<Seen, Failure> =
                caller.join().map_err(|_| Failure::new("a caller panicked"))?;
            all.add(&seen?)?;
        }
        Ok::<_, Failure>(())
    })?;
    let line = serde_json::to_string(&all.outcome(begin.elapsed())).during("no JSON")?;
    anstream::println!("{line}");
    Ok(())
}

struct Seen {
    latencies: Histogram<u64>,
    errors: u64,
}

impl Seen {
    fn new() -> Result<Self, Failure> {
        let latencies =
            Histogram::new_with_bounds(1, LONGEST, 3).during("cannot make a histogram")?;
        Ok(Self { latencies, errors: 0 })
    }

    fn add(&mut self, other: &Self) -> Result<(), Failure> {
        self.errors += other.errors;
        self.latencies.add(&other.latencies).during("cannot add histograms")
    }

    fn outcome(&self, took: Duration) -> Outcome {
        #[expect(clippy::cast_precision_loss, reason = "a latency has no 2^52 nanoseconds")]
        let at = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Outcome {
            requests: self.latencies.len(),
            errors: self.errors,
            seconds: took.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Connections at once.
const CONNECTIONS: usize = 64;
/// In nanoseconds; a latency above it counts as this one.
const LONGEST: u64 = 60_000_000_000;
