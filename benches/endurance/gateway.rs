//! The gateway as a process: its folder, its configuration, its end, and what its admin listener says.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Collected, Limited};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Common,
    call::Caller,
    credentials::{Mark, Mounted},
    procfs::Procfs,
    report::progress,
    upstream::Upstream,
    vault::Vault,
};

/// What the gateway is started with. The default: a listener `main`, a profile whose credentials are
/// those of mark `a`, version 1, in a folder, and a batched trail.
#[derive(Debug)]
pub struct Setup {
    program: PathBuf,
    folder: TempDir,
    text: String,
    variables: Vec<(String, String)>,
    keep: bool,
    mounted: Vec<Mounted>,
}

impl Setup {
    pub fn new(common: &Common, upstream: &Upstream) -> Self {
        let mut setup = Self::bare(common, &upstream.authority);
        let mounted = setup.mount(Mark::A);
        setup.profile("main", Mark::A, upstream, &directory_source(&mounted));
        setup
    }

    /// The same with the credentials in a vault.
    pub fn with_vault(common: &Common, upstream: &Upstream, vault: &Vault) -> Self {
        let mut setup = Self::bare(common, &upstream.authority);
        setup.profile("main", Mark::A, upstream, "source = \"vault\"\npath = \"pigello\"\n");
        setup.text.push_str(&vault.toml());
        setup
    }

    /// The same with a second listener, `other`, whose profile has credentials of mark `b`.
    pub fn with_two_profiles(common: &Common, upstream: &Upstream) -> Self {
        let mut setup = Self::new(common, upstream);
        let mounted = setup.mount(Mark::B);
        setup.profile("other", Mark::B, upstream, &directory_source(&mounted));
        setup
    }

    /// The same, where everybody on `main` is `good`, everybody on `rude` is `rude` and has few calls at
    /// once, and nobody on `strangers` is anybody.
    pub fn with_strangers(common: &Common, upstream: &Upstream) -> Self {
        let mut setup = Self::new(common, upstream);
        for listener in ["rude", "strangers"] {
            let line = format!("[[listeners]]\nname = \"{listener}\"\naddress = \"127.0.0.1:0\"\n");
            setup.text.push_str(&line);
            setup.text.push_str("profile = \"a\"\n");
            if listener == "rude" {
                setup.text.push_str("caller = \"rude\"\n");
            }
        }
        setup.text = setup.text.replace("name = \"main\"", "name = \"main\"\ncaller = \"good\"");
        setup.text.push_str(
            "[[callers]]\nname = \"good\"\nallow = [\"*\"]\n\
             [[callers]]\nname = \"rude\"\nallow = [\"*\"]\nconcurrency = 64\n",
        );
        setup
    }

    /// The same, where every stored response is stale at once and revalidated in the background.
    pub fn revalidating(mut self) -> Self {
        self.text.push_str(
            "[[cache.rules]]\noperations = [\"subtenant.get\"]\nttl = \"0s\"\nstale_while_revalidate = \"1h\"\n",
        );
        self
    }

    /// The same with these tables, too.
    pub fn and(mut self, tables: &str) -> Self {
        self.text.push_str(tables);
        self
    }

    /// Nothing but these tables, in front of an upstream of that authority (`ca.pem`).
    pub fn with_tables(common: &Common, authority: &str, tables: &str) -> Self {
        let mut setup = Self::bare(common, authority);
        setup.text.push_str(tables);
        setup
    }

    fn bare(common: &Common, authority: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("endurance-").tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority).unwrap();
        let audit = folder.path().join("audit");
        let text = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"tokens\"\n[telemetry]\nlog_level = \"warn\"\n\
             [audit]\ndirectory = \"{}\"\n",
            audit.display()
        );
        let (program, keep) = (common.gateway.clone(), common.keep);
        let setup =
            Self { program, folder, text, variables: Vec::new(), keep, mounted: Vec::new() };
        setup.write_secret("tokens", &format!("read {ADMIN_TOKEN}\n"));
        common.set.iter().fold(setup, |setup, (key, value)| setup.set(key, value))
    }

    fn mount(&mut self, mark: Mark) -> Mounted {
        let path = self.folder.path().join(format!("credentials-{}", mark.text()));
        let mounted = Mounted::make(path, mark, 1);
        self.mounted.push(mounted.clone());
        mounted
    }

    fn profile(&mut self, listener: &str, mark: Mark, upstream: &Upstream, source: &str) {
        let (name, ca) = (mark.text(), self.folder.path().join("ca.pem"));
        write!(
            self.text,
            "[[listeners]]\nname = \"{listener}\"\naddress = \"127.0.0.1:0\"\nprofile = \"{name}\"\n\
             [profiles.{name}]\nupstream = \"{}\"\nca_file = \"{}\"\ncredentials = \"{name}\"\n\
             [credentials.{name}]\n{source}",
            upstream.origin(),
            ca.display(),
        )
        .unwrap();
    }

    /// Sets a key: `AUDIT__DURABILITY`, `synced`.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.variables.push((format!("PIGELLO_GATEWAY_{key}"), value.into()));
        self
    }

    /// A file or folder of the gateway's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that nobody else may read.
    pub fn write_secret(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A folder with credentials, by mark.
    pub fn mounted(&self, mark: Mark) -> Mounted {
        self.mounted[mark.index()].clone()
    }

    /// Starts it, and waits until it is ready to serve.
    pub async fn start(self) -> Gateway {
        let config = self.folder.path().join("gateway.toml");
        fs::write(&config, &self.text).unwrap();
        let (child, listening) = launch(&self, &config);
        let gateway = Gateway { setup: self, child, listening };
        gateway.until_ready(Duration::from_secs(30)).await;
        gateway
    }
}

