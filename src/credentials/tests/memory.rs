//! After a rotation the old secret is gone from the memory of the process. Seen from outside: a
//! child does the work, and this process reads the child's memory, because a scanner inside would
//! find its own buffers.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use memchr::memmem;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::{
        CredentialManager, CredentialVerdict, Identifiers, RefreshSettings, Settings,
        SourceSettings, Sources, ValueName,
        sealed::{SealedStore, StoreError, StoredSet, StoredValues},
    },
    domain::CredentialsName,
    secret::SecretText,
};

const CHILD: &str = "PIGELLO_TEST_MEMORY_CHILD";

/// A source that the parent writes and the child reads.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    Sealed,
}

impl Kind {
    fn settings(self, root: &Path) -> SourceSettings {
        match self {
            Self::Directory => SourceSettings::Directory { path: root.to_owned() },
            Self::Sealed => {
                let store = store(root);
                SourceSettings::Sealed {
                    file: store.file().to_owned(),
                    key_file: store.key_file().to_owned(),
                }
            }
        }
    }

    /// Writes a set whose values all end in `canary`.
    fn write(self, root: &Path, canary: &str) {
        match self {
            Self::Directory => {
                for name in ValueName::ALL {
                    fs::write(root.join(name.key()), canary).unwrap();
                }
            }
            Self::Sealed => {
                let mut values = StoredValues::default();
                for name in ValueName::ALL {
                    values.insert(name, SecretText::parse(canary.as_bytes()).unwrap());
                }
                let store = store(root);
                if store.read().is_err() {
                    store.create().unwrap();
                }
                let changed = store.update(|document| {
                    let set = document.sets.entry("production".to_owned());
                    let set = set.or_insert_with(StoredSet::empty);
                    set.replace_current(values, Timestamp::now());
                    set.previous = None;
                    Ok::<_, StoreError>(())
                });
                changed.unwrap();
            }
        }
    }
}

fn store(root: &Path) -> SealedStore {
    SealedStore::new(root.join("made-up.sealed"), root.join("made-up.key"))
}

/// Not a test of its own: the process whose memory is read.
#[test]
fn child() {
    let Some(root) = env::var_os(CHILD).map(PathBuf::from) else { return };
    let kind = if root.join("made-up.key").exists() { Kind::Sealed } else { Kind::Directory };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = CredentialManager::new(
            Settings {
                name: CredentialsName::new("production"),
                source: kind.settings(&root),
                fixed: Identifiers::new(),
                keep: None,
                refresh: RefreshSettings {
                    quiet: Duration::from_millis(10),
                    overlap: Duration::ZERO,
                    ..RefreshSettings::default()
                },
            },
            &Sources::default(),
        );
        let stop = CancellationToken::new();
        let run = tokio::spawn(manager.clone().run(stop.clone()));
        for word in ["loaded", "rotated"] {
            manager.refresh().await.unwrap();
            let lease = manager.snapshot().unwrap();
            let mut headers = http::HeaderMap::new();
            lease.write_to(&mut headers);
            drop(headers);
            manager.report(&lease, CredentialVerdict::Accepted);
            drop(lease);
            while manager.status().other_version.is_some() {
                tokio::task::yield_now().await;
            }
            say(word);
            tokio::task::spawn_blocking(|| io::stdin().lock().read_line(&mut String::new()))
                .await
                .unwrap()
                .unwrap();
        }
        stop.cancel();
        run.await.unwrap();
    });
}

#[expect(clippy::print_stdout, reason = "the parent waits for it")]
fn say(word: &str) {
    println!("\n{word}");
    io::stdout().flush().unwrap();
}

/// The child, from the parent's side.
struct WatchTarget {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl WatchTarget {
    fn start(root: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "credentials::tests::memory::child", "--nocapture"])
            .env(CHILD, root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the child is gone");
        }
    }

    fn go_on(&mut self) {
        writeln!(self.input).unwrap();
    }

    /// How often the canary is in memory: whole, and its last half, because freed memory begins
    /// with what the allocator writes over it.
    fn count(&self, canary: &str) -> (usize, usize) {
        let process = format!("/proc/{}", self.child.id());
        let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
        let memory = fs::File::open(format!("{process}/mem")).unwrap();
        let half = canary.split_at(canary.len() / 2).1;
        let mut counts = (0, 0);
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let bound = |text| u64::from_str_radix(text, 16).unwrap();
            let mut region = vec![0; usize::try_from(bound(to) - bound(from)).unwrap()];
            if memory.read_exact_at(&mut region, bound(from)).is_ok() {
                counts.0 += memmem::find_iter(&region, canary).count();
                counts.1 += memmem::find_iter(&region, half).count();
            }
        }
        counts
    }
}

impl Drop for WatchTarget {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn canary() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[track_caller]
fn the_old_one_goes(kind: Kind) {
    let root = TempDir::new().unwrap();
    let (old, new) = (canary(), canary());
    kind.write(root.path(), &old);
    let mut child = WatchTarget::start(root.path());
    child.wait_for("loaded");
    let (whole, half) = child.count(&old);
    assert!(whole >= 7, "the scan finds what is there: {whole}, {half}");
    kind.write(root.path(), &new);
    child.go_on();
    child.wait_for("rotated");
    assert!(child.count(&new).0 >= 7);
    let left = child.count(&old);
    assert_eq!(left.0, 0, "{left:?}");
    if cfg!(all(feature = "wipe-memory", not(feature = "count-allocations"))) {
        assert_eq!(left.1, 0, "{left:?}");
    }
    child.go_on();
}

#[test]
fn a_rotated_folder_leaves_nothing_of_the_old_set_in_memory() {
    the_old_one_goes(Kind::Directory);
}

#[test]
fn a_rotated_store_leaves_nothing_of_the_old_set_in_memory() {
    the_old_one_goes(Kind::Sealed);
}
