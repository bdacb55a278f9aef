//! `manifest.json`: what was asked, what there is, and the digests of a bundle's files.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LISTED, PAGE, RECORDS, TRAIL, rules::PolicyInForce};
use crate::{
    audit::{Hash, LineHead},
    cli::audit::filter::CallFilter,
};

/// The content of `manifest.json`. Whoever signs it states it; a reader checks what the lines can show.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of the layout: [`VERSION`].
    pub(super) bundle: u32,
    /// When the bundle was made.
    pub(super) made: Timestamp,
    /// The program that made it.
    pub(super) program: Program,
    /// The name of the host.
    pub(super) host: String,
    /// The directory of the trail there.
    pub(super) trail: String,
    /// The fingerprint of the key that signs the trail's checkpoints.
    pub(super) key: Option<String>,
    /// The fingerprint of the key that signed this manifest.
    pub(super) signed_with: Option<String>,
    /// The conditions: the options of `audit export` and their values. Times are absolute.
    pub(super) asked: BTreeMap<String, String>,
    /// The name of the asked object in a trail with hashed object ids.
    pub(super) hashed_object: Option<String>,
    /// The lines in `trail.jsonl`.
    pub(super) lines: Lines,
    /// How many lines in `records.jsonl`.
    pub(super) records: u64,
    /// The configurations under which they were decided.
    pub(super) policies: Vec<PolicyInForce>,
    /// The `policy` of the bundle's `configuration.toml`.
    pub(super) configuration: Option<String>,
    /// How many lines at the end of the trail are left out, because no checkpoint signs them yet.
    pub(super) unsigned_left_out: u64,
    /// What the host says that the trail covers of the period.
    pub(super) coverage: Value,
    /// What the host found when it checked the whole trail: the output of `audit verify --json`.
    pub(super) verification: Value,
    /// The files behind the signature, in their order.
    pub(super) files: Vec<BundledFile>,
}

/// A program and how it was built.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) commit: String,
}

/// Consecutive lines of a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lines {
    pub(super) count: u64,
    pub(super) first_seq: Option<u64>,
    pub(super) last_seq: Option<u64>,
    pub(super) first_time: Option<String>,
    pub(super) last_time: Option<String>,
}

impl Lines {
    /// How many, and which ones.
    pub(super) fn in_words(&self) -> String {
        let Self { count, first_seq, last_seq, first_time, last_time } = self;
        let lines = if *count == 1 { "line" } else { "lines" };
        match (first_seq, first_time, last_seq, last_time) {
            (Some(first), Some(since), Some(last), Some(until)) => {
                format!("{count} {lines} (records {first} to {last}, {since} to {until})")
            }
            _ => format!("{count} {lines}"),
        }
    }

    /// The next line.
    pub(super) fn add(&mut self, head: &LineHead<'_>) {
        self.count += 1;
        if self.first_seq.is_none() {
            self.first_seq = Some(head.seq);
            self.first_time = Some(head.time.to_owned());
        }
        self.last_seq = Some(head.seq);
        let last_time = self.last_time.get_or_insert_default();
        last_time.clear();
        last_time.push_str(head.time);
    }
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BundledFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// 64 hexadecimal digits.
    pub(super) sha256: String,
}

impl BundledFile {
    pub(super) fn of(name: &str, content: &[u8]) -> Self {
        let sha256 = Hash::of(content).to_string();
        Self { name: name.to_owned(), bytes: content.len() as u64, sha256 }
    }
}

impl Manifest {
    /// Parses a manifest. `None` if it is not one that this program knows: its files must be those of the
    /// layout, in that order.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(json).ok()?;
        let mut order = LISTED.iter();
        let is_in_order =
            manifest.files.iter().all(|file| order.any(|listed| *listed == file.name));
        let has = |name: &&str| manifest.files.iter().any(|file| file.name == **name);
        let is_whole = [PAGE, TRAIL, RECORDS].iter().all(has);
        (manifest.bundle == VERSION && is_in_order && is_whole).then_some(manifest)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// The filter of what was asked.
    pub(super) fn filter(&self) -> Option<CallFilter> {
        CallFilter::of(&self.asked)
    }

    /// What was asked, in words.
    pub(super) fn question(&self) -> String {
        if self.asked.is_empty() {
            return "all calls".to_owned();
        }
        let conditions = self.asked.iter().map(|(option, value)| format!("{option} {value}"));
        conditions.collect::<Vec<_>>().join(", ")
    }

    /// The verdict of the host on its whole trail, and the reason.
    pub(super) fn host_found(&self) -> (String, String) {
        let text = |key: &str| {
            self.verification.get(key).and_then(Value::as_str).unwrap_or_default().replace('_', " ")
        };
        (text("verdict"), text("statement"))
    }

    /// What keeps the lines from covering the asked period, in words.
    ///
    /// The line before the period shows that no line of it is missing at its beginning, and a checkpoint
    /// of a later time that it had ended.
    pub(super) fn uncovered(&self, lines: &Lines) -> Vec<String> {
        let asked = |option: &str| self.asked.get(option).map(String::as_str);
        let mut uncovered = Vec::new();
        let first_time = lines.first_time.as_deref();
        let begins_before =
            asked("since").zip(first_time).is_some_and(|(since, first)| first < since);
        if let (Some(seq @ 2..), Some(time), false) = (lines.first_seq, first_time, begins_before) {
            uncovered.push(format!(
                "the trail begins with record {seq}, of {time}: what was before it is not covered"
            ));
        }
        let last_time = lines.last_time.as_deref().unwrap_or("the beginning");
        let ends_after = asked("until").is_some_and(|until| last_time >= until);
        if !ends_after {
            uncovered.push(format!("calls are covered up to {last_time}"));
        }
        uncovered
    }
}

/// The version of the layout.
pub(super) const VERSION: u32 = 1;
