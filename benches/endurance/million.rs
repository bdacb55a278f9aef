//! One record for every call: so many calls, among them refusals, time-outs and callers that leave,
//! and as many records, held against what the callers and the upstream counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinSet;

use super::{
    Common,
    call::Caller,
    gateway::Setup,
    load::Tally,
    mix,
    report::{Report, progress},
    trail::{self, Trail},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many calls
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// Of a thousand calls, so many are left before their answer has begun, and as many within it
    #[arg(long, default_value_t = mix::LEFT, value_parser = clap::value_parser!(u64).range(..=480))]
    left: u64,
    /// Every stored response is stale at once, and revalidated behind its callers
    #[arg(long)]
    revalidate: bool,
}

/// What one caller made.
#[derive(Debug, Default)]
struct Made {
    tally: Tally,
    /// Of answered calls.
    ids: Vec<(u128, u16)>,
    left: u64,
    /// Calls that did not end as they had to.
    wrong: Vec<String>,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("a million calls");
    let upstream = Upstream::start().await;
    let setup = Setup::new(common, &upstream).set("TIMEOUTS__FIRST_BYTE", "3s");
    let setup = if options.revalidate { setup.revalidating() } else { setup };
    let mut gateway = setup.start().await;
    let (address, next) = (gateway.address("main"), Arc::new(AtomicU64::new(0)));
    let (begun, calls, left) = (Instant::now(), options.calls, options.left);
    let mut callers = JoinSet::new();
    for _ in 0..common.callers {
        let (upstream, next) = (upstream.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let (mut caller, mut made) = (Caller::new(address), Made::default());
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= calls {
                    return made;
                }
                if n.is_multiple_of(100_000) {
                    progress(format_args!("call {n}, {} s", begun.elapsed().as_secs()));
                }
                made.one(&mut caller, &upstream, mix::Kind::of(n, left), n).await;
            }
        });
    }
    let mut all = Made::default();
    while let Some(made) = callers.join_next().await {
        all.merge(made.unwrap());
    }
    let took = begun.elapsed();
    gateway.drain().await;
    progress("reading the trail");
    let directory = gateway.path("audit");
    let (trail, verdict) = (Trail::read(&directory), trail::verify(&common.gateway, &directory));

    report.figure("callers", common.callers);
    report.figure("calls made", calls);
    report.figure("calls a second", (calls as f64 / took.as_secs_f64()).round());
    report.figure("answers by status", format!("{:?}", all.tally.statuses));
    report.figure("callers that left", all.left);
    report.figure("requests at the upstream", upstream.requests());
    report.figure("upstream connections that broke", upstream.broken());
    report.figure("records by status and error", trail.summary());
    report.latencies("call", &all.tally.latencies);
    let wrong = format!("{} {}", all.wrong.len(), all.wrong.first().map_or("", |text| text));
    report.promise("every call ends as it has to", all.wrong.is_empty(), wrong);
    let records = trail.calls.len() as u64;
    report.figure("calls of the gateway's own", trail.own);
    report.promise("a record for every call, and no other", records == calls + trail.own, records);
    report.promise("no call has two", trail.repeated == 0, trail.repeated);
    let missing = all.ids.iter().filter(|(id, status)| {
        trail.calls.get(id).is_none_or(|record| record.status != Some(*status))
    });
    let missing = missing.count();
    report.promise(
        "every answer has a record with its status",
        missing == 0,
        format_args!("{missing} of {} are missing", all.ids.len()),
    );
    hold_against(&mut report, &upstream, &trail);
    report.promise("`audit verify` finds nothing wrong", verdict.is_right, verdict.text);
    report
}

/// What the upstream saw must be on the trail, and what the trail says was sent must have arrived.
fn hold_against(report: &mut Report, upstream: &Upstream, trail: &Trail) {
    let ids = upstream.ids();
    let unrecorded = ids.keys().filter(|id| !trail.calls.contains_key(id)).count();
    report.promise(
        "every call that the upstream saw has a record",
        unrecorded == 0,
        format_args!("{unrecorded} of {} have none", ids.len()),
    );
    let seen = |id: &u128| ids.get(id).copied().unwrap_or_default();
    let other = trail.calls.iter().filter(|(id, record)| record.attempts != seen(id)).count();
    report.promise(
        "the upstream saw each call as often as its record says",
        other == 0,
        format_args!("{other} differ"),
    );
    report.promise("no mixed set", upstream.mixed() == 0, upstream.mixed());
}

impl Made {
    async fn one(&mut self, caller: &mut Caller, upstream: &Upstream, kind: mix::Kind, n: u64) {
        let due = Instant::now();
        let outcome = mix::make(caller, upstream, kind, n).await;
        if !mix::note(&mut self.tally, kind, &outcome, due) {
            self.wrong.push(format!("{kind:?} {outcome}"));
        }
        match outcome {
            mix::Outcome::Answered(Ok(answer)) => {
                self.ids.extend(answer.id.map(|id| (id, answer.status)));
            }
            mix::Outcome::Left => self.left += 1,
            mix::Outcome::Answered(Err(_)) | mix::Outcome::Stuck => {}
        }
    }

    fn merge(&mut self, other: Self) {
        self.tally.merge(other.tally);
        self.ids.extend(other.ids);
        self.left += other.left;
        self.wrong.extend(other.wrong);
    }
}
