//! The gateway, by itself or under callgrind.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::failure::{During as _, Failure};

/// Runs the program under callgrind, which writes to `file` at the end.
pub fn counted(program: &Path, file: &Path) -> Command {
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(file);
    let mut command = Command::new("valgrind");
    command
        // Nobody else's debugger or profiler looks in.
        .args(["--tool=callgrind", "--quiet", "--vgdb=no"])
        .arg(out)
        .arg(program)
        .arg("--allow-debugging");
    command
}

/// The resident memory of a process, in KiB. The order is that of its total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resident {
    /// With the pages of its files.
    pub total: u64,
    /// What no other process can share.
    pub own: u64,
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts what runs the program, and waits until that listens.
    pub fn start(mut command: Command, config: &Path) -> Result<Self, Failure> {
        let mut child = command
            .args(["serve", "--config"])
            .arg(config)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdout(Stdio::piped())
            .spawn()
            .during("cannot start the gateway, or valgrind (Debian: apt install valgrind)")?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("no standard output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let line = lines
                .next()
                .ok_or_else(|| Failure::new("the gateway ended before it listened"))?
                .during("cannot read what the gateway says")?;
            if let Some(address) = line.strip_prefix("listening listener=bench address=") {
                break address.parse().during("the gateway's address is none")?;
            }
        };
        // The gateway logs to its standard output while it serves: somebody has to read it.
        drop(std::thread::spawn(move || lines.count()));
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its memory now.
    pub fn resident(&self) -> Result<Resident, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.during("cannot read the gateway's status")?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"))
                .ok_or_else(|| Failure::new(format!("the gateway's status has no {name}")))?
                .trim()
                .parse()
                .during("the gateway's resident memory is no number")
        };
        Ok(Resident { total: field("VmRSS:")?, own: field("RssAnon:")? })
    }

    /// Drains it.
    pub fn end(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("the gateway has no process id"))?;
        kill_process(pid, Signal::TERM).during("cannot tell the gateway to end")?;
        let status = self.child.wait().during("cannot wait for the gateway")?;
        if !status.success() {
            return Err(Failure::new(format!("the gateway failed: {status}")));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is only still there if something else has failed, and that is what matters then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How many instructions are in callgrind's file.
pub fn total(file: &Path) -> Result<u64, Failure> {
    let text = fs::read_to_string(file).during("cannot read callgrind's file")?;
    text.lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or_else(|| Failure::new("callgrind's file has no total"))?
        .trim()
        .parse()
        .during("callgrind's total is no number")
}
