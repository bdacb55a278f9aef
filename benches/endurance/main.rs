//! The endurance bench: the real program under load, while what it depends on changes, stops, fills
//! up or kills it, and a count of everything on both sides of it.
//!
//! `cargo bench --bench endurance -- SCENARIO [options]` starts the gateway as a process, an upstream
//! that takes no mixed set, and callers, all on loopback; it prints a table and JSON, and ends with 1
//! when a promise broke. `README.md` beside this file has the scenarios.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a rig that cannot go on says where, and ends"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its table and its progress")]
#![expect(unreachable_pub, reason = "the binary has no outside")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures for people"
)]

mod call;
mod credentials;
mod frames;
mod gateway;
mod load;
mod mix;
mod network;
mod noticed;
mod procfs;
mod report;
mod trail;
mod upstream;
mod vault;
mod vault_proxy;
mod versions;

mod activations;
mod collector;
mod disk;
mod fleet;
mod floods;
mod forged;
mod fresh;
mod hostile;
mod kill;
mod million;
mod moving;
mod outages;
mod rotations;
mod sizing;
mod soak;
mod trail_cost;
mod two_profiles;
mod vault_stopped;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use self::report::Report;

#[derive(Debug, Parser)]
#[command(
    name = "endurance",
    about = "The real gateway under load, while the world around it fails"
)]
struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    #[command(flatten)]
    common: Common,
    /// What `cargo bench` says to every bench.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What every scenario can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Another build of the gateway than the one this bench was built with
    #[arg(long, global = true, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_pigello-gateway"))]
    gateway: PathBuf,
    /// How many callers there are
    #[arg(long, global = true, default_value_t = 64)]
    callers: usize,
    /// Writes the figures there as JSON, too
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Sets a key of the gateway: `TELEMETRY__LOG_LEVEL=debug`
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Keeps the gateway's folder (configuration, log, trail) and says where it is
    #[arg(long, global = true)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// All seven values change under load: no mixed set, no failed call
    Rotations(rotations::Options),
    /// A thousand activations behind one listener: rotations, an outage, and names that are not there
    Activations(activations::Options),
    /// The vault is stopped and killed under load, and nobody notices
    VaultStopped(vault_stopped::Options),
    /// As many records as calls, whatever becomes of them
    Million(million::Options),
    /// The upstream's name moves, its connections end, and an address is dead (needs root)
    Moving(moving::Options),
    /// What a caller sees of each outage between gateway and upstream, and when (needs root)
    Outages(outages::Options),
    /// `kill -9` at random moments, and what is on the trail
    Kill(kill::Options),
    /// A collector of the trails is killed, and what a store has of them (needs `ROTEL_BIN` and `CHDB_PYTHON`)
    Collector(collector::Options),
    /// What the trail costs
    TrailCost(trail_cost::Options),
    /// Two profiles on the same paths, while both sets rotate
    TwoProfiles(two_profiles::Options),
    /// The trail's disk is full, away, read-only or slow (needs root)
    Disk(disk::Options),
    /// An hour's worth of calls, and memory and descriptors
    Soak(soak::Options),
    /// Floods, and those who behave
    Floods(floods::Options),
    /// All floods at once, from callers who may little or nothing, beside those who behave
    Hostile(hostile::Options),
    /// A thousand members on one store: writes, pauses, a store that hangs, and one that comes back empty
    Fleet(fleet::Options),
    /// Objects change while the gateways and the store of a fleet fail: no read is older than promised
    FleetFresh(fleet::fresh::Options),
    /// Twenty gateways share a budget of calls, and some want far more than others
    FleetBudget(fleet::budget::Options),
    /// Objects change at Pigello, which tells one hub: how fast it is at a thousand members
    FleetNotices(fleet::notices::Options),
    /// A secret is rotated in twenty gateways, and wrong ones are tried by few
    FleetRotation(fleet::rotation::Options),
    /// What a read costs that another gateway of the fleet has fetched
    FleetTier(fleet::tier::Options),
    /// Objects change while notices of it are lost, late and broken: no read is older than promised
    Fresh(fresh::Options),
    /// A flood of forged webhooks, and those who read
    Forged(forged::Options),
    /// What a connection and a stored answer take of memory
    Sizing(sizing::Options),
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("a key, `=` and a value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let Arguments { scenario, common, bench: _ } = Arguments::parse();
    let Some(scenario) = scenario else {
        println!("{}", Arguments::command().render_help());
        return ExitCode::SUCCESS;
    };
    gateway::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report: Report = runtime.block_on(async {
        match scenario {
            Scenario::Rotations(options) => rotations::run(&common, &options).await,
            Scenario::Activations(options) => activations::run(&common, &options).await,
            Scenario::VaultStopped(options) => vault_stopped::run(&common, &options).await,
            Scenario::Million(options) => million::run(&common, &options).await,
            Scenario::Moving(options) => moving::run(&common, &options).await,
            Scenario::Outages(options) => outages::run(&common, &options).await,
            Scenario::Kill(options) => kill::run(&common, &options).await,
            Scenario::Collector(options) => collector::run(&common, &options).await,
            Scenario::TrailCost(options) => trail_cost::run(&common, &options).await,
            Scenario::TwoProfiles(options) => two_profiles::run(&common, &options).await,
            Scenario::Disk(options) => disk::run_all(&common, &options).await,
            Scenario::Soak(options) => soak::run(&common, &options).await,
            Scenario::Floods(options) => floods::run(&common, &options).await,
            Scenario::Hostile(options) => hostile::run(&common, &options).await,
            Scenario::Fleet(options) => fleet::run(&common, &options).await,
            Scenario::FleetFresh(options) => fleet::fresh::run(&common, &options).await,
            Scenario::FleetBudget(options) => fleet::budget::run(&common, &options).await,
            Scenario::FleetNotices(options) => fleet::notices::run(&common, &options).await,
            Scenario::FleetRotation(options) => fleet::rotation::run(&common, &options).await,
            Scenario::FleetTier(options) => fleet::tier::run(&common, &options).await,
            Scenario::Fresh(options) => fresh::run(&common, &options).await,
            Scenario::Forged(options) => forged::run(&common, &options).await,
            Scenario::Sizing(options) => sizing::run(&common, &options).await,
        }
    });
    report.print();
    if let Some(file) = &common.json {
        std::fs::write(file, report.json()).unwrap();
    }
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
