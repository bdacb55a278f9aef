//! A gateway in the process: real configuration text, real sockets, everything in one folder.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pigello_gateway::{
    app::{self, Ending, Reloader, Summary},
    config,
    domain::Address,
    telemetry::Activity,
};
use pigello_mock::{Credentials, MADE_UP_VALUES, MockPigello};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::Caller;

/// Tokens for an admin listener on TCP.
pub const READ_TOKEN: &str = "made-up-token-that-may-only-read-0";
pub const OPERATE_TOKEN: &str = "made-up-token-that-may-operate-too";

/// What a gateway is set up with. The default: one TCP listener called `main`, the admin listener on a Unix
/// socket, credentials in a folder, one worker.
pub struct Setup {
    upstream: String,
    profile: String,
    listener: String,
    more: String,
    unix: bool,
    admin: AdminSetup,
    admin_keys: String,
    variables: Vec<String>,
    ca: Option<String>,
    values: Vec<(&'static str, String)>,
    template: Option<String>,
}

/// Where the admin listener is.
#[derive(Clone, Copy, PartialEq)]
enum AdminSetup {
    Unix,
    Tcp { tokens: bool },
}

impl Setup {
    /// In front of that mock, trusting its authority.
    pub fn new(pigello: &MockPigello) -> Self {
        Self::before(&pigello.origin(), pigello.ca_pem())
    }

    /// In front of an upstream that speaks no TLS.
    pub fn plain(origin: &str) -> Self {
        Self::before(origin, None).profile("insecure_http = true\n")
    }

    /// In front of any upstream, trusting that authority.
    pub fn before(origin: &str, ca_pem: Option<&str>) -> Self {
        let values = MADE_UP_VALUES.iter().map(|(name, value)| (name.key(), (*value).to_owned()));
        Self {
            upstream: origin.to_owned(),
            profile: String::new(),
            listener: String::new(),
            more: String::new(),
            unix: false,
            admin: AdminSetup::Unix,
            admin_keys: String::new(),
            variables: Vec::new(),
            ca: ca_pem.map(str::to_owned),
            values: values.collect(),
            template: None,
        }
    }

    /// A template in place of the one profile. The listener has no profile; [`Gateway::put_member`] makes members.
    pub fn template(mut self, name: &str) -> Self {
        self.template = Some(name.to_owned());
        self
    }

    /// Another upstream.
    pub fn upstream(mut self, origin: impl Into<String>) -> Self {
        self.upstream = origin.into();
        self
    }

    /// Trusts another authority.
    pub fn trusting(mut self, pem: &str) -> Self {
        self.ca = Some(pem.to_owned());
        self
    }

    /// More keys of the profile.
    pub fn profile(mut self, keys: &str) -> Self {
        self.profile.push_str(keys);
        self
    }

    /// More keys of the listener.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listener.push_str(keys);
        self
    }

    /// More tables.
    pub fn with(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self
    }

    /// A variable of the environment, `NAME=value`.
    pub fn variable(mut self, variable: &str) -> Self {
        self.variables.push(variable.to_owned());
        self
    }

    /// A second listener, on a Unix socket.
    pub fn with_unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// The admin listener on TCP, with [`READ_TOKEN`] and [`OPERATE_TOKEN`].
    pub fn with_tcp_admin(mut self) -> Self {
        self.admin = AdminSetup::Tcp { tokens: true };
        self
    }

    /// The admin listener's Unix socket belongs to that group.
    pub fn with_socket_group(mut self, group: &str) -> Self {
        self.admin_keys = format!("socket_group = \"{group}\"");
        self
    }

    /// The admin listener on TCP, without a token file.
    pub fn with_tcp_admin_without_tokens(mut self) -> Self {
        self.admin = AdminSetup::Tcp { tokens: false };
        self
    }

    /// Leaves one of the seven values out.
    pub fn without_value(mut self, name: &str) -> Self {
        self.values.retain(|(known, _)| *known != name);
        self
    }

