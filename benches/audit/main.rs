//! The cost of the audit trail: records per second, the price of durability, and the time to read a
//! large trail.
//!
//! `cargo bench --bench audit`. `--directory DIR` keeps the trail of the read, or reads an existing
//! one. `--small-disk DIR` fills up a small file system (`mount -t tmpfs -o size=8m tmpfs DIR`) and
//! frees it again.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures for people"
)]

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use anstream::println;
use clap::Parser;
use http::{Method, StatusCode};
use pigello_gateway::{
    audit::{
        CacheResult, Durability, Hash, Intent, OnFailure, Outcome, ReadItem, Record, Settings,
        Trail, TrailReadError, Tree, VerifyOptions, VerifyReport, call_line, files, read_through,
        verify,
    },
    domain::{ListenerName, Peer, PolicyId, ProfileName, Proof, RequestId},
};

#[derive(Debug, Parser)]
struct Arguments {
    /// The number of records to write
    #[arg(long, default_value_t = 1_000_000)]
    calls: u64,
    /// The number of calls to compare the durabilities with
    #[arg(long, default_value_t = 20_000)]
    synced_calls: u64,
    /// The directory of the trail to read; written first if it is empty
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A small file system to fill up
    #[arg(long, value_name = "DIR")]
    small_disk: Option<PathBuf>,
    /// Cargo passes this to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let trail = write(arguments.calls);
    tree(arguments.calls, trail);
    compare_durabilities(arguments.synced_calls);
    let home = tempfile::tempdir().unwrap();
    read(arguments.directory.as_deref().unwrap_or(home.path()), arguments.calls);
    if let Some(home) = &arguments.small_disk {
        for on_failure in [OnFailure::Refuse, OnFailure::Continue] {
            fill_disk(home, on_failure);
        }
    }
}

/// CPU time of this process, user and system.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// A typical call; time and caller vary with `nth`.
fn record(nth: u64) -> Record {
    let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
    Record {
        time: SystemTime::now(),
        request_id: RequestId::fresh(),
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        own: None,
        peer: Some(Peer::Unix { uid: 1001, gid: 1001, pid: Some(42) }),
        refused_certificate: None,
        policy: PolicyId([0x1f; 8]),
        listener: ListenerName::new("sidecar"),
        caller: Some(["billing", "portal", "reports"][(nth % 3) as usize].into()),
        caller_proof: Some(Proof::UnixPeer { uid: 1001, gid: 1001, pid: Some(42) }),
        profile: Some(ProfileName::new("production")),
        operation: Some("subtenant.get".into()),
        method: Method::GET,
        target: format!("/accounts/users/customer/subtenant/{id}/?_slim=1").parse().ok(),
        status: Some(StatusCode::OK),
        outcome: Outcome::Forwarded,
        cache: Some(CacheResult::Miss),
        source_request_id: None,
        source_chain: None,
        upstream_status: Some(StatusCode::OK),
        upstream_tls: None,
        attempts: 1,
        retries: Vec::new(),
        credential_version: Some("7".into()),
        duration: Duration::from_micros(200 + nth * 7_919 % 50_000),
        queue_time: Duration::ZERO,
        upstream_time: Some(Duration::from_millis(11)),
        request_bytes: 0,
        response_bytes: 2_048,
        error: None,
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

/// Keeps the queue short, so that no record is dropped.
fn wait_for_writer(trail: &Trail) {
    while trail.stats().queued > 20_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn check(directory: &Path) -> VerifyReport {
    verify(directory, VerifyOptions::default(), |_| {}).unwrap()
}

/// The tree over the lines, beside what a record costs in all. A twentieth is the bar.
fn tree(lines: u64, trail: Duration) {
    let mut tree = Tree::default();
    let began = Instant::now();
    for nth in 0..lines {
        let mut hash = Hash::ZERO;
        hash.0[..8].copy_from_slice(&nth.to_be_bytes());
        tree.push(&hash);
    }
    let root = tree.root();
    let each = began.elapsed() / u32::try_from(lines).unwrap();
    let share = each.as_secs_f64() / trail.as_secs_f64() * 100.0;
    println!("tree: {each:?} a line, {share:.1} % of a record; root {root}");
}

/// Records from 64 threads. Returns the CPU time of one.
fn write(calls: u64) -> Duration {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    let (began, cpu_before) = (Instant::now(), cpu());
    let in_submit = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for nth in 0..calls / 64 {
                    let record = record(nth);
                    let before = Instant::now();
                    trail.submit(record);
                    let spent = before.elapsed().as_nanos() as u64;
                    in_submit.fetch_add(spent, Ordering::Relaxed);
                    wait_for_writer(&trail);
                }
            });
        }
    });
    let calls = calls / 64 * 64;
    trail.close().unwrap();
    let (elapsed, cpu) = (began.elapsed(), cpu().saturating_sub(cpu_before));
    let report = check(home.path());
    assert_eq!((report.calls, report.lost, report.problems.len()), (calls, 0, 0));
    println!(
        "write: {calls} records in {elapsed:?}; CPU {:.2} us a record, {} ns of it in submit",
        cpu.as_secs_f64() * 1e6 / calls as f64,
        in_submit.into_inner() / calls.max(1),
    );
    cpu.div_f64(calls as f64)
}

