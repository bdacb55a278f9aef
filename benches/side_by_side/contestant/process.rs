//! A started process that ends with whoever started it.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::super::failure::{During as _, Failure};

/// A running process and its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    out: PathBuf,
    started: Instant,
}

impl Process {
    /// Starts it; what it says goes to that file.
    pub fn start(mut command: Command, out: &Path, name: String) -> Result<Self, Failure> {
        let open = || OpenOptions::new().create(true).append(true).open(out);
        let file: File = open().during("cannot open a file for what is said")?;
        let errors = file.try_clone().during("cannot open a file for what is said")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let started = Instant::now();
        let child = command.spawn().during(format_args!("cannot start {name}"))?;
        Ok(Self { child, name, out: out.to_owned(), started })
    }

    /// Its process id; `taskset` replaces itself by what it starts.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until it takes connections.
    pub fn wait_until_it_listens(&self, address: SocketAddr) -> Result<(), Failure> {
        while std::net::TcpStream::connect(address).is_err() {
            if self.age() > PATIENCE {
                let said = fs::read_to_string(&self.out).unwrap_or_default();
                return Err(Failure::new(format!(
                    "{} does not listen; it said: {said}",
                    self.name
                )));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Ends it in good order.
    pub fn end(mut self) -> Result<(), Failure> {
        tell(&self.child, Signal::TERM);
        let told = Instant::now();
        while told.elapsed() < PATIENCE {
            if self.child.try_wait().during("cannot wait for a process")?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(Failure::new(format!("{} does not end", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // nginx's and HAProxy's children end with their parent when it is told, not when it is killed.
        tell(&self.child, Signal::TERM);
        let told = Instant::now();
        while told.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(POLL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends it a signal. One that is gone need not be told.
pub fn tell(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// How long starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has come to that.
const POLL: Duration = Duration::from_micros(200);
