//! A real OpenBao server on loopback, with TLS, in memory, for one test.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const ROOT_TOKEN: &str = "made-up-root-token";

pub(crate) struct Bao {
    child: Child,
    root: TempDir,
    address: String,
}

impl Bao {
    /// Starts one, or says loudly that there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = env::var_os("BAO_BIN").map(PathBuf::from).filter(|path| path.is_file())
        else {
            skip("no OpenBao server (set BAO_BIN)");
            return None;
        };
        let root = TempDir::new().unwrap();
        // The server ends with the test, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
            .args(["-dev-listen-address=127.0.0.1:0", "-dev-root-token-id", ROOT_TOKEN])
            .arg(format!("-dev-tls-cert-dir={}", root.path().display()))
            .env_clear()
            .env("HOME", root.path())
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut find = |mark: &str| {
            let line = lines.find(|line| line.as_ref().unwrap().contains(mark)).unwrap().unwrap();
            line.split_once(mark).unwrap().1.to_owned()
        };
        // With port 0 it takes a free port and the one after it, and tells only the latter.
        let port: u16 =
            find("cluster address: \"127.0.0.1:").split('"').next().unwrap().parse().unwrap();
        find("Root Token: ");
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, root, address: format!("https://127.0.0.1:{}", port - 1) };
        while !server.command(&["status"]).output().unwrap().status.success() {}
        Some(server)
    }

    /// The authority of its certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.root.path().join("vault-ca.pem")
    }

    /// A file with the root's token.
    pub(crate) fn token_file(&self) -> PathBuf {
        let file = self.root.path().join("token");
        std::fs::write(&file, ROOT_TOKEN).unwrap();
        file
    }

    /// The tables of a configuration that reads from here as root.
    pub(crate) fn tables(&self) -> String {
        format!(
            "[vault]\naddress = \"{}\"\nca_file = \"{}\"\n\
             [vault.auth]\nmethod = \"token\"\ntoken_file = \"{}\"\n",
            self.address,
            self.ca_file().display(),
            self.token_file().display()
        )
    }

    /// Runs its own command line as root; it must work.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Its own command line, as root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("BAO_BIN").unwrap());
        command.args(arguments).env_clear().env("HOME", self.root.path());
        command.env("BAO_ADDR", &self.address).env("BAO_CACERT", self.ca_file());
        command.env("BAO_TOKEN", ROOT_TOKEN);
        command
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says loudly that a test did not run, where that is allowed.
pub(crate) fn skip(why: &str) {
    let required = env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PIGELLO_TEST_REQUIRE_TOOLS=1 allows no skipping");
    say_skipped(why);
}

/// Says loudly what a test leaves out.
#[expect(clippy::print_stderr, reason = "whoever reads the output must see it")]
pub(crate) fn say_skipped(what: &str) {
    eprintln!("\n*** SKIPPED: {what} ***\n");
}
