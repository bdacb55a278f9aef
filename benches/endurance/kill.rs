//! `kill -9` at random moments under load, again and again on the same trail, and a look at what is
//! on it: a synced one loses no answered call and leaves no sent call without an intent; a batched
//! one loses answers of the last milliseconds only; both are right, and name each crash.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use pigello_gateway::audit::{self as library, VerifyOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Common,
    call::{Caller, LIST, subtenant},
    gateway::{Gateway, Setup},
    report::{Report, histogram, progress},
    trail::{self, Trail},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often it is killed
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// The trail's durability
    #[arg(long, value_enum, default_value_t = Durability::Synced)]
    durability: Durability,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    Synced,
    Batched,
}

/// A call that was answered, and when its answer was whole.
type Answered = (u128, Instant);

pub async fn run(common: &Common, options: &Options) -> Report {
    let upstream = Upstream::start().await;
    let (name, scenario) = match options.durability {
        Durability::Synced => ("synced", "killed with a synced trail"),
        Durability::Batched => ("batched", "killed with a batched trail"),
    };
    let mut report = Report::new(scenario);
    let setup = Setup::new(common, &upstream).set("AUDIT__DURABILITY", name).revalidating();
    let mut gateway = setup.start().await;
    let directory = gateway.path("audit");
    let (mut answered, mut wrong) = (Vec::new(), Vec::new());
    let (mut restarts, mut torn, mut unknown) = (histogram(), 0, 0);
    for round in 1..=options.kills {
        answered.push(load_and_kill(common, &mut gateway).await);
        if round % 10 == 0 {
            progress(format_args!("kill {round}"));
        }
        let begun = Instant::now();
        gateway.restart().await;
        restarts.saturating_record(begun.elapsed().as_micros() as u64);
        let found = library::verify(&directory, VerifyOptions::default(), |_| {}).unwrap();
        (torn, unknown) = (found.torn, found.unknown);
        if !found.problems.is_empty() || found.crashes != round || found.lost > 0 {
            wrong.push(format!("after kill {round}: {found:?}"));
        }
    }
    gateway.drain().await;
    let (trail, verdict) = (Trail::read(&directory), trail::verify(&common.gateway, &directory));

    let answers = answered.iter().map(|(calls, _)| calls.len()).sum::<usize>();
    report.figure("kills", options.kills);
    report.figure("calls answered", answers);
    report.figure("calls the upstream saw", upstream.ids().len());
    report.figure("calls on the trail", trail.calls.len());
    report.figure("intents", trail.intents.len());
    report.figure("half lines that the kills left", torn);
    report.figure("calls whose outcome is unknown", unknown);
    report.latencies("restart until ready", &restarts);
    let first = wrong.first().map_or("", String::as_str);
    report.promise(
        "after each kill the trail is right and names the crash",
        wrong.is_empty(),
        format_args!("{} wrong {first}", wrong.len()),
    );
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    let lost = lost(&answered, &trail);
    let oldest = lost.iter().max().copied().unwrap_or_default();
    match options.durability {
        Durability::Synced => {
            report.promise("no answered call is missing", lost.is_empty(), lost.len());
            let ids = upstream.ids();
            let bare = ids.keys().filter(|id| !trail.intents.contains_key(id)).count();
            report.promise("no call was sent without an intent", bare == 0, bare);
            let told = |id: &u128| trail.calls.contains_key(id) || trail.unknown.contains(id);
            let untold = ids.keys().filter(|id| !told(id)).count();
            report.promise(
                "every call that was sent has a record, or is unknown",
                untold == 0,
                untold,
            );
        }
        Durability::Batched => {
            report.figure("answered calls that are missing", lost.len());
            report.promise(
                "what is missing was answered within 20 ms of the kill",
                oldest <= Duration::from_millis(20),
                format_args!("the oldest {:.1} ms before", oldest.as_secs_f64() * 1e3),
            );
        }
    }
    report
}

/// Callers at work until the gateway is killed under them: what they were answered, and when it was
/// killed.
async fn load_and_kill(common: &Common, gateway: &mut Gateway) -> (Vec<Answered>, Instant) {
    let (address, stop) = (gateway.address("main"), CancellationToken::new());
    let (mut callers, stopped) = (JoinSet::new(), Arc::new(stop.clone()));
    for number in 0..common.callers as u64 {
        let stop = Arc::clone(&stopped);
        callers.spawn(async move {
            let (mut caller, mut answered) = (Caller::new(address), Vec::new());
            for n in 0_u64.. {
                let target = if n % 4 == 0 { subtenant(number) } else { LIST.to_owned() };
                // Some leave: their fetches go on without them.
                let patience = Duration::from_micros(fastrand::u64(50..5_000));
                let patience = if n % 8 == 0 { patience } else { Duration::from_mins(1) };
                match tokio::time::timeout(patience, caller.get(&target)).await {
                    Ok(Ok(answer)) => answered.extend(answer.id.map(|id| (id, Instant::now()))),
                    Ok(Err(_)) => break,
                    Err(_) => caller.leave(),
                }
                if stop.is_cancelled() {
                    break;
                }
            }
            answered
        });
    }
    tokio::time::sleep(Duration::from_micros(fastrand::u64(20_000..400_000))).await;
    let killed = Instant::now();
    gateway.kill();
    stop.cancel();
    let mut answered = Vec::new();
    while let Some(calls) = callers.join_next().await {
        answered.extend(calls.unwrap());
    }
    (answered, killed)
}

/// Of answered calls that are not on the trail: how long before the kill they were answered.
fn lost(answered: &[(Vec<Answered>, Instant)], trail: &Trail) -> Vec<Duration> {
    let rounds = answered.iter().flat_map(|(calls, killed)| {
        calls.iter().map(move |(id, at)| (id, killed.saturating_duration_since(*at)))
    });
    rounds.filter(|(id, _)| !trail.calls.contains_key(id)).map(|(_, before)| before).collect()
}
