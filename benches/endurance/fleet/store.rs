//! The store of a fleet: a real Valkey server on loopback, in memory.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use redis::{Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::procfs::Procfs;

/// The server, which ends with this value.
#[derive(Debug)]
pub struct Store {
    arguments: Vec<String>,
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Store {
    /// Starts it on a free port.
    pub fn start(arguments: &[&str]) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let own = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
        let all = own.iter().chain(arguments).map(|argument| (*argument).to_owned());
        let arguments: Vec<_> = all.collect();
        let child = run(&arguments, &folder);
        Self { arguments, folder, port, child }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&self) -> Procfs {
        Procfs(self.child.id())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with nothing in it.
    pub fn start_again(&mut self) {
        self.child = run(&self.arguments, &self.folder);
    }

    /// Stops it from running, as a machine that hangs.
    pub fn hang(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Asks it as an operator.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs the server until it is ready. It ends with the bench, however that ends.
fn run(arguments: &[String], folder: &TempDir) -> Child {
    #[expect(clippy::disallowed_methods, reason = "the bench's own switch")]
    let program = PathBuf::from(env::var("VALKEY_BIN").expect("VALKEY_BIN names Valkey's server"));
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended:\n{said}")).unwrap();
        if line.contains("Ready to accept connections") {
            break;
        }
        said += &(line + "\n");
    }
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