/// 64 concurrent callers, batched and synced. The trail is in the working directory, because the usual
/// directory for temporary files may not be on a disk.
fn compare_durabilities(calls: u64) {
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
                            one_call(&trail, record(nth)).await;
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
    println!("calls a second: batched {batched:.0}, synced {synced:.0}");
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
        profile: record.profile.clone().unwrap_or_else(|| ProfileName::new("production")),
        operation: record.operation.clone(),
        method: record.method.clone(),
        target: record.target.clone(),
    };
    trail.intent(intent).await.unwrap();
    trail.submit_synced(record).await.unwrap();
}

/// The check, the parser, and the commands of the program.
fn read(directory: &Path, calls: u64) {
    if files(directory).map_or(true, |files| files.is_empty()) {
        let trail = Trail::open(&Settings::new(directory)).unwrap();
        for nth in 0..calls {
            trail.submit(record(nth));
            if nth % 256 == 0 {
                wait_for_writer(&trail);
            }
        }
        trail.close().unwrap();
    }
    let files = files(directory).unwrap();
    let bytes: u64 = files.iter().map(|file| file.path.metadata().unwrap().len()).sum();
    println!("read: {} files, {bytes} bytes on disk", files.len());

    let began = Instant::now();
    let report = check(directory);
    println!("verify: {} lines in {:?}", report.lines, began.elapsed());
    let began = Instant::now();
    let (mut parsed, mut last_id) = (0_u64, String::new());
    read_through(&files, |item| {
        if let ReadItem::Line(line) = item
            && let Some(call) = call_line(line)
        {
            parsed += 1;
            last_id.replace_range(.., &call.request_id);
        }
        Ok::<_, TrailReadError>(ControlFlow::Continue(()))
    })
    .unwrap();
    println!("parse: {parsed} calls in {:?}", began.elapsed());

    for arguments in [
        &["query", "--request-id", &last_id][..],
        &["query", "--status", "5xx"],
        &["query", "--since", "1s"],
        &["report"],
        &["verify"],
        &["suggest-policy"],
    ] {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
        let output =
            command.arg("audit").args(arguments).arg("--directory").arg(directory).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let lines = output.stdout.split(|byte| *byte == b'\n').count() - 1;
        println!("audit {}: {lines} lines in {:?}", arguments.join(" "), began.elapsed());
    }
}

/// Fills up the disk, makes room, and counts the calls on the trail.
fn fill_disk(home: &Path, on_failure: OnFailure) {
    let ballast = home.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let directory = home.join(format!("{on_failure:?}"));
    let settings = Settings { on_failure, queue_records: 2_000, ..Settings::new(&directory) };
    let trail = Trail::open(&settings).unwrap();
    let (mut calls, mut refused) = (0_u64, 0_u64);
    let mut call = || match trail.admit() {
        Ok(()) => {
            trail.submit(record(calls));
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
    fs::remove_file(&ballast).unwrap();
    let room = Instant::now();
    while !trail.stats().writable {
        std::thread::sleep(Duration::from_millis(1));
    }
    let recovery = room.elapsed();
    trail.close().unwrap();
    let report = check(&directory);
    println!(
        "small disk, {on_failure:?}: {calls} calls served, {refused} refused ({:?}); writable again \
         after {recovery:?}; {} calls on the trail, {} dropped, problems: {:?}",
        stats.reason, report.calls, report.lost, report.problems
    );
    assert_eq!(report.calls + report.lost, calls);
    assert!(report.lost == 0 || on_failure == OnFailure::Continue);
    fs::remove_dir_all(&directory).unwrap();
}