    /// Starts it.
    pub async fn start(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("credentials")).unwrap();
        for (name, value) in &self.values {
            fs::write(path("credentials").join(name), value).unwrap();
        }
        let config = self.config(&folder);
        fs::write(path("gateway.toml"), config).unwrap();
        let variables = self.variables.iter().filter_map(|variable| variable.split_once('='));
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let loaded = config::load(&[path("gateway.toml")], variables)
            .unwrap_or_else(|problems| panic!("{problems}"));
        let gateway = app::Gateway::open(loaded.settings).unwrap();
        let address = gateway
            .addresses()
            .find_map(|(_, address)| match address {
                Address::Tcp(address) => Some(*address),
                Address::Unix(_) => None,
            })
            .unwrap();
        let admin = match gateway.admin_address().cloned().expect("an admin listener") {
            Address::Tcp(address) => Caller::tcp(address),
            Address::Unix(path) => Caller::unix(path),
        };
        let has_tokens = self.admin == (AdminSetup::Tcp { tokens: true });
        let admin = if has_tokens { admin.bearing(OPERATE_TOKEN) } else { admin };
        let metrics = gateway.metrics_address().map(|address| match address {
            Address::Tcp(address) => Caller::tcp(*address),
            Address::Unix(path) => Caller::unix(path.clone()),
        });
        let managers: Vec<_> = gateway.managers().values().cloned().collect();
        let (ending, reloader) = (Ending::default(), gateway.reloader());
        let activity = Arc::clone(gateway.activity());
        let task = tokio::spawn(gateway.serve(ending.clone()));
        for manager in managers {
            // Not every test has a whole set; those that have want it from the first call on.
            drop(manager.refresh().await);
        }
        Gateway {
            caller: Caller::tcp(address),
            admin,
            metrics,
            unix: path("gateway.sock"),
            folder,
            ending,
            reloader,
            activity,
            task,
        }
    }

    fn config(&self, folder: &TempDir) -> String {
        let path = |name: &str| folder.path().join(name);
        let mut text = String::new();
        let (profile, listener) = (&self.profile, &self.listener);
        let admin = match self.admin {
            AdminSetup::Unix => format!("unix:{}", path("admin.sock").display()),
            AdminSetup::Tcp { .. } => "127.0.0.1:0".to_owned(),
        };
        let mut admin_keys = self.admin_keys.clone();
        if self.admin == (AdminSetup::Tcp { tokens: true }) {
            let file = path("tokens");
            fs::write(&file, format!("read {READ_TOKEN}\noperate {OPERATE_TOKEN}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            admin_keys = format!("token_file = \"{}\"", file.display());
        }
        let table = self.template.as_deref().unwrap_or("test");
        let of_listener = if self.template.is_some() { "" } else { "profile = \"test\"" };
        write!(
            text,
            r#"
            [[listeners]]
            name = "main"
            address = "127.0.0.1:0"
            {of_listener}
            {listener}
            [admin]
            address = "{admin}"
            {admin_keys}
            [profiles."{table}"]
            upstream = "{}"
            credentials = "test"
            {profile}
            "#,
            self.upstream
        )
        .unwrap();
        if let Some(pem) = &self.ca {
            fs::write(path("ca.pem"), pem).unwrap();
            writeln!(text, "ca_file = \"{}\"", path("ca.pem").display()).unwrap();
        }
        write!(
            text,
            r#"
            [credentials.test]
            source = "directory"
            path = "{}"
            [audit]
            directory = "{}"
            [runtime]
            workers = 1
            "#,
            self.template
                .as_ref()
                .map_or(path("credentials"), |_| path("members/{profile}"))
                .display(),
            path("audit").display()
        )
        .unwrap();
        if self.unix {
            let socket = format!("unix:{}", path("gateway.sock").display());
            write!(
                text,
                "[[listeners]]\nname = \"unix\"\naddress = \"{socket}\"\nprofile = \"test\"\n"
            )
            .unwrap();
        }
        text.push_str(&self.more);
        text
    }
}

/// A running gateway.
pub struct Gateway {
    caller: Caller,
    admin: Caller,
    metrics: Option<Caller>,
    unix: PathBuf,
    folder: TempDir,
    ending: Ending,
    reloader: Reloader,
    activity: Arc<Activity>,
    task: JoinHandle<Result<Summary, app::ServeError>>,
}

impl Gateway {
    /// A caller on the TCP listener.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// An operator: on the admin listener's Unix socket, or with [`OPERATE_TOKEN`] if it takes tokens.
    pub fn admin(&self) -> &Caller {
        &self.admin
    }

    /// A caller on the metrics listener.
    pub fn metrics(&self) -> &Caller {
        self.metrics.as_ref().expect("a metrics listener")
    }

    /// A caller on the Unix socket.
    pub fn unix_caller(&self) -> Caller {
        Caller::unix(self.unix.clone())
    }

    /// What happened lately.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The Unix socket's mode.
    pub fn unix_mode(&self) -> u32 {
        fs::metadata(&self.unix).unwrap().permissions().mode() & 0o777
    }

    /// A file in the gateway's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads the credentials and the listeners' certificates again.
    pub async fn reread(&self) -> Result<(), app::ReloadError> {
        self.reloader.reread().await
    }

    /// Reloads the configuration, changed like that; a refusal is its text.
    pub async fn reload(&self, change: impl FnOnce(String) -> String) -> Result<(), String> {
        let path = self.path("gateway.toml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
        let loaded =
            config::load(&[path], std::iter::empty()).map_err(|error| error.to_string())?;
        let reload = self.reloader.reload(loaded.settings, app::ReloadCause::FileChanged);
        reload.await.map(drop).map_err(|error| error.to_string())
    }

    /// Writes the credentials of a member, as whoever renders secrets does it.
    pub fn put_member(&self, name: &str, credentials: &Credentials) {
        let folder = self.path("members").join(name);
        fs::create_dir_all(&folder).unwrap();
        for (value, text) in credentials.values() {
            let aside = self.path("aside");
            fs::write(&aside, text).unwrap();
            fs::rename(aside, folder.join(value.key())).unwrap();
        }
    }

    /// Begins the drain.
    pub fn drain(&self) {
        self.ending.drain.cancel();
    }

    /// Drains, and returns the folder and how it ended.
    pub async fn stop(self) -> (Stopped, Summary) {
        self.ending.drain.cancel();
        let summary = tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("the gateway ends")
            .unwrap()
            .unwrap();
        (Stopped { folder: self.folder }, summary)
    }

    /// Drains, and returns the audit trail's records of calls.
    pub async fn into_records(self) -> Vec<Value> {
        let (stopped, _) = self.stop().await;
        stopped.records()
    }
}

/// What a gateway left behind.
pub struct Stopped {
    folder: TempDir,
}

impl Stopped {
    /// The records of calls, in their order.
    pub fn records(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["kind"] == "call").collect()
    }

    /// Every line of the trail, in their order.
    pub fn lines(&self) -> Vec<Value> {
        trail_lines(&self.folder.path().join("audit"))
    }

    /// Everything in the trail's files, as text.
    pub fn trail_text(&self) -> String {
        let audit = self.folder.path().join("audit");
        fs::read_dir(audit)
            .unwrap()
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default())
            .collect()
    }
}

/// Every line of the trail in this folder, in their order.
pub fn trail_lines(audit: &Path) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(audit).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
