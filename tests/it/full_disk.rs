//! The trail on a disk that is full, a real one: each gateway has a small tmpfs in a mount namespace of its
//! own, and a shell in the same namespace that fills it.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use pigello_gateway::audit::{self, TrailSegment, VerifyOptions};
use pigello_mock::MADE_UP_VALUES;
use tempfile::TempDir;

use crate::support::{Caller, Process, skip};

/// A call that the trail must be able to record. There is no upstream, so it is a 502 where it is let through.
const READ: &str = "/accounts/users/customer/tenant/list/";

struct Gateway {
    process: Option<Process>,
    caller: Caller,
    folder: TempDir,
}

/// The disk, and the shell.
const DISK: &str = r#"
    ip link set lo up
    mkdir "$FOLDER/audit"
    mount -t tmpfs -o size=1m,mode=700 tmpfs "$FOLDER/audit"
    mkfifo "$FOLDER/commands" "$FOLDER/answers"
    timeout 300 sh -c 'while read -r command; do eval "$command" 2>"$FOLDER/errors"; echo done >"$FOLDER/answers"; done' \
        <>"$FOLDER/commands" >/dev/null 2>&1 &
"#;

impl Gateway {
    fn start(trail: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("credentials")).unwrap();
        for (name, value) in MADE_UP_VALUES {
            fs::write(path("credentials").join(name.key()), value).unwrap();
        }
        let text = format!(
            r#"
            [[listeners]]
            name = "main"
            address = "unix:{socket}"
            profile = "test"
            [admin]
            address = "unix:{admin}"
            [profiles.test]
            upstream = "http://127.0.0.1:9"
            insecure_http = true
            credentials = "test"
            [credentials.test]
            source = "directory"
            path = "credentials"
            # A log that nobody reads must not fill its pipe.
            [telemetry]
            log_level = "error"
            [breaker]
            enabled = false
            [retry]
            attempts = 1
            [audit]
            directory = "audit"
            segment_bytes = "64KiB"
            {trail}
            "#,
            socket = path("gateway.sock").display(),
            admin = path("admin.sock").display(),
        );
        fs::write(path("gateway.toml"), text).unwrap();
        let process = Process::serve_in_network(folder.path(), DISK)?;
        let caller = Caller::unix(path("gateway.sock"));
        Some(Self { process: Some(process), caller, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command where the disk is.
    fn sh(&self, command: &str) {
        let commands = fs::OpenOptions::new().write(true).open(self.path("commands"));
        writeln!(commands.unwrap(), "{command}").unwrap();
        assert_eq!(fs::read_to_string(self.path("answers")).unwrap(), "done\n");
    }

    fn fill_the_disk(&self) {
        self.sh("cat /dev/zero >\"$FOLDER/audit/of-somebody-else\"");
    }

    async fn until_served(&self, is_served: bool) {
        // Each refused call waits in memory for its line, so there must not be more than the disk has room for.
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        let wait = async {
            while (self.caller.get(READ).await.status == StatusCode::BAD_GATEWAY) != is_served {
                pace.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait)
            .await
            .expect("the trail is as it should be");
    }

    /// Ends the gateway. Returns its log, and a copy of the trail.
    fn end(mut self) -> (String, TempDir) {
        // The last lines need room, too.
        self.sh("rm -f \"$FOLDER/audit/of-somebody-else\"");
        let (status, log) = self.process.take().unwrap().terminate();
        self.sh("cp -r \"$FOLDER/audit\" \"$FOLDER/copy\"");
        let commands = fs::OpenOptions::new().write(true).open(self.path("commands"));
        writeln!(commands.unwrap(), "exit").unwrap();
        assert!(status.success(), "{log}");
        let copy = tempfile::tempdir().unwrap();
        fs::rename(self.path("copy"), copy.path().join("audit")).unwrap();
        (log, copy)
    }
}

fn disks_are_not_allowed() {
    skip("a full disk: no mount namespace of its own is allowed here");
}

/// The ranges that `retention` lines announce, and the first line that is there.
fn deletions(trail: &Path) -> (Vec<(u64, u64)>, u64) {
    let mut announced = Vec::new();
    let files = TrailSegment::list(trail).unwrap();
    audit::read_through::<audit::TrailReadError>(&files, |item| {
        if let audit::ReadItem::Line(line) = item
            && line.starts_with(b"{\"kind\":\"retention\"")
        {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            announced.push((line["from"].as_u64().unwrap(), line["to"].as_u64().unwrap()));
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    (announced, files[0].first_seq)
}

fn names(trail: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(trail).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_files_make_room_on_a_full_disk_and_each_has_one_line() {
    for more in ["compress_after = \"1h\"", "compress_after = \"3s\"", "durability = \"synced\""] {
        let keys = format!("retain_for = \"4s\"\n{more}");
        let Some(gateway) = Gateway::start(&keys) else { return disks_are_not_allowed() };
        for _ in 0..500 {
            gateway.caller.get(READ).await;
        }
        gateway.fill_the_disk();
        gateway.until_served(false).await;
        // Nobody removes what fills the disk.
        gateway.until_served(true).await;
        let (log, copy) = gateway.end();
        let trail = copy.path().join("audit");
        let (announced, first) = deletions(&trail);
        assert!(!announced.is_empty(), "{more}: {log}");
        let mut next = 1;
        for (from, to) in announced {
            assert_eq!(from, next, "each deletion has one line: {more}");
            next = to + 1;
        }
        assert_eq!(next, first, "what was announced is deleted, and nothing else: {more}");
        let left = names(&trail);
        let is_left = |part: &str| left.iter().any(|name| name.contains(part));
        assert!(!is_left(".new") && !is_left("deleted-"), "{more}: {left:?}");
        let report = audit::verify(&trail, VerifyOptions::default(), |_| {}).unwrap();
        assert_eq!(report.problems, [], "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_log_says_what_stands_in_the_way() {
    let Some(gateway) = Gateway::start("retain_for = \"1h\"") else {
        return disks_are_not_allowed();
    };
    gateway.caller.get(READ).await;
    gateway.fill_the_disk();
    gateway.until_served(false).await;
    let admin = Caller::unix(gateway.path("admin.sock"));
    let blocked = "pigello_gateway_audit_retention_blocked{reason=\"nothing_due\"} 1";
    let told = async {
        loop {
            let metrics = admin.get("/metrics").await.body;
            if String::from_utf8_lossy(&metrics).contains(blocked) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("a metric tells of it");
    gateway.sh("rm \"$FOLDER/audit/of-somebody-else\"");
    gateway.until_served(true).await;
    let (log, copy) = gateway.end();
    assert!(log.contains("no old file is due for deletion"), "{log}");
    assert_eq!(deletions(&copy.path().join("audit")), (vec![], 1));
}
