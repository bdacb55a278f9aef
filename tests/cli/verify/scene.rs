//! An audit trail that a test may change, and what its gateway's owner keeps elsewhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use pigello_gateway::{
    audit::{ChainFields, Outcome, PublicKey, Record, Settings, Trail, line_head},
    domain::{ByteSize, ListenerName, PolicyId, ProfileName, RequestId},
};
use serde_json::Value;

/// The settings of every trail: small enough for several files and checkpoints.
fn settings(home: &Path) -> Settings {
    Settings {
        segment_bytes: ByteSize(23_000),
        checkpoint_records: 20,
        compress_after: None,
        batch_delay: Duration::from_millis(1),
        sync_interval: Duration::from_millis(1),
        signing_key: Some(home.join("keys/signing-key.pem")),
        ..Settings::new(home.join("audit"))
    }
}

/// A trail, its signing key outside of it, and copies of the public key and of the log.
pub(super) struct Scene {
    home: tempfile::TempDir,
    /// The lines of each file, in order.
    pub(super) files: Vec<(PathBuf, Vec<String>)>,
}

impl Scene {
    /// Two gateways, one after the other, have written it: 60 calls and 40.
    pub(super) fn new() -> Self {
        static FIRST: LazyLock<Scene> = LazyLock::new(|| {
            let mut scene = Scene { home: tempfile::tempdir().unwrap(), files: Vec::new() };
            for folder in FOLDERS {
                fs::create_dir(scene.path(folder)).unwrap();
            }
            scene.gateway(60);
            scene.gateway(40);
            scene.keep();
            scene
        });
        let mut scene = Self { home: tempfile::tempdir().unwrap(), files: Vec::new() };
        for folder in FOLDERS {
            copy(&FIRST.path(folder), &scene.path(folder));
        }
        scene.read();
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) fn settings(&self) -> Settings {
        settings(self.home.path())
    }

    /// A gateway opens the trail, serves so many calls, and closes it.
    pub(super) fn gateway(&mut self, calls: usize) {
        let trail = self.open(calls);
        trail.close().unwrap();
        self.read();
    }

    /// A gateway that has the trail open, with so many calls in stable storage.
    pub(super) fn open(&self, calls: usize) -> Trail {
        let trail = Trail::open(&self.settings()).unwrap();
        for at in 0..calls {
            trail.submit(record(at));
            // A file ends between two batches.
            while at % 5 == 0 && trail.stats().queued > 0 {
                std::thread::yield_now();
            }
        }
        while trail.stats().queued > 0 || trail.stats().synced_seq < trail.stats().last_seq {
            std::thread::yield_now();
        }
        while trail.last_checkpoint().is_none() {
            std::thread::yield_now();
        }
        trail
    }

    /// A gateway serves so many calls and is killed: what it leaves is taken before it closes.
    pub(super) fn killed_gateway(&mut self, calls: usize) {
        let trail = self.open(calls);
        let aside = self.path("aside");
        copy(&self.path("audit"), &aside);
        trail.close().unwrap();
        fs::remove_dir_all(self.path("audit")).unwrap();
        fs::rename(aside, self.path("audit")).unwrap();
        self.read();
    }

    /// Keeps the public key, and the log's lines with checkpoints.
    pub(super) fn keep(&self) {
        fs::copy(self.path("audit/signing-key.pub.pem"), self.path("kept/key.pem")).unwrap();
        let log: String = self.checkpoints().map(|fields| log_line(&fields)).collect();
        fs::write(self.path("kept/log"), log).unwrap();
    }

