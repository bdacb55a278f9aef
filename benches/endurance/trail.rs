//! Reads the gateway's trail and has it checked.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
};

use pigello_gateway::audit::{self, ReadItem, TrailReadError};
use serde::Deserialize;
use uuid::Uuid;

/// What is on a trail about calls.
#[derive(Debug, Default)]
pub struct Trail {
    /// Finished calls.
    pub calls: HashMap<u128, Record>,
    /// Records of a call that had one already.
    pub repeated: u64,
    /// How many of them the gateway made by itself.
    pub own: u64,
    /// Calls that a kill left without a record.
    pub unknown: HashSet<u128>,
    /// Calls that announced that they would use a credential.
    pub intents: HashMap<u128, u32>,
    /// Other lines, by kind.
    pub markers: HashMap<String, u64>,
    /// What gaps say was lost.
    pub lost: u64,
}

/// The record of a call.
#[derive(Debug)]
pub struct Record {
    pub status: Option<u16>,
    pub attempts: u32,
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Checkout<'a> {
    kind: &'a str,
    request_id: Option<&'a str>,
    status: Option<u16>,
    attempts: Option<u32>,
    error: Option<&'a str>,
    cause: Option<&'a str>,
    lost: Option<u64>,
}

impl Trail {
    pub fn read(directory: &Path) -> Self {
        let mut whole = Self::default();
        let files = audit::files(directory).unwrap();
        audit::read_through(&files, |found| {
            if let ReadItem::Line(line) = found {
                // A torn line says nothing.
                if let Ok(line) = serde_json::from_slice(line) {
                    whole.add(&line);
                }
            }
            Ok::<_, TrailReadError>(ControlFlow::Continue(()))
        })
        .unwrap();
        whole
    }

    fn add(&mut self, line: &Checkout<'_>) {
        let id = line.request_id.and_then(|id| Uuid::parse_str(id).ok()).map(|id| id.as_u128());
        match (line.kind, id) {
            ("call", Some(id)) => {
                let error = line.error.map(str::to_owned);
                let attempts = line.attempts.unwrap_or_default();
                let record = Record { status: line.status, attempts, error };
                self.own += u64::from(line.cause.is_some());
                self.repeated += u64::from(self.calls.insert(id, record).is_some());
            }
            ("intent", Some(id)) => *self.intents.entry(id).or_default() += 1,
            ("unknown", Some(id)) => {
                self.unknown.insert(id);
            }
            (kind, _) => {
                *self.markers.entry(kind.to_owned()).or_default() += 1;
                self.lost += line.lost.unwrap_or_default();
            }
        }
    }

    /// How many records there are of each status and error.
    pub fn summary(&self) -> String {
        let mut counts: HashMap<_, u64> = HashMap::new();
        for record in self.calls.values() {
            *counts.entry((record.status, record.error.as_deref())).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let counts = counts.iter().map(|((status, error), count)| {
            let status = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
            format!("{count} × {status}{}", error.map_or_else(String::new, |e| format!(" {e}")))
        });
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// What `audit verify` says of a trail.
#[derive(Debug)]
pub struct Verdict {
    pub is_right: bool,
    pub text: String,
}

/// Runs `audit verify`.
pub fn verify(program: &PathBuf, directory: &Path) -> Verdict {
    let output = Command::new(program)
        .args(["audit", "verify", "--directory"])
        .arg(directory)
        .env_clear()
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    Verdict { is_right: output.status.success(), text }
}
