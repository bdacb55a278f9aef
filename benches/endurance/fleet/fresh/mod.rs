//! Is any read of any gateway of a fleet older than the manual's tables say? Callers read and change objects through
//! all of them, while gateways are killed and hang, and the store hangs, is cut off, comes back empty, and loses
//! its end to a replica that takes over.

mod faults;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::faults::Faults;
use super::world::World;
use crate::{
    Common,
    report::{Report, progress},
    trail,
    versions::{
        Gateways, Scene, all_seen, all_written,
        judge::{Judge, Terms},
    },
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many reads at least; there is at least one round of all faults
    #[arg(long, default_value_t = 1_000_000)]
    reads: u64,
    /// How many gateways there are
    #[arg(long, default_value_t = 6)]
    gateways: usize,
    /// How many objects
    #[arg(long, default_value_t = 200)]
    objects: usize,
    /// Changes a second, half of them through the gateways
    #[arg(long, default_value_t = 20.0)]
    changes: f64,
    /// Decides which faults come when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet-fresh");
    let mut world = World::new(options.objects).await;
    let mut faults = Faults::start(options.gateways, options.seed).await;
    for number in 0..options.gateways {
        world.add(common, &faults.way(number), &tables()).await;
    }
    world.until_hearing().await;
    let gateways = Gateways::new((0..options.gateways).map(|gateway| world.main(gateway)));
    let scene = Scene {
        people: Arc::clone(&world.people),
        activation: world.activation.clone(),
        gateways: gateways.clone(),
    };
    let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let readers = scene.readers(common.callers, &next, &stop);
    let writers = scene.writers(options.changes, options.seed, &stop);
    let changes = tokio::spawn(scene.changes(stop.clone()));
    faults.run(&mut world, &gateways, &next, options.reads).await;
    stop.cancel();
    let (seen, written) = (all_seen(readers).await, all_written(writers).await);
    let changes = changes.await.unwrap();
    world.drain().await;

    let terms = Terms {
        interval: INTERVAL,
        settle: SETTLE,
        ttl: TTL,
        stale_if_error: Duration::ZERO,
        slowest: seen.slowest,
    };
    let ids = world.people.iter().map(|person| person.id.as_str());
    let through = written.through.len();
    let judge = Judge::new(ids, changes, written.through, Vec::new(), terms);
    report.figure("reads", seen.tally.successes());
    report.figure("hits", seen.hits);
    report.figure("hits that the event log made live longer", seen.coherent);
    report.figure(
        "changes past the gateways, through them, without an answer",
        format!("{}, {through}, {}", written.elsewhere, written.failed.len()),
    );
    report.figure("faults", serde_json::to_value(faults.happened()).unwrap());
    report.figure("reads that failed", seen.tally.failures());
    report.figure("the slowest answer (ms)", seen.slowest.as_millis() as u64);
    report.latencies("read", &seen.tally.latencies);
    report.promise(
        "there are hits that the event log made live longer",
        seen.coherent > 0,
        seen.coherent,
    );
    for (line, found) in judge.judge(&seen.reads) {
        if found.reads > 0 {
            let text = format!("none older than promised: {}", line.text());
            report.promise(text, found.broken == 0, found);
        }
    }
    let missing = faults.missing();
    report.promise(
        "every fault happened",
        missing.is_empty(),
        format_args!("missing: {missing:?}"),
    );
    let failed = seen.failed.iter().filter(|ended| !faults.explains(**ended)).count();
    report.promise(
        "no read fails unless its gateway is killed or hangs",
        failed == 0,
        format_args!("{failed}, all: {}", seen.failed.len()),
    );
    progress("reading the trails");
    for gateway in &world.gateways {
        let verdict = trail::verify(&common.gateway, &gateway.path("audit"));
        if !verdict.is_right {
            report.promise("`audit verify` finds nothing wrong", false, verdict.text);
        }
    }
    report
}

fn tables() -> String {
    format!(
        "[[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\", \"tenant.get\"]\n\
         ttl = \"{TTL:?}\"\nshared = true\ncoherent_ttl = \"10m\"\nstale_if_error = \"0s\"\n\
         [notices]\nevent_log = \"poll\"\ninterval = \"{INTERVAL:?}\"\nsettle = \"{SETTLE:?}\"\noverlap = \"10s\"\n"
    )
}

/// The shortest that is allowed.
const INTERVAL: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(1);
/// Longer than three times `INTERVAL` and `SETTLE`, so that the lines of the table differ.
const TTL: Duration = Duration::from_secs(6);
