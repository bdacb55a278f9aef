//! Starts the demo's mock and gateway, and removes their files.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use clap::Parser as _;
use pigello_mock::{MADE_UP_VALUES, MockPigello};
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use crate::{
    app::{self, Ending, Gateway},
    cli::{Failure, credentials},
    config,
    domain::Address,
    error::Chain,
};

/// A running mock of Pigello and a running gateway in front of it.
pub(super) struct Stage {
    pub(super) pigello: MockPigello,
    pub(super) gateway: SocketAddr,
    pub(super) admin: Address,
    pub(super) metrics: SocketAddr,
    folder: Folder,
    ending: Ending,
    serving: JoinHandle<Result<app::Summary, app::ServeError>>,
}

/// The folder that remains when both have stopped.
pub(super) struct Curtain {
    folder: Folder,
}

impl Stage {
    pub(super) async fn build() -> Result<Self, Failure> {
        let folder = Folder::make()?;
        let pigello = MockPigello::start(pigello_mock::Options::new())
            .await
            .map_err(|error| Failure::failed(Chain(&error).to_string()))?;
        seal_credentials(&folder)?;
        folder.write("pigello-ca.pem", pigello.ca_pem().unwrap_or_default())?;
        folder.write("gateway.toml", &configuration(&pigello, &folder))?;
        let loaded = config::load(&[folder.path("gateway.toml")], std::iter::empty())?;
        let gateway = Gateway::open(loaded.settings)
            .map_err(|error| Failure::failed(Chain(&error).to_string()))?;
        let (address, admin, metrics) = addresses(&gateway)?;
        for manager in gateway.managers().values() {
            manager.refresh().await.map_err(|error| Failure::failed(Chain(&*error).to_string()))?;
        }
        let ending = Ending::default();
        let serving = tokio::spawn(gateway.serve(ending.clone()));
        Ok(Self { pigello, gateway: address, admin, metrics, folder, ending, serving })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Drains the gateway, so that every record is on the trail, and stops the mock.
    pub(super) async fn end(self) -> Result<Curtain, Failure> {
        let failed = |what: String| Failure::failed(what);
        self.ending.drain.cancel();
        let served = self.serving.await.map_err(|error| failed(error.to_string()))?;
        served.map_err(|error| failed(Chain(&error).to_string()))?;
        self.pigello.stop().await.map_err(|error| failed(Chain(&error).to_string()))?;
        Ok(Curtain { folder: self.folder })
    }
}

impl Curtain {
    pub(super) fn audit_directory(&self) -> PathBuf {
        self.folder.path("audit")
    }

    /// Removes the folder.
    pub(super) fn remove(mut self) -> Result<(), Failure> {
        self.folder.remove()
    }
}

fn addresses(gateway: &Gateway) -> Result<(SocketAddr, Address, SocketAddr), Failure> {
    let tcp = |address: &Address| match address {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let listener = gateway.addresses().find_map(|(_, address)| tcp(address));
    let metrics = gateway.metrics_address().and_then(tcp);
    match (listener, gateway.admin_address().cloned(), metrics) {
        (Some(listener), Some(admin), Some(metrics)) => Ok((listener, admin, metrics)),
        _ => Err(Failure::failed("the demo's listeners are not as configured")),
    }
}

/// Makes the store as a person would: `credentials init`, then `credentials set`.
fn seal_credentials(folder: &Folder) -> Result<(), Failure> {
    let values: Map<String, Value> = MADE_UP_VALUES
        .iter()
        .map(|(name, value)| (name.key().to_owned(), Value::from(*value)))
        .collect();
    let values = Value::from(values).to_string();
    for arguments in [&["init"][..], &["set", "--from-json", "-"]] {
        let command = CredentialsCommand::try_parse_from(
            ["credentials"]
                .into_iter()
                .chain(arguments.iter().copied())
                .map(Into::into)
                .chain(["--file".into(), folder.path("credentials.sealed").into_os_string()])
                .chain(["--name".into(), "demo".into()]),
        )
        .map_err(|error| Failure::failed(error.to_string()))?;
        let mut console = credentials::Console::new(values.as_bytes(), io::sink(), io::sink());
        credentials::run(
            &command.args,
            &mut console,
            &|_, _| Err("the store is named".to_owned()),
        )?;
    }
    Ok(())
}

#[derive(clap::Parser)]
struct CredentialsCommand {
    #[command(flatten)]
    args: credentials::CredentialsArgs,
}

fn configuration(pigello: &MockPigello, folder: &Folder) -> String {
    format!(
        r#"[[listeners]]
name = "demo"
address = "127.0.0.1:0"
profile = "demo"
caller = "billing"

[admin]
address = "unix:{admin}"

[metrics]
address = "127.0.0.1:0"

[profiles.demo]
upstream = "{origin}"
credentials = "demo"
ca_file = "pigello-ca.pem"

[credentials.demo]
source = "sealed"
file = "credentials.sealed"
key_file = "credentials.key"

[[callers]]
name = "billing"
allow = ["subtenant.*"]

[audit]
directory = "audit"

[runtime]
workers = 1
"#,
        origin = pigello.origin(),
        admin = folder.path("admin.sock").display(),
    )
}

/// A folder that is removed with the demo, however the demo ends.
struct Folder(Option<PathBuf>);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path =
            std::env::temp_dir().join(format!("pigello-gateway-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(Some(path)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.as_deref().unwrap_or(Path::new("")).join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path(name);
        fs::write(&path, text)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
    }

    fn remove(&mut self) -> Result<(), Failure> {
        let Some(path) = self.0.take() else { return Ok(()) };
        fs::remove_dir_all(&path)
            .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", path.display())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After a failure, the first error is the one that matters.
        drop(self.remove());
    }
}
