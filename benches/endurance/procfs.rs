//! What the kernel says of the gateway's process.

use std::{fs, time::Duration};

/// A process, as `/proc` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Procfs(pub u32);

impl Procfs {
    /// Time on a processor, all threads together, in nanosecond steps (`schedstat`).
    pub fn cpu(self) -> Duration {
        self.cpu_of(|_| true)
    }

    /// The same of those threads whose name is one of these.
    pub fn cpu_of(self, is_one: impl Fn(&str) -> bool) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).unwrap();
        let times = tasks.filter_map(|task| {
            let task = task.ok()?.path();
            is_one(&fs::read_to_string(task.join("comm")).ok()?).then_some(())?;
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(times.sum())
    }

    /// Resident memory, in KiB.
    pub fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most it ever was, in KiB.
    pub fn peak_resident(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory that is no file's, in KiB.
    pub fn anonymous(self) -> u64 {
        self.status("RssAnon:")
    }

    /// Threads.
    pub fn threads(self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.0)).unwrap().count()
    }

    /// Open files and sockets.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    fn status(self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
