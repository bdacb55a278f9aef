//! The collector, as a process: `rotel-agent`, which says yes to lines that it has in memory only.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use super::tool;
use crate::fleet::store::free_port;

/// The collector, which ends with this value.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    address: SocketAddr,
    /// Where it passes on what it takes.
    to: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Agent {
    /// Starts it, and waits until it takes lines.
    pub async fn start(to: SocketAddr) -> Self {
        let program = tool("ROTEL_BIN", "rotel-agent, of PyPI's rotel==0.0.1a15");
        let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
        let child = launch(&program, address, to, &folder);
        let agent = Self { program, address, to, folder, child };
        agent.until_listening().await;
        agent
    }

    /// Where it takes lines.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again, with nothing of what it had.
    pub async fn start_again(&mut self) {
        self.child = launch(&self.program, self.address, self.to, &self.folder);
        self.until_listening().await;
    }

    async fn until_listening(&self) {
        let begun = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not start: {log}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it on the spot.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order, so that it passes on what it has.
    pub async fn end(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        while self.child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(program: &PathBuf, address: SocketAddr, to: SocketAddr, folder: &TempDir) -> Child {
    let log = File::create(folder.path().join("log")).unwrap();
    // It ends with the bench, however that ends.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"])
        // When it splits a batch, a part loses its resource, and so its chain.
        .args(["--batch-max-size", "1000000"])
        .args(["--otlp-exporter-endpoint", &format!("http://{to}")])
        .args(["--otlp-http-endpoint", &address.to_string()])
        .args(["--otlp-grpc-endpoint", &free_address().to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
