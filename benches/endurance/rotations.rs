//! All seven values change, again and again, under load: no mixed set, no failed call.
//!
//! Each rotation goes in one of three orders. Most have an overlap: the new version becomes good
//! beside the one before, is written, arrives, and at that moment the one before is good no more.
//! Some change the upstream first, to the new one alone, and the source a moment later; some the
//! source first. The next rotation begins once the calls have ended that were under way when the last
//! one was done, so that none lives through more than two. After most writes the gateway is told
//! to look (SIGHUP), after some it has to notice by itself.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{
    Common,
    call::LIST,
    credentials::{Mark, Mounted},
    gateway::{Gateway, Setup},
    load::{Load, Pace},
    report::{Report, progress},
    upstream::Upstream,
    vault::Vault,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many rotations
    #[arg(long, default_value_t = 10_000)]
    rotations: u64,
    /// Calls a second
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Where the credentials are
    #[arg(long, value_enum, default_value_t = SourceKind::Directory)]
    source: SourceKind,
    /// One rotation in so many has no overlap, one in twice as many is not announced
    #[arg(long, default_value_t = 50)]
    hard_every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    /// A folder mounted as Kubernetes does it, whose link is exchanged
    Directory,
    /// OpenBao, named by `BAO_BIN`
    Vault,
}

/// Where versions are written.
enum Source {
    Directory(Mounted),
    Vault(Box<Vault>),
}

impl Source {
    async fn write(&mut self, version: u64) {
        match self {
            Self::Directory(mounted) => mounted.write(version),
            Self::Vault(vault) => assert!(vault.write(version).await, "OpenBao takes {version}"),
        }
    }
}

#[derive(Debug, Default)]
struct Done {
    overlapping: u64,
    upstream_first: u64,
    source_first: u64,
    noticed: u64,
    /// Versions that never arrived in time.
    late: Vec<u64>,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let mut report = Report::new(match options.source {
        SourceKind::Directory => "rotations of a directory",
        SourceKind::Vault => "rotations of a vault",
    });
    let upstream = Upstream::start().await;
    let (gateway, mut source) = match options.source {
        SourceKind::Directory => {
            let setup = Setup::new(common, &upstream);
            let mounted = setup.mounted(Mark::A);
            (setup.start().await, Source::Directory(mounted))
        }
        SourceKind::Vault => {
            let vault = Vault::start().await;
            let setup = Setup::with_vault(common, &upstream, &vault);
            (setup.start().await, Source::Vault(Box::new(vault)))
        }
    };
    let pace = Pace { callers: common.callers, rate: Some(options.rate) };
    let load = Load::start(gateway.address("main"), pace, |_| LIST.to_owned());
    let begun = Instant::now();
    let mut done = Done::default();
    for version in 2..=options.rotations + 1 {
        if version % 1_000 == 0 {
            progress(format_args!("rotation {version}, {} s", begun.elapsed().as_secs()));
        }
        rotate(&gateway, &upstream, &mut source, version, options, &mut done).await;
        load.calls_under_way().await;
    }
    let took = begun.elapsed();
    let tally = load.stop().await;
    let loaded = gateway.status().await["credentials"][0]["rotations"].clone();

    report.figure("rotations", options.rotations);
    report.figure("with an overlap", done.overlapping);
    report.figure("the upstream first", done.upstream_first);
    report.figure("the source first", done.source_first);
    report.figure("noticed without being told", done.noticed);
    report.figure("rotations a second", (options.rotations as f64 / took.as_secs_f64()).round());
    report.figure("versions loaded (by /status)", loaded);
    report.figure("versions that arrived upstream", upstream.versions());
    report.figure("callers", common.callers);
    report.figure("calls", tally.calls());
    report.figure("requests that arrived upstream", upstream.requests());
    report.figure("of them answered 401 and saved", upstream.unknown());
    report.latencies("call", &tally.latencies);
    report.promise("no mixed set", upstream.mixed() == 0, upstream.mixed());
    report.promise("no failed call", tally.calls() == tally.successes(), tally.failures());
    report.promise(
        "every version is in use within 5 s",
        done.late.is_empty(),
        format_args!("{} late {:?}", done.late.len(), done.late.iter().take(5).collect::<Vec<_>>()),
    );
    report
}

async fn rotate(
    gateway: &Gateway,
    upstream: &Upstream,
    source: &mut Source,
    version: u64,
    options: &Options,
    done: &mut Done,
) {
    let before = version - 1;
    let is_hard = version.is_multiple_of(options.hard_every);
    match (version / options.hard_every) % 2 {
        0 if is_hard => {
            done.upstream_first += 1;
            upstream.accept(Mark::A, version, version);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            source.write(version).await;
        }
        _ if is_hard => {
            done.source_first += 1;
            source.write(version).await;
            refresh(gateway).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
            upstream.accept(Mark::A, version, version);
        }
        _ => {
            done.overlapping += 1;
            upstream.accept(Mark::A, before, version);
            source.write(version).await;
            // A vault is not watched: what nobody announces is noticed by the first 401.
            if version % (2 * options.hard_every) == 1 {
                done.noticed += 1;
                if options.source == SourceKind::Vault {
                    upstream.accept(Mark::A, version, version);
                }
            } else {
                refresh(gateway).await;
            }
        }
    }
    if !upstream.arrived(Mark::A, version, Duration::from_secs(5)).await {
        done.late.push(version);
    }
    upstream.accept(Mark::A, version, version);
}

async fn refresh(gateway: &Gateway) {
    assert!(gateway.refresh().await, "the gateway reads its credentials");
}
