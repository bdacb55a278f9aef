//! The store of a fleet: a real server on loopback, in memory. Valkey, or Redis over TLS.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use clap::ValueEnum;
use pigello_gateway::fleet::StoreSettings;
use pigello_mock::Authority;
use redis::{Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::procfs::Procfs;

/// What kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// Valkey without TLS, named by `VALKEY_BIN`
    #[default]
    Valkey,
    /// Redis over TLS, named by `REDIS_BIN` if it is not the `redis-server` of the system
    RedisTls,
}

/// How members reach a store.
#[derive(Clone, Debug)]
pub struct Way {
    port: u16,
    /// The authority of its certificate, a file; none without TLS.
    authority: Option<PathBuf>,
}

impl Way {
    /// Without TLS.
    pub fn plain(port: u16) -> Self {
        Self { port, authority: None }
    }

    /// The table of the gateway's configuration.
    pub fn toml(&self) -> String {
        let tls = match &self.authority {
            Some(file) => format!("ca_file = \"{}\"", file.display()),
            None => "tls = false".to_owned(),
        };
        format!("[fleet.store]\naddress = \"127.0.0.1:{}\"\n{tls}\n", self.port)
    }

    /// The same for a member that has no configuration.
    pub fn settings(&self) -> StoreSettings {
        StoreSettings {
            address: Some(format!("127.0.0.1:{}", self.port).parse().unwrap()),
            tls: self.authority.is_some(),
            ca_file: self.authority.clone(),
            ..StoreSettings::default()
        }
    }
}

/// The server, which ends with this value.
#[derive(Debug)]
pub struct Store {
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    way: Way,
    child: Child,
}

impl Store {
    /// Starts it on a free port.
    pub fn start(kind: StoreKind, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut way = Way::plain(free_port());
        let port = way.port.to_string();
        let listen: &[&str] = match kind {
            StoreKind::Valkey => &["--port", &port],
            StoreKind::RedisTls => {
                way.authority = Some(certify(folder.path()));
                let files = ["--tls-cert-file", CERTIFICATE, "--tls-key-file", PRIVATE_KEY];
                &[&["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"], &files[..]]
                    .concat()
            }
        };
        let own = ["--bind", "127.0.0.1", "--unixsocket", SOCKET, "--save", ""];
        let all = own.iter().chain(listen).chain(arguments);
        let arguments: Vec<_> = all.map(|argument| (*argument).to_owned()).collect();
        let program = kind.program();
        let child = run(&program, &arguments, &folder);
        Self { program, arguments, folder, way, child }
    }

    /// How members reach it.
    pub fn way(&self) -> Way {
        self.way.clone()
    }

    pub fn port(&self) -> u16 {
        self.way.port
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
        self.child = run(&self.program, &self.arguments, &self.folder);
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
        let socket = self.folder.path().join(SOCKET);
        let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
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

impl StoreKind {
    #[expect(clippy::disallowed_methods, reason = "the bench's own switches")]
    fn program(self) -> PathBuf {
        match self {
            Self::Valkey => env::var("VALKEY_BIN").expect("VALKEY_BIN names Valkey's server"),
            Self::RedisTls => env::var("REDIS_BIN").unwrap_or_else(|_| "redis-server".to_owned()),
        }
        .into()
    }
}

/// Makes a certificate for a server in that folder, and returns the file of its authority.
fn certify(folder: &Path) -> PathBuf {
    let authority = Authority::new("endurance store").unwrap();
    let issued = authority.server(&["127.0.0.1"]).unwrap();
    fs::write(folder.join(CERTIFICATE), issued.certificate_pem()).unwrap();
    fs::write(folder.join(PRIVATE_KEY), issued.private_key_pem()).unwrap();
    let file = folder.join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    file
}

/// Runs the server until it is ready. It ends with the bench, however that ends.
fn run(program: &Path, arguments: &[String], folder: &TempDir) -> Child {
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
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Files in the folder of a server.
const SOCKET: &str = "store.sock";
const CERTIFICATE: &str = "server.pem";
const PRIVATE_KEY: &str = "server.key";