fn directory_source(mounted: &Mounted) -> String {
    format!("source = \"directory\"\npath = \"{}\"\n", mounted.path().display())
}

/// A running gateway, which ends with this value.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    child: Child,
    listening: HashMap<String, SocketAddr>,
}

impl Gateway {
    /// A listener's address.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.listening[listener]
    }

    /// A file or folder of the gateway's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    pub fn process(&self) -> Procfs {
        Procfs(self.child.id())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it on the spot.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it from running, as a machine that hangs.
    pub fn hang(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Starts it again on what it left behind.
    pub async fn restart(&mut self) {
        let config = self.path("gateway.toml");
        (self.child, self.listening) = launch(&self.setup, &config);
        self.until_ready(Duration::from_secs(30)).await;
    }

    /// Ends it in order, so that everything is on the trail.
    pub async fn drain(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let begun = Instant::now();
        while self.runs() {
            assert!(begun.elapsed() < Duration::from_mins(1), "the gateway does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `/readyz` says yes.
    pub async fn until_ready(&self, within: Duration) -> Duration {
        let begun = Instant::now();
        while self.admin(Method::GET, "/readyz").await.0 != 200 {
            if begun.elapsed() > within {
                let log = fs::read_to_string(self.path("gateway.log")).unwrap_or_default();
                panic!("the gateway does not get ready: {log}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }

    /// Asks the admin listener; a status of 0 is no answer.
    pub async fn admin(&self, method: Method, target: &str) -> (u16, Bytes) {
        let mut caller = Caller::of_admin(self.address("admin"), ADMIN_TOKEN);
        let Ok(response) = caller.head(method, target, Bytes::new()).await else {
            return (0, Bytes::new());
        };
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), 1 << 20);
        #[expect(clippy::disallowed_methods, reason = "it has a bound")]
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        (status, body)
    }

    /// Has the credentials read again, and waits for that.
    pub async fn refresh(&self) -> bool {
        let before = self.confirmed().await;
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let now = self.confirmed().await;
            if now.len() == before.len() && now.iter().zip(&before).all(|(now, then)| now != then) {
                return true;
            }
        }
        false
    }

    /// When each credential set was last read.
    async fn confirmed(&self) -> Vec<Value> {
        let status = self.status().await;
        let sets = status["credentials"].as_array().into_iter().flatten();
        sets.map(|set| set["confirmed_at"].clone()).collect()
    }

    /// Runs a command that asks it, and returns whether it ended well and what it said.
    pub async fn ask_by_command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(&self.setup.program);
        command.args(arguments).arg("--address").arg(self.address("admin").to_string());
        command.arg("--token-file").arg(self.path("tokens"));
        command.env_clear().stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// What `/status` says.
    pub async fn status(&self) -> Value {
        serde_json::from_slice(&self.admin(Method::GET, "/status").await.1).unwrap_or_default()
    }
}

/// A made-up token for the admin listener.
const ADMIN_TOKEN: &str = "made-up-token-of-the-endurance-bench";

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if self.setup.keep {
            self.setup.folder.disable_cleanup(true);
            progress(format_args!("kept {}", self.setup.folder.path().display()));
        }
    }
}

fn launch(setup: &Setup, config: &Path) -> (Child, HashMap<String, SocketAddr>) {
    let log = File::options()
        .create(true)
        .append(true)
        .open(setup.folder.path().join("gateway.log"))
        .unwrap();
    // The gateway ends with the bench, however that ends.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(&setup.program)
        .args(["serve", "--config"])
        .arg(config)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(setup.variables.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut listening = HashMap::new();
    let last = if setup.text.contains("[notices.webhook]") { "webhook" } else { "admin" };
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let value = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
        let (Some(name), Some(address)) = (value("listener="), value("address=")) else { continue };
        listening.insert(name.to_owned(), address.parse().unwrap());
        if name == last {
            break;
        }
    }
    if !listening.contains_key(last) {
        let log = fs::read_to_string(setup.folder.path().join("gateway.log")).unwrap();
        panic!("the gateway does not start: {log}");
    }
    (child, listening)
}

/// Lets this process, and the gateway that it starts, have as many sockets as they may.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
