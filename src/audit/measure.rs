//! Figures, for a person to read: run by name with `--ignored --nocapture`, optimised.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::unchecked_time_subtraction,
    reason = "figures are read by people, and time goes forward"
)]

use std::{
    io::Write as _,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    Durability, Found, Intent, ReadError, Record, Settings, Trail, call, files, read_through,
    testing::{check, record},
};

#[expect(clippy::disallowed_methods, reason = "a person says how much")]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn tell(text: std::fmt::Arguments<'_>) {
    writeln!(std::io::stdout(), "{text}").unwrap();
}

/// CPU time of this process so far, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A call like those of a busy day.
fn varied(nth: u64) -> Record {
    let mut record = record();
    record.time = std::time::SystemTime::now();
    record.duration = Duration::from_micros(200 + nth * 7_919 % 50_000);
    record.caller = Some(["billing", "portal", "reports"][(nth % 3) as usize].into());
    record
}

/// Does not run ahead of the writer.
fn fill(trail: &Trail, calls: u64) {
    for nth in 0..calls {
        trail.submit(varied(nth));
        while nth % 256 == 0 && trail.stats().queued > 20_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn writing() {
    let home = tempfile::tempdir().unwrap();
    let calls = number("CALLS", 1_000_000);
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    let (began, cpu_before) = (Instant::now(), cpu());
    let in_submit = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for nth in 0..calls / 64 {
                    let record = varied(nth);
                    let before = Instant::now();
                    trail.submit(record);
                    let spent = before.elapsed().as_nanos() as u64;
                    in_submit.fetch_add(spent, Ordering::Relaxed);
                    while trail.stats().queued > 20_000 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    let calls = calls / 64 * 64;
    trail.close().unwrap();
    let (elapsed, cpu) = (began.elapsed(), cpu() - cpu_before);
    let report = check(home.path());
    assert_eq!((report.calls, report.lost, report.problems.len()), (calls, 0, 0));
    tell(format_args!(
        "{calls} records in {elapsed:?}; CPU {:.2} us a record in all; {} ns in submit",
        cpu.as_secs_f64() * 1e6 / calls as f64,
        in_submit.into_inner() / calls,
    ));
}

#[test]
#[ignore = "prints figures"]
fn synced() {
    let calls = number("CALLS", 20_000);
    let rate = |durability| {
        let home = tempfile::tempdir_in(".").unwrap();
        let trail = Trail::open(&Settings { durability, ..Settings::new(home.path()) }).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let began = Instant::now();
        runtime.block_on(async {
            let callers: Vec<_> = (0..64)
                .map(|_| {
                    let trail = trail.clone();
                    tokio::spawn(async move {
                        for nth in 0..calls / 64 {
                            one_call(&trail, varied(nth)).await;
                        }
                    })
                })
                .collect();
            for caller in callers {
                caller.await.unwrap();
            }
        });
        let rate = calls as f64 / began.elapsed().as_secs_f64();
        trail.close().unwrap();
        rate
    };
    let (batched, synced) = (rate(Durability::Batched), rate(Durability::Synced));
    tell(format_args!("calls a second: batched {batched:.0}, synced {synced:.0}"));
}

async fn one_call(trail: &Trail, record: Record) {
    if trail.durability() == Durability::Batched {
        trail.submit(record);
        tokio::task::yield_now().await;
        return;
    }
    let intent = Intent {
        time: record.time,
        request_id: record.request_id,
        caller: record.caller.clone(),
        profile: record.profile.clone(),
        operation: record.operation.clone(),
        method: record.method.clone(),
        target: record.target.clone(),
    };
    trail.intent(intent).await.unwrap();
    trail.submit_synced(record).await.unwrap();
}

/// Makes a trail to read, or reads the one in `DIRECTORY`.
#[test]
#[ignore = "prints figures"]
#[expect(clippy::disallowed_methods, reason = "a person says where")]
fn reading() {
    let home = tempfile::tempdir().unwrap();
    let directory =
        std::env::var("DIRECTORY").map_or_else(|_| home.path().to_owned(), PathBuf::from);
    let calls = number("CALLS", 10_000_000);
    if files(&directory).map_or(true, |files| files.is_empty()) {
        let trail = Trail::open(&Settings::new(&directory)).unwrap();
        fill(&trail, calls);
        trail.close().unwrap();
    }
    let files = files(&directory).unwrap();
    let bytes: u64 = files.iter().map(|file| file.path.metadata().unwrap().len()).sum();
    tell(format_args!("{} files, {bytes} bytes on disk", files.len()));

    let began = Instant::now();
    let report = check(&directory);
    tell(format_args!("verify: {} lines in {:?}", report.lines, began.elapsed()));
    let began = Instant::now();
    let mut parsed = 0_u64;
    read_through(&files, |found| {
        if let Found::Line(line) = found {
            parsed += u64::from(call(line).is_some());
        }
        Ok::<_, ReadError>(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    tell(format_args!("parse: {parsed} calls in {:?}", began.elapsed()));
}

#[test]
#[ignore = "prints figures"]
fn encoding() {
    let mut encoder = super::encode::Encoder::new(super::Tip::START, None);
    let record = record();
    let (rounds, mut bytes) = (1_000_000_u64, 0);
    let before = cpu();
    for _ in 0..rounds {
        encoder.call(&record);
        bytes += encoder.lines().len();
        encoder.clear();
    }
    let spent = cpu() - before;
    tell(format_args!(
        "{} ns to encode and seal a line of {} bytes",
        spent.as_nanos() as u64 / rounds,
        bytes as u64 / rounds
    ));
    let line = vec![b'x'; 950];
    let before = cpu();
    for _ in 0..rounds {
        std::hint::black_box(super::Hash::of(&line));
    }
    tell(format_args!("{} ns of it for the hash", (cpu() - before).as_nanos() as u64 / rounds));
}

/// In `DIRECTORY`, a small file system of its own, for example
/// `mount -t tmpfs -o size=8m tmpfs DIRECTORY`: fills it up, makes room, and looks at what is there.
#[test]
#[ignore = "needs a small file system"]
#[expect(clippy::disallowed_methods, reason = "a person says where")]
fn a_small_disk() {
    let home = PathBuf::from(std::env::var("DIRECTORY").unwrap());
    let ballast = home.join("ballast");
    for on_failure in [super::OnFailure::Refuse, super::OnFailure::Continue] {
        std::fs::write(&ballast, vec![0; 4 << 20]).unwrap();
        let directory = home.join(format!("{on_failure:?}"));
        let settings = Settings { on_failure, queue_records: 2_000, ..Settings::new(&directory) };
        let trail = Trail::open(&settings).unwrap();
        let (mut calls, mut refused) = (0_u64, 0_u64);
        let mut call = || match trail.admit() {
            Ok(()) => {
                trail.submit(varied(calls));
                calls += 1;
            }
            Err(_) => refused += 1,
        };
        let began = Instant::now();
        while trail.stats().writable && began.elapsed() < Duration::from_secs(30) {
            call();
        }
        (0..3_000).for_each(|_| call());
        let stats = trail.stats();
        std::fs::remove_file(&ballast).unwrap();
        let room = Instant::now();
        while !trail.stats().writable {
            std::thread::sleep(Duration::from_millis(1));
        }
        let back = room.elapsed();
        trail.close().unwrap();
        let report = check(&directory);
        tell(format_args!(
            "{on_failure:?}: {calls} calls served, {refused} refused, {:?}; back after {back:?}: {} on \
             the trail, {} counted as lost, problems {:?}",
            stats.reason, report.calls, report.lost, report.problems
        ));
        assert_eq!(report.calls + report.lost, calls);
        assert!(report.lost == 0 || on_failure == super::OnFailure::Continue);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
