//! What a read costs that another gateway of the fleet has fetched: its processor time beside that of a read that
//! goes to Pigello, of gateways with one worker each, in turns.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    store::{Store, StoreKind, Way},
    world::{self, KEY},
};
use crate::{
    Common,
    call::{Answer, Caller, subtenant},
    gateway::{Gateway, Setup},
    load::Tally,
    report::{Report, median, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many rounds
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// How many objects are read in each
    #[arg(long, default_value_t = 3_000)]
    objects: u64,
    /// What they share
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

/// What a gateway took for the reads of one round.
struct Round {
    tally: Tally,
    /// Processor time a read, in microseconds.
    processor: f64,
    shared: u64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet-tier");
    let (upstream, store) = (Upstream::start().await, Store::start(options.store, &[]));
    upstream.forget_ids();
    let mut first = start(common, &upstream, Some(&store.way())).await;
    let mut second = start(common, &upstream, Some(&store.way())).await;
    let mut alone = start(common, &upstream, None).await;
    for gateway in [&first, &second] {
        while gateway.status().await["fleet"]["hearing"] != true {
            sleep(Duration::from_millis(50)).await;
        }
    }
    let (mut answered, mut proxied, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..options.rounds {
        progress(format_args!("round {number}"));
        let objects = number * options.objects..(number + 1) * options.objects;
        read(&first, objects.clone(), common.callers).await;
        // What it has fetched is in the store soon.
        sleep(Duration::from_secs(1)).await;
        answered.push(read(&second, objects.clone(), common.callers).await);
        proxied.push(read(&alone, objects.clone(), common.callers).await);
        hits.push(read(&second, objects, common.callers).await);
    }
    let reads = options.rounds * options.objects;
    let shared: u64 = answered.iter().map(|round| round.shared).sum();
    report.promise(
        "the tier answers what another gateway has fetched",
        shared >= reads * 99 / 100,
        format_args!("{shared} of {reads}"),
    );
    let all = [("from the tier", &answered), ("from Pigello", &proxied), ("from memory", &hits)];
    for (name, rounds) in all {
        let at = |share: f64| {
            median(rounds.iter().map(|it| it.tally.latencies.value_at_quantile(share) as f64))
        };
        report.figure(format!("p50 (µs), {name}"), at(0.5));
        report.figure(format!("p99 (µs), {name}"), at(0.99));
        let processor = median(rounds.iter().map(|round| round.processor));
        report.figure(format!("processor time a read (µs), {name}"), processor);
        let failed: Vec<_> = rounds
            .iter()
            .filter(|round| round.tally.successes() < round.tally.calls())
            .map(|round| round.tally.failures())
            .collect();
        report.promise(
            format!("no read fails, {name}"),
            failed.is_empty(),
            format_args!("{failed:?}"),
        );
    }
    let ratios =
        answered.iter().zip(&proxied).map(|(tier, pigello)| tier.processor / pigello.processor);
    let ratio = median(ratios);
    report.promise(
        "a read from the tier takes at most 0.6 of the processor time of one from Pigello",
        ratio <= 0.6,
        format_args!("{ratio:.2}"),
    );
    for gateway in [&mut first, &mut second, &mut alone] {
        gateway.drain().await;
    }
    report
}

/// A gateway, in a fleet with the store that is reached that way, or alone.
async fn start(common: &Common, upstream: &Upstream, way: Option<&Way>) -> Gateway {
    let setup = Setup::new(common, upstream).set("RUNTIME__WORKERS", "1").and(
        "[cache]\nmax_bytes = \"512MiB\"\n[[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"10m\"\nshared = true\n",
    );
    let Some(way) = way else { return setup.start().await };
    setup.write_secret("fleet-key", &format!("{KEY}\n"));
    let key = setup.path("fleet-key").display().to_string();
    let setup = setup
        .set("PROFILES__A__CACHE_KEY__SOURCE", "file")
        .set("PROFILES__A__CACHE_KEY__PATH", key)
        .set("CACHE__SHARED__ENABLED", "true")
        .and(&world::fleet_tables("member", "one", way));
    setup.start().await
}

/// Reads objects, each caller over one connection.
async fn read(gateway: &Gateway, objects: std::ops::Range<u64>, callers: usize) -> Round {
    let (before, count) = (gateway.process().cpu(), objects.end - objects.start);
    let mut reading = JoinSet::new();
    for first in 0..callers {
        let mut caller = Caller::new(gateway.address("main"));
        let objects = objects.clone().skip(first).step_by(callers);
        reading.spawn(async move {
            let (mut tally, mut shared) = (Tally::default(), 0);
            for object in objects {
                let begun = Instant::now();
                let outcome = caller.get(&format!("{}?size={BODY}", subtenant(object))).await;
                tally.note(&outcome, begun.into_std());
                let status = outcome.as_ref().map(Answer::cache_status).unwrap_or_default();
                shared += u64::from(status.contains("pigello-gateway-shared; hit"));
            }
            (tally, shared)
        });
    }
    let (mut tally, mut shared) = (Tally::default(), 0);
    for (of_caller, found) in reading.join_all().await {
        tally.merge(of_caller);
        shared += found;
    }
    let processor = gateway.process().cpu().saturating_sub(before);
    Round { tally, processor: processor.as_secs_f64() * 1e6 / count as f64, shared }
}

/// About the size of a subtenant.
const BODY: usize = 3_000;
