//! The gateway as a process: its signals, its output, sockets handed over to it.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use pigello_gateway::domain::Address;
use rustix::process::{Pid, Signal, kill_process};

/// A gateway that runs on its own. Dropping it kills it.
pub struct Process {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    listening: HashMap<String, Address>,
}

impl Process {
    /// Starts it and waits until it listens.
    pub fn serve(config: &Path) -> Self {
        Self::serve_with(config, &[])
    }

    /// The same, with more in its environment.
    pub fn serve_with(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--config").arg(config).stdin(Stdio::null());
        Self::start_in(command, environment)
    }

    /// The same, where names lead to what a file of its own says (hosts(5)), and not what the machine
    /// says. `None` where the kernel does not let it have one.
    pub fn serve_with_hosts(config: &Path, hosts: &Path) -> Option<Self> {
        let own = ["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""];
        let in_own = |program: &str| {
            let mut command = Command::new("unshare");
            let user = (!rustix::process::geteuid().is_root()).then_some("-r");
            command.args(user).args(own).arg(hosts).arg(program);
            command
        };
        let allowed = in_own("true").stderr(Stdio::null()).status().ok()?.success();
        allowed.then(|| {
            let mut command = in_own(BINARY);
            command.args(["serve", "--config"]).arg(config).stdin(Stdio::null());
            Self::start(command)
        })
    }

    /// The same in a network namespace of its own, which a script sets up. The script has the folder of the
    /// configuration as `$FOLDER` and the program as `$GATEWAY`. `None` where the kernel allows none.
    pub fn serve_in_network(folder: &Path, script: &str) -> Option<Self> {
        let in_own = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-ec", script]);
            command
        };
        let allowed = in_own("ip link set lo up").stderr(Stdio::null()).status().ok()?.success();
        allowed.then(|| {
            let serve = "exec \"$GATEWAY\" serve --config \"$FOLDER/gateway.toml\"";
            let mut command = in_own(&format!("{script}\n{serve}"));
            command.stdin(Stdio::null());
            let folder = folder.to_str().unwrap();
            let path = "/usr/sbin:/usr/bin:/sbin:/bin";
            Self::start_in(command, &[("FOLDER", folder), ("GATEWAY", BINARY), ("PATH", path)])
        })
    }

    /// The number of its threads with that name.
    pub fn threads(&self, name: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // A thread may end meanwhile.
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|comm| comm.trim() == name).count()
    }

    /// The same with limits of open files: soft and hard.
    pub fn serve_with_files(config: &Path, soft: u64, hard: u64) -> Self {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={soft}:{hard}")).arg(BINARY).args(["serve", "--config"]);
        command.arg(config).stdin(Stdio::null());
        Self::start(command)
    }

    /// Its limit of open files.
    pub fn open_files_limit(&self) -> u64 {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    }

    /// The same, with a listening socket handed over as systemd does it.
    pub fn serve_on(config: &Path, socket: &TcpListener) -> Self {
        let mut command = Command::new("sh");
        let hand_over = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        command.args(["-c", hand_over, "sh", BINARY, "serve", "--config"]).arg(config);
        command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        Self::start(command)
    }

    fn start(command: Command) -> Self {
        Self::start_in(command, &[])
    }

    fn start_in(mut command: Command, environment: &[(&str, &str)]) -> Self {
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut listening = HashMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let value = |key: &str| {
                let word = line.split(' ').find_map(|word| word.strip_prefix(key));
                word.unwrap_or_else(|| panic!("{line}")).to_owned()
            };
            let name = value("listener=");
            listening.insert(name.clone(), value("address=").parse().unwrap());
            if name == "admin" {
                break;
            }
        }
        let log = child.stderr.take().map(BufReader::new);
        let process = Self { child, log, listening };
        assert!(process.listening.contains_key("admin"), "it did not start: {}", process.rest());
        process
    }

    /// Asks as a probe does.
    pub fn health(config: &Path) -> ExitStatus {
        let mut command = Command::new(BINARY);
        command.arg("health").arg("--config").arg(config).env_clear().stderr(Stdio::null());
        command.status().unwrap()
    }

    /// A listener's address.
    pub fn address(&self, name: &str) -> SocketAddr {
        let Address::Tcp(address) = &self.listening[name] else {
            panic!("{name} is a Unix socket")
        };
        *address
    }

    /// Its open files and sockets.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How often its threads have waited for something.
    pub fn voluntary_switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let switches = tasks.map(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        });
        switches.sum()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads the log up to a line with this text, and returns that line.
    pub fn log_line(&mut self, text: &str) -> String {
        let log = self.log.as_mut().unwrap();
        for line in log.lines() {
            let line = line.unwrap();
            if line.contains(text) {
                return line;
            }
        }
        panic!("the log ended without {text:?}");
    }

    /// Ends it with SIGTERM, while nobody reads its log.
    pub fn end_unread(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Has nobody read its log any more.
    pub fn close_log(&mut self) {
        self.log = None;
    }

    /// Ends it with SIGTERM; returns how it ended and the rest of its log.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.log.take().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }

    fn rest(mut self) -> String {
        let mut rest = String::new();
        drop(self.child.kill());
        self.log.take().unwrap().read_to_string(&mut rest).unwrap();
        rest
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_pigello-gateway");
