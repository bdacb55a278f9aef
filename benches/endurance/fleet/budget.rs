//! Twenty gateways that share a budget of calls, with callers who want more than there is, and some far more than
//! others.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    store::StoreKind,
    world::{self, World},
};
use crate::{
    Common,
    call::LIST,
    load::{Load, Pace},
    report::{Report, progress},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many gateways there are
    #[arg(long, default_value_t = 20)]
    gateways: usize,
    /// For how long it is measured, in seconds
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// What they share
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("fleet-budget");
    let store = world::store(options.store);
    let mut world = World::new(1).await;
    for number in 0..options.gateways {
        progress(format_args!("gateway {number}"));
        world.add(common, &store.way(), TABLES).await;
    }
    world.until_hearing().await;
    let wanted: Vec<f64> =
        (0..options.gateways).map(|gateway| if gateway < GREEDY { MUCH } else { LITTLE }).collect();
    let start = |gateway: usize| {
        let pace = Pace { callers: 4, rate: Some(wanted[gateway]) };
        Load::start(world.main(gateway), pace, |_| LIST.to_owned())
    };
    let warm: Vec<_> = (0..options.gateways).map(start).collect();
    sleep(Duration::from_secs(6)).await;
    let loads: Vec<_> = (0..options.gateways).map(start).collect();
    for load in warm {
        load.stop().await;
    }
    let begun = Instant::now();
    let before = world.pigello().request_count();
    let most = most_in_a_second(&world, Duration::from_secs(options.seconds)).await;
    let sent = world.pigello().request_count() - before;
    let seconds = begun.elapsed().as_secs_f64();
    let mut got = Vec::new();
    for load in loads {
        got.push(load.stop().await.successes() as f64 / seconds);
    }
    let fair = fair_shares(&wanted);
    let satisfied: Vec<_> = got.iter().zip(&fair).map(|(got, fair)| got / fair).collect();
    let (sum, squares) =
        satisfied.iter().fold((0.0, 0.0), |(sum, squares), it| (sum + it, squares + it * it));
    let jain = sum * sum / (satisfied.len() as f64 * squares);
    let used = sent as f64 / (RATE * seconds);
    report.figure("wanted a second", wanted.iter().sum::<f64>());
    report.figure("sent a second", sent as f64 / seconds);
    report.promise("at most 210 calls in any second", most <= 210, most);
    report.promise(
        "Jain's index of the fair shares is 0.95 at least",
        jain >= 0.95,
        format_args!("{jain:.3}"),
    );
    report.promise(
        "at most 5 % of the budget are unused",
        used >= 0.95,
        format_args!("{:.1} % used", used * 100.0),
    );
    world.drain().await;
    report
}

/// The most calls that Pigello got in any second of that time.
async fn most_in_a_second(world: &World, lasts: Duration) -> u64 {
    let mut every = interval(STEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (begun, mut counts) = (Instant::now(), Vec::new());
    while begun.elapsed() < lasts {
        every.tick().await;
        counts.push((begun.elapsed(), world.pigello().request_count()));
    }
    let within = |(at, count): &(Duration, u64)| {
        let later = counts.partition_point(|(other, _)| *other <= *at + Duration::from_secs(1));
        counts[later - 1].1 - count
    };
    counts.iter().map(within).max().unwrap_or_default()
}

/// What each has if the rest is shared evenly among those that want more (max-min fairness).
fn fair_shares(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by(|one, other| wanted[*one].total_cmp(&wanted[*other]));
    let (mut left, mut shares) = (RATE, vec![0.0; wanted.len()]);
    for (place, gateway) in order.iter().enumerate() {
        shares[*gateway] = wanted[*gateway].min(left / (wanted.len() - place) as f64);
        left -= shares[*gateway];
    }
    shares
}

const TABLES: &str = "[profiles.p.budget]\nrate = 200\nburst = 200\n";
const RATE: f64 = 200.0;
/// So many gateways want much.
const GREEDY: usize = 2;
const MUCH: f64 = 150.0;
const LITTLE: f64 = 6.0;
const STEP: Duration = Duration::from_millis(10);
