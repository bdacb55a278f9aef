//! A real Valkey or Redis server for one test, in a folder of its own, which ends with the test.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use redis::{Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::skip;

const PASSWORD: &str = "invented-password-of-the-store";

/// The command of the manual that makes the user of a fleet.
pub fn acl_of_manual() -> &'static str {
    const PAGE: &str = include_str!("../../../docs/src/how-to/fleet.md");
    PAGE.lines().map(str::trim).find(|line| line.starts_with("ACL SETUSER")).unwrap()
}

/// A server, or a sentinel.
pub struct Store {
    program: PathBuf,
    arguments: Vec<String>,
    /// What it says when it can be used.
    ready: &'static str,
    folder: TempDir,
    child: Child,
}

impl Store {
    /// A Valkey server on a Unix socket; `None`, said loudly, if there is none to start.
    pub fn valkey(arguments: &[&str]) -> Option<Self> {
        let program = valkey()?;
        Some(Self::start(program, arguments, "Ready to accept connections"))
    }

    /// A Redis server with TLS on a free port, which it returns.
    pub fn redis_with_tls(arguments: &[&str]) -> Option<(Self, u16)> {
        let program = PathBuf::from("/usr/bin/redis-server");
        if !program.is_file() {
            skip("no Redis server (install redis-server)");
            return None;
        }
        let port = free_port();
        let tls = ["--tls-port", &port.to_string()].map(str::to_owned);
        let arguments: Vec<_> =
            tls.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        Some((Self::start(program, &arguments, "Ready to accept connections"), port))
    }

    /// A sentinel on a free port that watches the primary on that port.
    pub fn sentinel(primary: u16) -> Option<(Self, u16)> {
        let program = valkey()?;
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor pigello 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds pigello 500\nsentinel failover-timeout pigello 2000\n"
        );
        let file = folder.path().join("sentinel.conf");
        fs::write(&file, configuration).unwrap();
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let ready = "+monitor master";
        let child = run(&program, &arguments, folder.path(), ready);
        Some((Self { program, arguments, ready, folder, child }, port))
    }

    fn start(program: PathBuf, arguments: &[&str], ready: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("store.sock").display().to_string();
        let own = ["--unixsocket", &socket, "--bind", "127.0.0.1", "--save", "", "--port", "0"];
        let arguments: Vec<_> =
            own.iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let child = run(&program, &arguments, folder.path(), ready);
        Self { program, arguments, ready, folder, child }
    }

    /// The address of its Unix socket.
    pub fn address(&self) -> String {
        format!("unix:{}", self.folder.path().join("store.sock").display())
    }

    /// A file in its folder that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Makes the user of the fleet `test`, with the rights that the manual names. Returns the keys of `[fleet.store]`.
    pub async fn let_in(&self) -> String {
        let mut words = acl_of_manual().split(' ');
        let mut user = redis::cmd(words.next().unwrap());
        for word in words {
            user.arg(word.replace("PASSWORD", PASSWORD).replace("{prod}", "{test}"));
        }
        let () = self.ask(&user).await;
        let password = self.secret("password", &format!("{PASSWORD}\n"));
        let password = password.display();
        format!("username = \"pigello-gateway\"\npassword_file = \"{password}\"\n")
    }

    /// Kills it.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, with nothing in it.
    pub fn start_again(&mut self) {
        self.child = run(&self.program, &self.arguments, self.folder.path(), self.ready);
    }

    /// Stops it from running, as a machine that hangs.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it as an operator.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let client = redis::Client::open(self.address().replace("unix:", "unix://")).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program of Valkey.
fn valkey() -> Option<PathBuf> {
    let program = env::var_os("VALKEY_BIN").map(PathBuf::from).filter(|path| path.is_file());
    if program.is_none() {
        skip("no Valkey server (set VALKEY_BIN)");
    }
    program
}

/// Runs a server until it is ready. It ends with the thread of the test, however that ends.
fn run(program: &Path, arguments: &[String], folder: &Path, ready: &str) -> Child {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(arguments.iter().map(OsStr::new))
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
        if line.contains(ready) {
            break;
        }
        said += &(line + "\n");
    }
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