    /// The fields of the log's messages.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = Value> {
        let lines = self.files.iter().flat_map(|(_, lines)| lines);
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|l: &Value| is(l, "checkpoint"))
    }

    /// Reads the files again.
    pub(super) fn read(&mut self) {
        let mut paths: Vec<_> = fs::read_dir(self.path("audit"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        paths.sort();
        let lines = |path: PathBuf| match fs::read_to_string(&path) {
            // A gateway has deleted it in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => Some((path, text.unwrap().lines().map(ToOwned::to_owned).collect())),
        };
        self.files = paths.into_iter().filter_map(lines).collect();
    }

    /// Writes the lines into the files.
    pub(super) fn write(&self) {
        for (path, lines) in &self.files {
            let end = if lines.is_empty() { "" } else { "\n" };
            fs::write(path, lines.join("\n") + end).unwrap();
        }
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Removes what says where the trail ends: `checkpoint.json`, and the published note.
    pub(super) fn forget_end(&self) {
        self.remove("audit/checkpoint.json");
        // A trail of an older gateway has none.
        drop(fs::remove_file(self.path("audit/tlog/checkpoint")));
    }

    /// Writes `checkpoint.json` and the published note from the last line with a checkpoint.
    pub(super) fn latest_from_lines(&self) {
        let fields = self.checkpoints().last().unwrap();
        fs::write(self.path("audit/checkpoint.json"), format!("{fields}\n")).unwrap();
        if let Some(note) = fields["note"].as_str() {
            fs::write(self.path("audit/tlog/checkpoint"), note).unwrap();
        }
    }

    /// Drops the line of that `seq` and all after it.
    pub(super) fn cut_at(&mut self, seq: u64) {
        for (path, lines) in std::mem::take(&mut self.files) {
            let lines: Vec<_> = lines.into_iter().filter(|line| seq_of(line) < seq).collect();
            if lines.is_empty() {
                fs::remove_file(path).unwrap();
            } else {
                self.files.push((path, lines));
            }
        }
    }

    /// The `seq` of the nth line of a kind, from 0.
    pub(super) fn nth(&self, kind: &str, nth: usize) -> u64 {
        let head = format!("{{\"kind\":\"{kind}\"");
        let mut lines = self.files.iter().flat_map(|(_, lines)| lines);
        let line = lines.by_ref().filter(|line| line.starts_with(&head)).nth(nth).unwrap();
        seq_of(line)
    }

    /// The line of that `seq`.
    pub(super) fn line(&mut self, seq: u64) -> &mut String {
        let mut lines = self.files.iter_mut().flat_map(|(_, lines)| lines);
        lines.find(|line| seq_of(line) == seq).unwrap()
    }

    /// The lines that `change` returns take the place of all; then numbers and hashes are made anew, as an
    /// attacker who knows the format would. The lines before the first changed one stay as they are.
    pub(super) fn rewrite(&mut self, mut change: impl FnMut(&str) -> Option<String>) {
        let (mut seq, mut prev) = (0, "0".repeat(64));
        for (_, lines) in &mut self.files {
            let changed = lines.iter().filter_map(|line| change(line)).map(|line| {
                let fields = ChainFields::read(line.as_bytes()).unwrap();
                let is_next = seq_of(&line) == seq + 1 && fields.prev.to_string() == prev;
                let line =
                    if is_next && fields.is_intact() { line } else { seal(&line, seq + 1, &prev) };
                seq += 1;
                prev = ChainFields::read(line.as_bytes()).unwrap().stated.to_string();
                line
            });
            *lines = changed.collect();
        }
        self.fit_names();
    }

    /// Gives each file the name that has the number of its first line.
    fn fit_names(&mut self) {
        for (path, lines) in &mut self.files {
            let Some(first) = lines.first() else { continue };
            let name = path.file_name().unwrap().to_str().unwrap();
            let time = name.rsplit('-').next().unwrap();
            let new = path.with_file_name(format!("audit-{:020}-{time}", seq_of(first)));
            fs::rename(&*path, &new).unwrap();
            *path = new;
        }
    }

    /// Signs all checkpoints anew with another key, as its owner could. The trail then looks like one of a
    /// gateway without chains.
    pub(super) fn sign_with(&mut self, pem: &Path) {
        let key = key_pair(pem);
        let (mut seq, mut prev) = (0, "0".repeat(64));
        for (_, lines) in &mut self.files {
            for line in lines {
                seq += 1;
                let mut text = without_chain(line);
                let fields: Value = serde_json::from_str(&text).unwrap();
                if is(&fields, "checkpoint") {
                    let signed = sign(&key, seq, &fields, &prev);
                    text = text.replace(fields["signature"].as_str().unwrap(), &signed);
                    text = text.replace(fields["key"].as_str().unwrap(), &key_id(pem));
                }
                *line = seal(&text, seq, &prev);
                prev = ChainFields::read(line.as_bytes()).unwrap().stated.to_string();
            }
        }
        fs::remove_dir_all(self.path("audit/tlog")).unwrap();
        self.remove("audit/chain.json");
    }

    /// Makes a trail as gateways wrote it that did not sign their start.
    pub(super) fn make_old(&mut self) {
        let mut before = String::new();
        self.rewrite(|line| {
            let kind = kind_of(line);
            let is_of_start = kind == "checkpoint" && before == "start";
            kind.clone_into(&mut before);
            let added = match kind {
                "start" => ",\"key\":",
                "checkpoint" => ",\"previous\":",
                _ => return Some(line.to_owned()),
            };
            let (head, chain) = line.split_once(",\"prev\":").unwrap();
            let head = without_chain(head);
            let head = head.split(added).next().unwrap();
            (!is_of_start).then(|| format!("{head},\"prev\":{chain}"))
        });
        self.sign_with(&self.path("keys/signing-key.pem"));
        self.latest_from_lines();
        self.write();
    }

    /// The exit code of `audit verify`, its standard output and its standard error.
    pub(super) fn verify(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
            .args(["audit", "verify", "--directory", "audit"])
            .args(arguments)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

const FOLDERS: [&str; 3] = ["audit", "keys", "kept"];

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            match fs::copy(from, to) {
                // A running gateway replaces files.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// A key pair of somebody else.
pub(super) fn other_key(scene: &Scene) -> PathBuf {
    let home = scene.path("other");
    fs::create_dir(&home).unwrap();
    Trail::open(&Settings::new(&home)).unwrap().close().unwrap();
    home.join("signing-key.pem")
}

/// The line without what names its chain.
fn without_chain(line: &str) -> String {
    let Some((begin, rest)) = line.split_once(",\"chain\":") else { return line.to_owned() };
    let (_, key) = rest.split_once(",\"key\":").unwrap();
    format!("{begin},\"key\":{key}")
}

/// The line in the log that goes with a checkpoint.
fn log_line(fields: &Value) -> String {
    format!("{{\"level\":\"INFO\",\"fields\":{fields},\"target\":\"audit\"}}\n")
}

pub(super) fn seq_of(line: &str) -> u64 {
    line_head(line.as_bytes()).unwrap().seq
}

pub(super) fn kind_of(line: &str) -> &str {
    line_head(line.as_bytes()).unwrap().kind
}

fn is(line: &Value, kind: &str) -> bool {
    line["kind"] == kind
}

/// The line with another number, and the chain fields that go with it.
pub(super) fn seal(line: &str, seq: u64, prev: &str) -> String {
    let (head, _) = line.split_once(",\"prev\":").unwrap();
    let number = format!("\"seq\":{},", seq_of(line));
    let head = head.replacen(&number, &format!("\"seq\":{seq},"), 1);
    let unsealed = format!("{head},\"prev\":\"{prev}\",\"hash\":\"{}\"}}", "0".repeat(64));
    let hash = ChainFields::read(unsealed.as_bytes()).unwrap().computed;
    format!("{head},\"prev\":\"{prev}\",\"hash\":\"{hash}\"}}")
}

fn key_pair(pem: &Path) -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8(&der(pem)).unwrap()
}

/// The name of a key in checkpoints, from the file of its public half beside the trail.
fn key_id(pem: &Path) -> String {
    let public = match pem.parent().unwrap() {
        keys if keys.ends_with("keys") => keys.with_file_name("audit").join("signing-key.pub.pem"),
        other => other.join("signing-key.pub.pem"),
    };
    PublicKey::read(&public).unwrap().id().to_owned()
}

fn der(pem: &Path) -> Vec<u8> {
    let text = fs::read_to_string(pem).unwrap();
    let lines: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64_STANDARD.decode(lines).unwrap()
}

fn sign(key: &Ed25519KeyPair, seq: u64, line: &Value, prev: &str) -> String {
    let time = line["time"].as_str().unwrap();
    let mut text =
        format!("pigello-gateway audit checkpoint\nseq {seq}\ntime {time}\nprev {prev}\n");
    for name in ["chain", "instance"] {
        text.extend(line[name].as_str().map(|value| format!("{name} {value}\n")));
    }
    BASE64_STANDARD.encode(key.sign(text.as_bytes()))
}

/// One call in three is of another operation.
pub(super) fn record(at: usize) -> Record {
    let operation = ["tenant.list", "subtenant.list", "organizationuser.list"][at % 3];
    Record {
        time: SystemTime::now(),
        request_id: RequestId::fresh(),
        trace_id: 1,
        own: None,
        peer: None,
        refused_certificate: None,
        policy: PolicyId::default(),
        listener: ListenerName::new("sidecar"),
        caller: Some("billing".into()),
        caller_proof: None,
        profile: Some(ProfileName::new("production")),
        operation: Some(operation.into()),
        method: Method::GET,
        target: "/accounts/users/customer/tenant/list/".parse().ok(),
        status: Some(StatusCode::OK),
        outcome: Outcome::Forwarded,
        cache: None,
        source_request_id: None,
        source_chain: None,
        upstream_status: Some(StatusCode::OK),
        upstream_tls: None,
        attempts: 1,
        retries: Vec::new(),
        credential_version: Some("7".into()),
        duration: Duration::from_millis(12),
        queue_time: Duration::ZERO,
        upstream_time: Some(Duration::from_millis(11)),
        request_bytes: 0,
        response_bytes: 2_048,
        error: None,
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

/// Keeps the last few files.
pub(super) fn retaining_little(settings: Settings) -> Settings {
    Settings { retain_bytes: Some(ByteSize(60_000)), ..settings }
}
