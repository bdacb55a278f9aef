//! The gateway beside other proxies that do the same job, on the same machine at the same time.
//!
//! `cargo bench --bench side_by_side` starts an upstream, then the contestants one at a time, each
//! with one worker on core 0, and calls them from core 1. Before anything is measured each has to show
//! that it does the job ([`check`]). Rounds are interleaved and their order rotated, each contestant
//! starts fresh for each measurement, and what is compared is CPU time per call within a round: on a
//! shared machine nothing else holds. See README.md beside this folder for what it needs and how to
//! read it.
#![expect(unreachable_pub, reason = "the program has no outside")]

mod workload;
mod contestant;
mod check;
mod measure;
mod stall;
mod start;
mod report;
mod floor;
mod load;
mod exchange;
mod machine;
#[path = "../support/failure.rs"]
mod failure;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/workplace.rs"]
mod workplace;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anstream::eprintln;
use clap::{Args, Parser, Subcommand};
use pigello_mock::Authority;

use self::{
    contestant::{Contestant, Origin},
    failure::{During as _, Failure},
    measure::Measurement,
    report::Report,
    workload::Workload,
};

/// Measures the gateway beside nginx, HAProxy, Envoy and two bare floors.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

/// What this program does as a process of its own, pinned to a core.
#[derive(Debug, Subcommand)]
enum Part {
    /// Calls at a fixed rate.
    #[command(hide = true)]
    Load(load::Arguments),
    /// Answers or forwards, and nothing else.
    #[command(hide = true)]
    Floor(floor::Arguments),
}

#[derive(Debug, Args)]
struct Options {
    /// Rounds; each measures every workload with every contestant.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long one measurement takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    seconds: u64,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',', value_enum)]
    workloads: Vec<Workload>,
    /// Only these contestants, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    contestants: Vec<String>,
    /// The gateway as release/build makes it, to be measured beside the plain build.
    #[arg(long, value_name = "FILE")]
    released: Option<PathBuf>,
    /// Another build of the gateway, to be measured as well.
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    gateway: Vec<(String, PathBuf)>,
    /// HAProxy's program.
    #[arg(long, value_name = "FILE", default_value = "haproxy")]
    haproxy: PathBuf,
    /// Envoy's program.
    #[arg(long, value_name = "FILE", default_value = "envoy")]
    envoy: PathBuf,
    /// Leave out contestants whose program is not there, instead of stopping.
    #[arg(long)]
    skip_missing: bool,
    /// Measure again, up to so many times, while others take more than a tenth of the machine.
    #[arg(long, default_value_t = 2)]
    retries: u32,
    /// Where the figures go as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/side-by-side.json")]
    out: PathBuf,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.part {
        Some(Part::Load(arguments)) => load::run(&arguments),
        Some(Part::Floor(arguments)) => floor::run(&arguments),
        None => compare(&arguments.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("is NAME=FILE")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

fn compare(options: &Options) -> Result<(), Failure> {
    if let Some(folder) = options.out.parent() {
        fs::create_dir_all(folder).during(format_args!("cannot make {}", folder.display()))?;
    }
    machine::get_ahead();
    let authority = Authority::new("side by side").during("cannot make an authority")?;
    let contestants = contestants(options)?;
    for contestant in &contestants {
        check::does_the_job(contestant, &authority)?;
        eprintln!("{contestant}: does the job");
    }
    let origin = Origin::start(authority)?;
    let mut report = Report::new(options.rounds, options.seconds, &contestants);
    let workloads = if options.workloads.is_empty() {
        Workload::ALL.to_vec()
    } else {
        options.workloads.clone()
    };
    let duration = Duration::from_secs(options.seconds);
    for round in 0..options.rounds {
        for workload in &workloads {
            let mut order: Vec<_> = contestants.iter().filter(|who| who.takes(*workload)).collect();
            let places = order.len().max(1);
            order.rotate_left(round as usize % places);
            for contestant in order {
                let measured = measure(*workload, contestant, &origin, duration, options.retries)?;
                eprintln!("round {}: {workload}: {contestant}: {measured}", round + 1);
                report.add(round, *workload, contestant, measured);
            }
        }
        // After each round, so that one that breaks off leaves those before it.
        report.write(&options.out)?;
    }
    report.print();
    Ok(())
}

/// One measurement; of several, the one during which the machine was the calmest.
fn measure(
    workload: Workload,
    contestant: &Contestant,
    origin: &Origin,
    duration: Duration,
    retries: u32,
) -> Result<Measurement, Failure> {
    let once = || match workload {
        Workload::Start => start::measure(contestant, origin),
        Workload::Stalled => stall::measure(contestant, origin, duration),
        _ => measure::measure(workload, contestant, origin, duration),
    };
    let mut calmest = once()?;
    for _ in 0..retries {
        if calmest.foreign <= FOREIGN {
            break;
        }
        let again = once()?;
        if again.foreign < calmest.foreign {
            calmest = again;
        }
    }
    Ok(calmest)
}

fn contestants(options: &Options) -> Result<Vec<Contestant>, Failure> {
    let mut all = vec![Contestant::gateway(PLAIN, env!("CARGO_BIN_EXE_pigello-gateway").into())];
    if let Some(program) = &options.released {
        let released = Contestant::gateway(RELEASED, program.clone());
        if !released.version()?.contains("pgo: yes") {
            let program = program.display();
            return Err(Failure::new(format!("{program} was not built with a profile")));
        }
        all.push(released);
    }
    let more = options.gateway.iter();
    all.extend(more.map(|(name, file)| Contestant::gateway(name, file.clone())));
    all.extend([
        Contestant::nginx(),
        Contestant::haproxy(options.haproxy.clone()),
        Contestant::envoy(options.envoy.clone()),
        Contestant::floor_server()?,
        Contestant::floor_proxy()?,
    ]);
    if !options.contestants.is_empty() {
        all.retain(|contestant| options.contestants.iter().any(|name| name == contestant.name()));
    }
    let mut found = Vec::new();
    for contestant in all {
        match contestant.version() {
            Ok(version) => found.push(contestant.with_version(version)),
            Err(failure) if options.skip_missing => eprintln!("left out: {failure}"),
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

/// The gateway as `cargo build --release` makes it.
const PLAIN: &str = "pigello-gateway";
/// The gateway as `release/build` makes it, with a profile of its load.
const RELEASED: &str = "pigello-gateway (released)";
/// The part of the machine that others may take during a measurement.
const FOREIGN: f64 = 0.1;
