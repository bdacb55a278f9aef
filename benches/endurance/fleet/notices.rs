//! How fast a change is at all members of a fleet of a thousand that none of them made, by the webhook that one hub
//! takes, and by the event log that one hub reads for all.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use http::Method;
use pigello_mock::{WebhookFaults, WebhookHandle};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use super::{
    MISSING,
    crowd::Crowd,
    reader_of, record,
    store::StoreKind,
    until_all_hear, until_shown,
    world::{self, HUBS, World},
};
use crate::{
    Common,
    noticed::{Person, version_text},
    report::{Report, histogram, progress},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many members are nothing but members
    #[arg(long, default_value_t = 980)]
    members: usize,
    /// How many gateways there are
    #[arg(long, default_value_t = 20)]
    gateways: usize,
    /// How many changes come by a webhook, and as many by the event log
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// What they share
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

/// When a change was made, and from when on it was known.
struct Known {
    made: Instant,
    /// When each member heard of it.
    heard: Vec<Instant>,
    /// When each gateway showed it.
    shown: Vec<Instant>,
    /// Members and gateways that do not know it.
    missing: usize,
    /// How many calls Pigello got for the object since.
    fetches: usize,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet-notices");
    let store = world::store(options.store);
    let mut world = World::new(options.changes * 2).await;
    for number in 0..options.gateways {
        progress(format_args!("gateway {number}"));
        let tables = if number < HUBS { [RULE, HUB].concat() } else { RULE.to_owned() };
        world.add(common, &store.way(), &tables).await;
    }
    let crowd = Crowd::start(options.members, world::FLEET, &world.key_file(), &store.way());
    until_all_hear(&world, &crowd).await;
    world.until_log_is_read().await;
    let webhook = world.ask_for_webhooks();
    let (first, second) = world.people.split_at(options.changes);
    by_webhook(&mut report, &world, &crowd, &webhook, first).await;
    webhook.faults(WebhookFaults { lose: 1.0, ..WebhookFaults::default() });
    by_event_log(&mut report, &world, &crowd, &second[..options.changes]).await;
    crowd.end().await;
    world.drain().await;
    report
}

/// One change after the other, of which a hub gets a webhook.
async fn by_webhook(
    report: &mut Report,
    world: &World,
    crowd: &Crowd,
    webhook: &WebhookHandle,
    people: &[Person],
) {
    let (mut heard, mut shown, mut after) = (histogram(), histogram(), histogram());
    let (mut missing, mut fetches) = (0, 0);
    for (number, person) in people.iter().enumerate() {
        if number.is_multiple_of(20) {
            progress(format_args!("webhook {number}"));
        }
        let accepted = webhook.counts().accepted;
        let answered = async {
            webhook.wait_until(|counts| counts.accepted > accepted).await;
            Instant::now()
        };
        let (known, answered) = tokio::join!(follow(world, crowd, person), answered);
        for at in known.heard.iter().chain(&known.shown) {
            record(&mut after, at.saturating_duration_since(answered));
        }
        missing += known.missing;
        fetches = fetches.max(known.fetches);
        known.record(&mut heard, &mut shown);
    }
    report.promise(
        "Pigello gets at most 2 calls for an object that all gateways read when it has changed",
        fetches <= 2,
        format_args!("{fetches} at most"),
    );
    report.latencies("by webhook, from a change until a member has heard of it,", &heard);
    report.latencies("by webhook, from a change until a gateway shows it,", &shown);
    let counts = webhook.counts();
    report.figure("attempts of webhooks that failed", counts.refused + counts.unanswered);
    let (p99, max) = (after.value_at_quantile(0.99), after.max());
    report.promise(
        "a change is known to all members in less than 1 s after its webhook was answered",
        missing == 0 && Duration::from_micros(max) < Duration::from_secs(1),
        format_args!("p99 {p99} µs, max {max} µs, {missing} missing"),
    );
}

/// Changes at any time of the interval, of which only the event log tells.
async fn by_event_log(report: &mut Report, world: &World, crowd: &Crowd, people: &[Person]) {
    let (mut heard, mut shown, mut missing) = (histogram(), histogram(), 0);
    for (number, some) in people.chunks(AT_ONCE).enumerate() {
        progress(format_args!("event log, {} of {}", number * AT_ONCE, people.len()));
        let changes = some.iter().map(async |person| {
            sleep(INTERVAL.mul_f64(fastrand::f64())).await;
            follow(world, crowd, person).await
        });
        for known in join_all(changes).await {
            missing += known.missing;
            known.record(&mut heard, &mut shown);
        }
    }
    report.latencies("by event log, from a change until a member has heard of it,", &heard);
    report.latencies("by event log, from a change until a gateway shows it,", &shown);
    let max = Duration::from_micros(heard.max().max(shown.max()));
    report.promise(
        "by the event log a change is known to all members in less than `interval` + 1 s",
        missing == 0 && max < INTERVAL + Duration::from_secs(1),
        format_args!("{max:?} with {INTERVAL:?}, {missing} missing"),
    );
}

/// Changes an object at Pigello, and waits until every member has heard of it and every gateway shows it.
async fn follow(world: &World, crowd: &Crowd, person: &Person) -> Known {
    let mut readers = Vec::new();
    for gateway in 0..world.gateways.len() {
        readers.push(reader_of(world, gateway, &person.path).await);
    }
    // That it was made.
    crowd.forget(&person.id);
    let before = calls_for(world, person);
    let made = Instant::now();
    let body = json!({ "first_name": version_text(1) });
    let (status, answer) = world.activation.elsewhere(Method::PATCH, &person.path, &body);
    assert_eq!(status, 200, "{answer}");
    // Nobody reads before it can be known: that would be a load of its own.
    crowd.heard_by(1, &person.id, MISSING).await;
    let mut showing = JoinSet::new();
    for reader in readers {
        showing.spawn(until_shown(reader, person.path.clone(), 1));
    }
    let heard = crowd.heard(&person.id, MISSING).await;
    let shown: Vec<_> = showing.join_all().await.into_iter().flatten().collect();
    let missing = crowd.len() + world.gateways.len() - heard.len() - shown.len();
    let fetches = calls_for(world, person) - before;
    Known { made, heard, shown, missing, fetches }
}

/// How many of the calls that Pigello remembers were about an object.
fn calls_for(world: &World, person: &Person) -> usize {
    let calls = world.pigello().requests();
    calls.iter().filter(|call| call.target == person.path).count()
}

impl Known {
    fn record(&self, heard: &mut Histogram<u64>, shown: &mut Histogram<u64>) {
        for (histogram, times) in [(heard, &self.heard), (shown, &self.shown)] {
            for at in times {
                record(histogram, at.saturating_duration_since(self.made));
            }
        }
    }
}

const RULE: &str = "[[cache.rules]]\noperations = [\"subtenant.get\", \"tenant.get\"]\n\
                    ttl = \"1m\"\ncoherent_ttl = \"10m\"\nshared = true\n";
/// The default interval of the event log.
const INTERVAL: Duration = Duration::from_secs(5);
const HUB: &str = "[notices]\nevent_log = \"poll\"\ninterval = \"5s\"\n\
                   [notices.webhook]\nlistener = \"127.0.0.1:0\"\ntokens_file = \"hooks\"\n";
/// So many changes wait for the same readings of the event log.
const AT_ONCE: usize = 5;
