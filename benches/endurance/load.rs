//! Callers at work: many at once, each at its pace, and what they got.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    call::{Answer, Broken, Caller},
    report::histogram,
};

/// What callers got.
#[derive(Debug)]
pub struct Tally {
    /// Whole answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls without a whole answer, by what happened.
    pub broken: BTreeMap<String, u64>,
    /// From the moment a call was due to the end of its answer, in microseconds.
    pub latencies: Histogram<u64>,
    /// Of answers that were no success, a few as they came.
    pub odd: Vec<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            statuses: BTreeMap::new(),
            broken: BTreeMap::new(),
            latencies: histogram(),
            odd: Vec::new(),
        }
    }
}

impl Tally {
    pub fn note(&mut self, outcome: &Result<Answer, Broken>, due: Instant) {
        let waited = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(waited);
        match outcome {
            Ok(answer) => {
                *self.statuses.entry(answer.status).or_default() += 1;
                if answer.status != 200 && self.odd.len() < MOST_ODD {
                    self.odd.push(String::from_utf8_lossy(&answer.body).into_owned());
                }
            }
            Err(broken) => {
                let text = pigello_gateway::error::Chain(broken).to_string();
                *self.broken.entry(text).or_default() += 1;
            }
        }
    }

    pub fn merge(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (what, count) in other.broken {
            *self.broken.entry(what).or_default() += count;
        }
        self.latencies.add(other.latencies).unwrap();
        self.odd.extend(other.odd);
        self.odd.truncate(MOST_ODD);
    }

    pub fn calls(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.broken.values().sum::<u64>()
    }

    pub fn successes(&self) -> u64 {
        self.statuses.get(&200).copied().unwrap_or_default()
    }

    /// Everything that was no 200.
    pub fn failures(&self) -> String {
        let statuses = self.statuses.iter().filter(|(status, _)| **status != 200);
        let statuses = statuses.map(|(status, count)| format!("{count} × {status}"));
        let broken = self.broken.iter().map(|(what, count)| format!("{count} × {what}"));
        let mut all: Vec<_> = statuses.chain(broken).collect();
        if all.is_empty() {
            return "0".to_owned();
        }
        all.extend(self.odd.first().cloned());
        all.join(", ")
    }
}

const MOST_ODD: usize = 3;

/// Who calls, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub callers: usize,
    /// Calls a second, all callers together; `None` for as many as they can.
    pub rate: Option<f64>,
}

/// Callers at work until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    under_way: Arc<UnderWay>,
    callers: JoinSet<Tally>,
}

impl Load {
    /// Starts callers that get what `target` says of a call's number.
    pub fn start(
        address: SocketAddr,
        pace: Pace,
        target: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Self {
        let (stop, target) = (CancellationToken::new(), Arc::new(target));
        let under_way = Arc::new(UnderWay::of(pace.callers));
        let mut callers = JoinSet::new();
        for number in 0..pace.callers as u64 {
            let (stop, target) = (stop.clone(), Arc::clone(&target));
            let under_way = Arc::clone(&under_way);
            callers.spawn(async move {
                let (mut caller, mut tally) = (Caller::new(address), Tally::default());
                let mut clock = Clock::new(pace, number);
                for nth in 0.. {
                    let Some(due) = clock.next(&stop).await else { break };
                    let target = target(nth * pace.callers as u64 + number);
                    under_way.begin(number as usize);
                    let outcome = caller.get(&target).await;
                    under_way.end(number as usize);
                    tally.note(&outcome, due);
                }
                tally
            });
        }
        Self { stop, under_way, callers }
    }

    /// Waits until every call that is under way now has ended.
    pub async fn calls_under_way(&self) {
        self.under_way.ended().await;
    }

    /// Lets every caller finish, and says what they got.
    pub async fn stop(mut self) -> Tally {
        self.stop.cancel();
        let mut whole = Tally::default();
        while let Some(tally) = self.callers.join_next().await {
            whole.merge(tally.unwrap());
        }
        whole
    }
}

/// In which era each caller's call was begun, so that one can wait for those of an era to end.
#[derive(Debug)]
struct UnderWay {
    era: AtomicU64,
    begun: Vec<AtomicU64>,
}

impl UnderWay {
    fn of(callers: usize) -> Self {
        let begun = (0..callers).map(|_| AtomicU64::new(u64::MAX)).collect();
        Self { era: AtomicU64::new(0), begun }
    }

    fn begin(&self, caller: usize) {
        self.begun[caller].store(self.era.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn end(&self, caller: usize) {
        self.begun[caller].store(u64::MAX, Ordering::SeqCst);
    }

    async fn ended(&self) {
        let era = self.era.fetch_add(1, Ordering::SeqCst);
        while self.begun.iter().any(|begun| begun.load(Ordering::SeqCst) <= era) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// When a caller's calls are due. A call that is late does not move those behind it, so that waits
/// are counted as those have them who come at a rate of their own.
#[derive(Debug)]
pub struct Clock {
    next: Instant,
    pause: Option<Duration>,
}

impl Clock {
    pub fn new(pace: Pace, number: u64) -> Self {
        let pause = pace.rate.map(|rate| Duration::from_secs_f64(pace.callers as f64 / rate));
        let offset = pause
            .map_or(Duration::ZERO, |pause| pause.mul_f64(number as f64 / pace.callers as f64));
        Self { next: Instant::now() + offset, pause }
    }

    /// Waits for the next call's moment; `None` once there are to be no more.
    pub async fn next(&mut self, stop: &CancellationToken) -> Option<Instant> {
        if stop.is_cancelled() {
            return None;
        }
        let Some(pause) = self.pause else { return Some(Instant::now()) };
        let due = self.next;
        self.next += pause;
        if due > Instant::now() {
            stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await?;
        }
        Some(due)
    }
}
