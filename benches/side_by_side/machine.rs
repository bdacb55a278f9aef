//! The machine: cores, priorities, and who used how much CPU time.

use std::{
    ffi::OsStr,
    fs,
    ops::Sub,
    path::Path,
    process::{self, Command},
    time::{Duration, Instant},
};

use rustix::process::setpriority_process;

/// The core of whoever is measured.
pub const CONTESTANT: &str = "0";
/// The core of the upstream and of whoever calls.
pub const REST: &str = "1";

/// A command that runs on that core.
pub fn pinned(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Puts this process and what it starts before others, where the system allows it. Niceness alone does
/// nothing against processes of another session: their groups are weighed first.
pub fn get_ahead() {
    let nice = setpriority_process(None, -10).is_ok();
    let group = fs::write("/proc/self/autogroup", "-10").is_ok();
    if !(nice && group) {
        anstream::eprintln!("hint: as root the measured processes go before others");
    }
}

/// CPU time of a process, its children and theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// All of it, as the scheduler counts: exact to the nanosecond.
    pub total: Duration,
    /// The part outside the kernel, in ticks of 10 ms.
    pub user: Duration,
    /// The kernel's part, in ticks of 10 ms.
    pub system: Duration,
}

impl CpuTime {
    /// Since the start of the process and everything it started that is still there.
    pub fn of_tree(root: u32) -> Self {
        tree(root).into_iter().map(Self::of_process).fold(Self::default(), |sum, one| Self {
            total: sum.total + one.total,
            user: sum.user + one.user,
            system: sum.system + one.system,
        })
    }

    fn of_process(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let nanoseconds = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
            .sum();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in parentheses may hold anything; user time is the 12th field behind it.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(12);
        let mut ticks = || fields.next().and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
        let (user, system) = (ticks(), ticks());
        Self {
            total: Duration::from_nanos(nanoseconds),
            user: Duration::from_millis(user * TICK),
            system: Duration::from_millis(system * TICK),
        }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// CPU time of children of this process that have ended and been waited for: the generators'.
pub fn of_ended_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(14);
    let ticks: u64 = fields.take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK)
}

/// A process and everything it started that is still there.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// Resident memory of a process tree: its own pages, and shared ones divided by who shares them
/// (PSS), and all of them (RSS), in KiB.
pub fn memory(root: u32) -> (u64, u64) {
    let sum = |name: &str| {
        tree(root)
            .into_iter()
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
            .filter_map(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next()?.parse::<u64>().ok()
            })
            .sum()
    };
    (sum("Rss:"), sum("Pss:"))
}

/// What the whole machine did, to find out how much of it others used.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    at: Instant,
    /// Of all cores together.
    busy: Duration,
    /// Of this process and everything it started: contestant, upstream, generator.
    ours: Duration,
}

impl Whole {
    /// Now.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal: neither idle nor waiting
        let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum::<u64>();
        Self {
            at: Instant::now(),
            busy: Duration::from_millis(busy * TICK),
            ours: CpuTime::of_tree(process::id()).total,
        }
    }

    /// The part of the machine that others used since then. `ended` is CPU time of ours whose process
    /// is gone by now.
    pub fn foreign_since(self, ended: Duration) -> f64 {
        let now = Self::now();
        let busy = now.busy.saturating_sub(self.busy);
        let ours = now.ours.saturating_sub(self.ours) + ended;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let span = (now.at - self.at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a machine has few cores")]
        let all = span * cores as f64;
        (busy.saturating_sub(ours).as_secs_f64() / all).max(0.0)
    }
}

/// What to say of the machine beside the figures.
pub fn description() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}, Linux {}", model.unwrap_or("unknown"), kernel.trim())
}

/// Milliseconds in a tick of /proc (`USER_HZ` is 100 on every Linux there is).
const TICK: u64 = 10;
