//! Who is measured, how each is set up, and what they all stand in front of.

mod envoy;
mod haproxy;
mod nginx;
mod origin;
mod process;

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

pub use self::{
    origin::Origin,
    process::{Process, tell},
};
use pigello_mock::Authority;
use tempfile::TempDir;

use super::{
    failure::{During as _, Failure},
    machine::{self, pinned},
    workload::Workload,
    workplace::Workplace,
};

/// A program that is to do the gateway's job.
#[derive(Clone, Debug)]
pub struct Contestant {
    name: String,
    kind: Kind,
    program: PathBuf,
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gateway,
    Nginx,
    Haproxy,
    Envoy,
    /// A bare hyper server: what answering costs at least.
    FloorServer,
    /// A bare hyper proxy: what forwarding costs at least.
    FloorProxy,
}

/// A contestant that answers calls.
#[derive(Debug)]
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// Its process.
    pub process: Process,
    /// Its folder, which goes away with it.
    pub place: Workplace,
    _memory: TempDir,
}

impl Contestant {
    /// A build of the gateway.
    pub fn gateway(name: &str, program: PathBuf) -> Self {
        Self::new(name, Kind::Gateway, program)
    }

    /// Debian's nginx: what the others are compared with.
    pub fn nginx() -> Self {
        Self::new("nginx", Kind::Nginx, "nginx".into())
    }

    /// HAProxy.
    pub fn haproxy(program: PathBuf) -> Self {
        Self::new("haproxy", Kind::Haproxy, program)
    }

    /// Envoy.
    pub fn envoy(program: PathBuf) -> Self {
        Self::new("envoy", Kind::Envoy, program)
    }

    /// A bare hyper server.
    pub fn floor_server() -> Result<Self, Failure> {
        Ok(Self::new("floor-server", Kind::FloorServer, own_program()?))
    }

    /// A bare hyper proxy.
    pub fn floor_proxy() -> Result<Self, Failure> {
        Ok(Self::new("floor-proxy", Kind::FloorProxy, own_program()?))
    }

    fn new(name: &str, kind: Kind, program: PathBuf) -> Self {
        Self { name: name.to_owned(), kind, program, version: String::new() }
    }

    /// What it is called in the tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its program says of itself.
    pub fn described(&self) -> &str {
        &self.version
    }

    /// The same, knowing its version.
    pub fn with_version(self, version: String) -> Self {
        Self { version, ..self }
    }

    /// Whether it can do that work.
    pub fn takes(&self, workload: Workload) -> bool {
        match self.kind {
            Kind::Gateway => true,
            Kind::Haproxy | Kind::Envoy => workload != Workload::Stalled,
            // This version has no HTTP/2 towards an upstream.
            Kind::Nginx => workload != Workload::Stalled && !workload.is_http2(),
            Kind::FloorServer => workload.is_cached() && workload != Workload::Stalled,
            Kind::FloorProxy => !workload.is_cached() && !workload.is_http2(),
        }
    }

    /// Whether its work includes forwarding.
    pub fn forwards(&self) -> bool {
        self.kind != Kind::FloorServer
    }

    /// Whether its work includes a cache.
    pub fn caches(&self) -> bool {
        self.kind != Kind::FloorProxy
    }

