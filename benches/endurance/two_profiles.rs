//! Two profiles with different credentials, the same paths, called in turn under load while both
//! sets rotate: not one byte crosses, neither from one profile to the other nor from a version that
//! has been replaced.

use std::{
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
    call::{Answer, Caller, LIST, subtenant},
    credentials::Mark,
    gateway::Setup,
    load::{Clock, Pace, Tally},
    report::{Report, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often each of the two sets changes
    #[arg(long, default_value_t = 1_000)]
    rotations: u64,
    /// Calls a second
    #[arg(long, default_value_t = 2_000.0)]
    rate: f64,
    /// The pause between two rotations, in milliseconds
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

/// The version of each set that the gateway has said to use.
type InUse = Arc<[AtomicU64; 2]>;

#[derive(Debug, Default)]
struct Found {
    tally: Tally,
    /// Answers that were made for the other profile, or whose body says another set than their head.
    crossed: u64,
    /// Answers made with a version that had been replaced before the call was made.
    outdated: u64,
    from_memory: u64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("two profiles");
    let upstream = Upstream::start().await;
    let setup = Setup::with_two_profiles(common, &upstream);
    let mounted = Mark::BOTH.map(|mark| setup.mounted(mark));
    let gateway = setup.start().await;
    let addresses = ["main", "other"].map(|listener| gateway.address(listener));
    let (stop, in_use) = (CancellationToken::new(), InUse::default());
    let pace = Pace { callers: common.callers, rate: Some(options.rate) };
    let mut callers = JoinSet::new();
    for number in 0..common.callers as u64 {
        let (stop, in_use) = (stop.clone(), Arc::clone(&in_use));
        callers.spawn(async move {
            let mut two = addresses.map(Caller::new);
            let (mut found, mut clock) = (Found::default(), Clock::new(pace, number));
            for n in number.. {
                let Some(due) = clock.next(&stop).await else { break };
                let mark = Mark::BOTH[n as usize % 2];
                // The same few objects for both, so that each is in memory most of the time.
                let target = if n % 8 < 6 { subtenant(n / 2 % 8) } else { LIST.to_owned() };
                let least = in_use[mark.index()].load(Ordering::SeqCst);
                let answer = two[mark.index()].get(&target).await;
                found.note(mark, least, &answer, due);
            }
            found
        });
    }
    for version in 2..=options.rotations + 1 {
        if version % 100 == 0 {
            progress(format_args!("rotation {version} of both"));
        }
        for mark in Mark::BOTH {
            upstream.accept(mark, version - 1, version);
            mounted[mark.index()].write(version);
        }
        assert!(gateway.refresh().await, "the gateway reads its credentials");
        for mark in Mark::BOTH {
            in_use[mark.index()].store(version, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(options.pause)).await;
    }
    stop.cancel();
    let mut all = Found::default();
    while let Some(found) = callers.join_next().await {
        all.merge(found.unwrap());
    }

    report.figure("rotations of each set", options.rotations);
    report.figure("callers", common.callers);
    report.figure("calls", all.tally.calls());
    report.figure("answers from memory", all.from_memory);
    report.figure("requests at the upstream", upstream.requests());
    report.latencies("call", &all.tally.latencies);
    report.promise("not one answer crosses between profiles", all.crossed == 0, all.crossed);
    report.promise("not one is of a version replaced before", all.outdated == 0, all.outdated);
    report.promise("no mixed set", upstream.mixed() == 0, upstream.mixed());
    let failures = all.tally.failures();
    report.promise("no failed call", all.tally.calls() == all.tally.successes(), failures);
    report.promise("memory was used", all.from_memory > all.tally.calls() / 10, all.from_memory);
    report
}

impl Found {
    fn note(
        &mut self,
        mark: Mark,
        least: u64,
        answer: &Result<Answer, super::call::Broken>,
        due: Instant,
    ) {
        self.tally.note(answer, due);
        let Ok(answer) = answer else { return };
        self.from_memory += u64::from(answer.is_hit());
        let set = answer.set.as_deref().unwrap_or_default();
        let (of, version) = set.split_once('.').unwrap_or_default();
        let body = format!("{{\"set\":\"{set}\"}}");
        self.crossed += u64::from(of != mark.text() || answer.body != body);
        self.outdated += u64::from(version.parse().unwrap_or(0) < least);
    }

    fn merge(&mut self, other: Self) {
        self.tally.merge(other.tally);
        self.crossed += other.crossed;
        self.outdated += other.outdated;
        self.from_memory += other.from_memory;
    }
}
