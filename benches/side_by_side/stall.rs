//! Do callers notice that the disk of the audit trail stalls?
//!
//! strace holds the threads that write the trail, and no others: their next write and their next sync
//! take [`STALL`] longer. With `durability = "batched"` no answer waits for either. The same load
//! without the stall goes before, so that p99.9 has something to be compared with.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    contestant::{Contestant, Origin, tell},
    failure::{During as _, Failure},
    measure::{self, Measurement},
    workload::Workload,
};

/// Measures the gateway with and without a stall.
pub fn measure(
    contestant: &Contestant,
    origin: &Origin,
    duration: Duration,
) -> Result<Measurement, Failure> {
    let workload = Workload::Stalled;
    let running = contestant.start(&origin.authority, origin.address(workload))?;
    let (calm, _) = measure::load(workload, &running, duration)?;
    let pid = running.process.id();
    let log = running.place.path("strace.log");
    let log = log.as_path();
    let measured = measure::under_load(workload, &running, origin, || {
        thread::scope(|scope| {
            let stalls = scope.spawn(move || stall_in_the_middle(pid, log, duration));
            let loaded = measure::load(workload, &running, duration);
            stalls.join().map_err(|_| Failure::new("the stall panicked"))??;
            loaded
        })
    })?;
    Ok(Measurement { calm_p999_us: Some(calm.p999), ..measured })
}

/// Lets go of the threads again once each has stalled.
fn stall_in_the_middle(pid: u32, log: &Path, duration: Duration) -> Result<(), Failure> {
    thread::sleep(duration / 4);
    let mut holding = hold(pid, log)?;
    thread::sleep(STALL + duration / 4);
    let ended = holding.try_wait().during("cannot wait for strace")?;
    if ended.is_some() {
        return Err(Failure::new("strace could not hold the trail's threads (it needs root)"));
    }
    tell(&holding, Signal::INT);
    holding.wait().during("cannot wait for strace")?;
    let seen = fs::read_to_string(log).during("strace has written nothing")?;
    if seen.contains("(DELAYED)") {
        return Ok(());
    }
    Err(Failure::new("the trail wrote nothing while its disk was to stall"))
}

fn hold(pid: u32, log: &Path) -> Result<Child, Failure> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).during("the gateway is gone")?;
    let writers: Vec<_> = tasks
        .flatten()
        .filter(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            ["audit", "audit-sync"].contains(&name.trim())
        })
        .flat_map(|task| ["-p".to_owned(), task.file_name().to_string_lossy().into_owned()])
        .collect();
    if writers.is_empty() {
        return Err(Failure::new("the gateway has no thread that writes the trail"));
    }
    let delay = format!(
        "--inject=write,writev,pwrite64,fdatasync,fsync:delay_enter={}:when=1",
        STALL.as_micros()
    );
    Command::new("strace")
        .args(["--quiet=all", "--trace=write,writev,pwrite64,fdatasync,fsync", &delay, "-o"])
        .arg(log)
        .args(writers)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .during("cannot start strace (Debian: apt install strace)")
}

/// How long the disk does nothing.
const STALL: Duration = Duration::from_millis(500);
