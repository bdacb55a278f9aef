//! Is any read older than the manual's table says? Callers read objects whose body says which version it is,
//! while somebody changes them at Pigello and through the gateway, and the event log, webhooks, Pigello's copy,
//! its clock and Pigello itself fail in turn.

mod faults;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use pigello_mock::Change;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::faults::Faults;
use super::{
    Common,
    noticed::Noticed,
    report::{Report, progress},
    trail::{self, Trail},
    versions::{
        Gateways, Scene, Seen, all_seen, all_written,
        judge::{Judge, Terms},
    },
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many reads at least; there is at least one round of all faults
    #[arg(long, default_value_t = 1_000_000)]
    reads: u64,
    /// How many objects
    #[arg(long, default_value_t = 300)]
    objects: usize,
    /// Changes a second, half of them through the gateway
    #[arg(long, default_value_t = 30.0)]
    changes: f64,
    /// Decides which faults come when
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fresh");
    let mut noticed = Noticed::start(common, &tables(), options.objects).await;
    let webhook = noticed.ask_for_webhooks();
    let (stop, next) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let scene = Scene {
        people: Arc::clone(&noticed.people),
        activation: noticed.activation.clone(),
        gateways: Gateways::new(std::iter::once(noticed.main())),
    };
    let readers = scene.readers(common.callers, &next, &stop);
    let writers = scene.writers(options.changes, options.seed, &stop);
    let changes = tokio::spawn(scene.changes(stop.clone()));
    let faults = Faults::new(&noticed, &webhook, options.seed);
    faults.run(&next, options.reads).await;
    stop.cancel();
    let (seen, written) = (all_seen(readers).await, all_written(writers).await);
    let changes = changes.await.unwrap();
    let (happened, down) = (faults.happened(), faults.down_times());
    let calm = faults.calm_times();
    let status = noticed.gateway.status().await;
    noticed.gateway.drain().await;

    let terms = Terms {
        interval: INTERVAL,
        settle: SETTLE,
        ttl: TTL,
        stale_if_error: STALE_IF_ERROR,
        slowest: seen.slowest,
    };
    let ids = noticed.people.iter().map(|person| person.id.as_str());
    let through = written.through.len() as u64;
    let judge = Judge::new(ids, changes.clone(), written.through, calm, terms);
    report.figure("reads", seen.tally.successes());
    report.figure("hits", seen.hits);
    report.figure("hits that the event log made live longer", seen.coherent);
    report.figure(
        "changes at Pigello, through the gateway",
        format!("{}, {through}", written.elsewhere),
    );
    report.figure("notices", status["notices"][0]["sources"].clone());
    report.figure("faults", serde_json::to_value(&happened).unwrap());
    report.figure("the slowest answer (ms)", seen.slowest.as_millis() as u64);
    report.latencies("read", &seen.tally.latencies);
    promises(&mut report, &judge, &seen);
    let expected: u64 = judge.newest().map(|newest| newest as u64).sum();
    report.promise(
        "every change was made, and is known",
        written.failed.is_empty() && expected == written.elsewhere + through,
        format_args!("{expected}, failed: {:?}", written.failed.first()),
    );
    held_to_faults(&mut report, &changes, &happened);
    let is_down =
        |ended: &Instant| down.iter().any(|down| down.0 <= *ended && *ended <= down.1 + RECOVERY);
    let failed = seen.failed.iter().filter(|ended| !is_down(ended)).count();
    report.promise(
        "no read fails unless Pigello is down",
        failed == 0,
        format_args!("{failed}, all: {}", seen.tally.failures()),
    );
    progress("reading the trail");
    let directory = noticed.gateway.path("audit");
    let (trail, verdict) = (Trail::read(&directory), trail::verify(&common.gateway, &directory));
    report.figure("lines of the trail about notices", trail.markers.get("notices").copied());
    let records = (trail.calls.len() as u64).saturating_sub(trail.own);
    report.promise(
        "a record for every call of a caller",
        records == seen.tally.calls() + through,
        format_args!("{records}, and {} of the gateway's own", trail.own),
    );
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    report
}

fn tables() -> String {
    format!(
        "[timeouts]\nfirst_byte = \"2s\"\n\
         [[cache.rules]]\noperations = [\"subtenant.get\", \"subtenant.list\", \"tenant.get\"]\n\
         ttl = \"{TTL:?}\"\ncoherent_ttl = \"10m\"\nstale_if_error = \"{STALE_IF_ERROR:?}\"\n\
         [notices]\nevent_log = \"poll\"\ninterval = \"{INTERVAL:?}\"\nsettle = \"{SETTLE:?}\"\noverlap = \"10s\"\n"
    )
}

/// What the manual's table promises.
fn promises(report: &mut Report, judge: &Judge, seen: &Seen) {
    report.promise(
        "there are hits that the event log made live longer",
        seen.coherent > 0,
        seen.coherent,
    );
    for (line, found) in judge.judge(&seen.reads) {
        let text = format!("none older than promised: {}", line.text());
        report.promise(text, found.broken == 0 && found.reads > 0, found);
    }
}

/// Every fault must have happened.
fn held_to_faults(report: &mut Report, changes: &[Change], happened: &BTreeMap<&'static str, u64>) {
    let count = |is: fn(&Change) -> bool| changes.iter().filter(|change| is(change)).count();
    let (late, doubled) = (count(|it| it.logged > it.made), count(|it| it.doubled));
    let tied = changes.windows(2).filter(|two| two[0].created_at == two[1].created_at).count();
    let behind = count(|it| it.readable > it.made);
    report.figure("rows late, doubled, of one time", format!("{late}, {doubled}, {tied}"));
    report.figure("changes that Pigello's copy had late", behind);
    let missing: Vec<_> = faults::KINDS
        .into_iter()
        .filter(|kind| happened.get(kind).is_none_or(|count| *count == 0))
        .collect();
    report.promise(
        "every fault happened",
        missing.is_empty() && [late, doubled, tied, behind].iter().all(|count| *count > 0),
        format_args!("missing: {missing:?}"),
    );
}

/// The shortest that is allowed.
const INTERVAL: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(1);
/// Longer than three times `INTERVAL` and `SETTLE`, so that the lines of the table differ.
const TTL: Duration = Duration::from_secs(6);
const STALE_IF_ERROR: Duration = Duration::from_secs(4);
/// How long the gateway may take to notice that Pigello is back.
const RECOVERY: Duration = Duration::from_secs(15);