    /// What its program says of its version: the gateway all of it, which includes how it was built, and
    /// others the first line. Fails if the program is not there.
    pub fn version(&self) -> Result<String, Failure> {
        let argument = match self.kind {
            Kind::Gateway | Kind::Envoy => "--version",
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::FloorServer | Kind::FloorProxy => {
                return Ok("hyper and tokio, as in Cargo.lock".to_owned());
            }
        };
        let said = Command::new(&self.program).arg(argument).output().during(format_args!(
            "cannot run {} ({}); benches/README.md says how to get it",
            self.name,
            self.program.display()
        ))?;
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if self.kind == Kind::Gateway {
            return Ok(text.lines().collect::<Vec<_>>().join("; "));
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        // Envoy says where it is as well, which is nobody's business.
        let own_path = format!("{}  version: ", self.program.display());
        Ok(first.replace(&own_path, "").trim().to_owned())
    }

    /// Starts it in front of that upstream, pinned to its core, and waits until it answers.
    pub fn start(&self, authority: &Authority, upstream: SocketAddr) -> Result<Running, Failure> {
        let address = free_address()?;
        let place = Workplace::make(authority, upstream, address)?;
        let memory = tempfile::tempdir_in(MEMORY).during("cannot make a folder in memory")?;
        let command = self.command(&place, memory.path(), upstream, address)?;
        thread::sleep(OLD_ENOUGH);
        let process = Process::start(command, &place.path("out.log"), self.to_string())?;
        process.wait_until_it_listens(address)?;
        Ok(Running { address, process, place, _memory: memory })
    }

    /// How it is started, with its configuration written to its folder.
    fn command(
        &self,
        place: &Workplace,
        memory: &Path,
        upstream: SocketAddr,
        listen: SocketAddr,
    ) -> Result<Command, Failure> {
        let mut command = pinned(machine::CONTESTANT, &self.program);
        let configured = |file: &str, text: String| {
            let path = place.path(file);
            fs::write(&path, text).during("cannot write a configuration").map(|()| path)
        };
        match self.kind {
            Kind::Gateway => {
                command.args(["serve", "--config"]).arg(place.config());
            }
            Kind::Nginx => {
                let text = nginx::configuration(place, memory, upstream, listen);
                command
                    .arg("-c")
                    .arg(configured("nginx.conf", text)?)
                    .arg("-p")
                    .arg(place.path(""));
            }
            Kind::Haproxy => {
                let text = haproxy::configuration(place, upstream, listen);
                command.args(["-db", "-f"]).arg(configured("haproxy.cfg", text)?);
            }
            Kind::Envoy => {
                let text = envoy::configuration(place, upstream, listen);
                command.args([
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "--log-level",
                    "error",
                ]);
                command.arg("-c").arg(configured("envoy.json", text)?);
            }
            Kind::FloorServer => {
                command.args(["floor", "server", "--listen", &listen.to_string()]);
            }
            Kind::FloorProxy => {
                command.args(["floor", "proxy", "--listen", &listen.to_string()]);
                command.args(["--upstream", &upstream.to_string(), "--ca"]);
                command.arg(place.path("ca.pem")).arg("--log").arg(place.path("access.log"));
            }
        }
        Ok(command)
    }

    /// How many calls it has written down, once it has ended.
    pub fn logged(&self, place: &Workplace) -> Result<Option<usize>, Failure> {
        match self.kind {
            Kind::Gateway => {
                let mut calls = 0;
                let files = fs::read_dir(place.path("audit")).during("there is no audit trail")?;
                for file in files.flatten().filter(|file| is_trail(&file.path())) {
                    let text = fs::read_to_string(file.path()).during("cannot read the trail")?;
                    calls += text.lines().filter(|line| line.contains("\"kind\":\"call\"")).count();
                }
                Ok(Some(calls))
            }
            Kind::Nginx | Kind::Envoy | Kind::FloorProxy => {
                lines(&place.path("access.log"), "HTTP/1.1")
            }
            Kind::Haproxy => lines(&place.path("out.log"), "HTTP/1.1"),
            Kind::FloorServer => Ok(None),
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn is_trail(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

fn lines(file: &Path, with: &str) -> Result<Option<usize>, Failure> {
    let text = fs::read_to_string(file).during(format_args!("cannot read {}", file.display()))?;
    Ok(Some(text.lines().filter(|line| line.contains(with)).count()))
}

/// An address nobody listens on at the moment: not every contestant can be told to take a free port
/// and say which.
fn free_address() -> Result<SocketAddr, Failure> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|socket| socket.local_addr())
        .during("there is no free port")
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().during("cannot find this program")
}

/// The gateway waits for files of credentials that were written a moment ago to become quiet; where
/// it is deployed they have been there for long.
const OLD_ENOUGH: Duration = Duration::from_millis(150);
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
