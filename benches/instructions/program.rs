//! The gateway under callgrind.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::failure::{During as _, Failure};

/// A gateway whose instructions are counted.
#[derive(Debug)]
pub struct Counted {
    child: Child,
    address: SocketAddr,
    file: PathBuf,
}

impl Counted {
    /// Starts the program and waits until it listens. callgrind writes to `file` at the end.
    pub fn start(program: &Path, config: &Path, file: PathBuf) -> Result<Self, Failure> {
        let mut out = std::ffi::OsString::from("--callgrind-out-file=");
        out.push(&file);
        let mut child = Command::new("valgrind")
            // Nobody else's debugger or profiler looks in.
            .args(["--tool=callgrind", "--quiet", "--vgdb=no"])
            .arg(out)
            .arg(program)
            .args(["--allow-debugging", "serve", "--config"])
            .arg(config)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdout(Stdio::piped())
            .spawn()
            .during("cannot start valgrind (Debian: apt install valgrind)")?;
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
        Ok(Self { child, address, file })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drains it, and returns how many instructions its whole life took.
    pub fn end(mut self) -> Result<u64, Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("the gateway has no process id"))?;
        kill_process(pid, Signal::TERM).during("cannot tell the gateway to end")?;
        let status = self.child.wait().during("cannot wait for the gateway")?;
        if !status.success() {
            return Err(Failure::new(format!("the gateway failed: {status}")));
        }
        total(&self.file)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // It is only still there if something else has failed, and that is what matters then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The line `totals:` of a callgrind file.
fn total(file: &Path) -> Result<u64, Failure> {
    let text = fs::read_to_string(file).during("cannot read callgrind's file")?;
    text.lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .ok_or_else(|| Failure::new("callgrind's file has no total"))?
        .trim()
        .parse()
        .during("callgrind's total is no number")
}
