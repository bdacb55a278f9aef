//! A thousand sets in use: what one of them costs, in memory, threads and open files. Measured in a process of its
//! own, which has nothing else.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::{
        CredentialManager, Identifiers, KvVersion, RefreshSettings, Settings, SourceSettings,
        Sources, TokenSource, ValueName, VaultAuth, VaultServer, VaultSettings,
        sealed::{SealedStore, StoreError, StoredSet, StoredValues},
    },
    domain::{CredentialsName, ProfileName},
    secret::SecretText,
};

const CHILD: &str = "PIGELLO_TEST_CROWD_CHILD";
const MEMBERS: u64 = 1_000;
/// Those that are there before it is measured. They pay for what all share.
const BEFORE: u64 = 100;
/// What one loaded set and its task may cost, in bytes.
const LIMIT: u64 = 12 * 1024;

/// The sets that the child reads.
#[derive(Serialize, Deserialize)]
struct Crowd {
    kind: Kind,
    root: PathBuf,
    /// Of the vault, if there is one.
    address: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    Directory,
    Sealed,
    Vault,
}

/// What the child found.
#[derive(Debug, Serialize, Deserialize)]
struct Cost {
    bytes_each: u64,
    threads: usize,
    open_files: usize,
}

/// Like Pigello's.
fn value(name: ValueName, member: u64) -> String {
    match name {
        ValueName::ClientSecret => format!("{member:064x}"),
        ValueName::ClientCt => "organization".to_owned(),
        _ => format!("{member:032x}"),
    }
}

fn member(number: u64) -> ProfileName {
    ProfileName::new(format!("customer-{number}"))
}

fn store(root: &Path) -> SealedStore {
    SealedStore::new(root.join("sealed"), root.join("key"))
}

fn source(Crowd { kind, root, address }: &Crowd) -> SourceSettings {
    match kind {
        Kind::Vault => SourceSettings::Vault(Box::new(VaultSettings {
            server: Arc::new(VaultServer {
                address: Some(address.parse().unwrap()),
                auth: Some(VaultAuth::Token(TokenSource::File(root.join("token")))),
                ..VaultServer::default()
            }),
            mount: "secret".to_owned(),
            path: "pigello/activations/{profile}".to_owned(),
            kv_version: KvVersion::V2,
        })),
        Kind::Directory => SourceSettings::Directory { path: root.join("{profile}") },
        Kind::Sealed => SourceSettings::Sealed {
            file: store(root).file().to_owned(),
            key_file: store(root).key_file().to_owned(),
        },
    }
}

/// Writes the sets of all members.
fn write(kind: Kind, root: &Path) {
    match kind {
        Kind::Vault => fs::write(root.join("token"), "made-up").unwrap(),
        Kind::Directory => {
            for number in 0..BEFORE + MEMBERS {
                let folder = root.join(member(number).as_str());
                fs::create_dir(&folder).unwrap();
                for name in ValueName::ALL {
                    fs::write(folder.join(name.key()), value(name, number)).unwrap();
                }
            }
        }
        Kind::Sealed => {
            let store = store(root);
            store.create().unwrap();
            let filled = store.update(|document| {
                for number in 0..BEFORE + MEMBERS {
                    let mut values = StoredValues::default();
                    for name in ValueName::ALL {
                        let text = value(name, number);
                        values.insert(name, SecretText::parse(text.as_bytes()).unwrap());
                    }
                    let mut set = StoredSet::empty();
                    set.replace_current(values, Timestamp::now());
                    document.sets.insert(member(number).to_string(), set);
                }
                Ok::<_, StoreError>(())
            });
            filled.unwrap();
        }
    }
}

/// Not a test of its own: the process that is measured.
#[test]
#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn child() {
    let Some(crowd) = env::var_os(CHILD) else { return };
    let crowd: Crowd = serde_json::from_str(crowd.to_str().unwrap()).unwrap();
    let template = Settings {
        name: CredentialsName::new("customers"),
        source: source(&crowd),
        fixed: Identifiers::new(),
        keep: None,
        refresh: RefreshSettings::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sources, stop, mut tasks) =
            (Sources::default(), CancellationToken::new(), JoinSet::new());
        let mut start = async |number| {
            let settings = template.for_member(&member(number));
            let manager = CredentialManager::new(settings, &sources);
            tasks.spawn(manager.clone().run(stop.child_token()));
            manager.first_read().await.unwrap();
            let secret = manager.snapshot().unwrap();
            let expected = value(ValueName::ClientSecret, number);
            assert!(secret.value(ValueName::ClientSecret).expose_to(|text| text == expected));
            manager
        };
        let mut managers = Vec::new();
        for number in 0..BEFORE {
            managers.push(start(number).await);
        }
        let before = resident();
        for number in 0..MEMBERS {
            managers.push(start(BEFORE + number).await);
        }
        let cost = Cost {
            bytes_each: resident().saturating_sub(before) / MEMBERS,
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            open_files: fs::read_dir("/proc/self/fd").unwrap().count(),
        };
        println!("\n{}", serde_json::to_string(&cost).unwrap());
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    });
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn cost(kind: Kind, address: String) -> Cost {
    let root = TempDir::new().unwrap();
    write(kind, root.path());
    let crowd = Crowd { kind, root: root.path().to_owned(), address };
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "credentials::tests::crowd::child", "--nocapture"])
        .env(CHILD, serde_json::to_string(&crowd).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().find_map(|line| serde_json::from_str(line).ok());
    found.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Few, and not one for each. A thread that reads files may come late, so that another one is started; on a loaded
/// machine many do.
const THREADS: usize = 100;
/// Standard streams, the runtime's own, the watch and a few connections.
const OPEN_FILES: usize = 24;

#[track_caller]
fn is_little(cost: &Cost) {
    assert!(cost.bytes_each <= LIMIT, "{cost:?}");
    assert!(cost.threads <= THREADS, "{cost:?}");
    assert!(cost.open_files <= OPEN_FILES, "{cost:?}");
}

#[tokio::test]
async fn a_thousand_folders_cost_little() {
    is_little(&cost(Kind::Directory, String::new()).await);
}

#[tokio::test]
async fn a_thousand_sets_of_a_store_cost_little() {
    is_little(&cost(Kind::Sealed, String::new()).await);
}

#[tokio::test]
async fn a_thousand_secrets_of_a_vault_cost_little() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    is_little(&cost(Kind::Vault, address).await);
}

/// A vault that accepts every token and has a secret for every member.
async fn answer(mut stream: TcpStream) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1)?;
        let body = match path.rsplit_once("/customer-") {
            Some((_, number)) => {
                let number = number.parse().unwrap();
                let values = ValueName::ALL.map(|name| (name.key(), value(name, number)));
                let values: std::collections::BTreeMap<_, _> = values.into_iter().collect();
                serde_json::json!({ "data": { "data": values, "metadata": { "version": 1 } } })
            }
            None => serde_json::json!({ "data": { "ttl": 3600, "renewable": true } }),
        };
        let body = body.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
