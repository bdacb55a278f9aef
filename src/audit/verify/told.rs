//! What a fleet log tells of trails: the heads of their chains, which whoever has the trail can hold it against.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Verdict, VerifyError, VerifyOptions, VerifyReport, verify_lines};
use crate::{
    audit::{
        chain::Hash,
        entry::{Entry, FindingKind, LoggedHead},
        line,
        tlog::Note,
    },
    domain::VerifierKey,
};

/// The result of the check of a fleet log, and the chains that it tells of.
#[derive(Clone, Debug, Default)]
pub struct FleetLogReport {
    /// The check of the log itself.
    pub log: VerifyReport,
    /// The chains, by name.
    pub chains: Vec<ToldChain>,
}

/// A chain, as a fleet log tells of it.
#[derive(Clone, Debug)]
pub struct ToldChain {
    /// Its name.
    pub name: String,
    /// What the gateway was called that told of it last.
    pub instance: String,
    /// The key that signs for it.
    pub key: VerifierKey,
    /// The `seq` of the last line that a head has.
    pub last_seq: u64,
    /// When the last head was logged, as text.
    pub last_time: String,
    /// The gateway closed the trail there.
    pub ended: bool,
    /// What was found wrong with it, whether or not somebody has acknowledged it.
    pub findings: BTreeSet<FindingKind>,
    /// The `seq` of its first line.
    pub(super) first_seq: u64,
    /// The hash of its tree, by the number of its lines.
    pub(super) heads: BTreeMap<u64, Hash>,
}

impl ToldChain {
    fn of(head: LoggedHead, time: &str, root: Hash) -> Option<Self> {
        let LoggedHead { chain, instance, size, last_seq, ended, key, .. } = head;
        Some(Self {
            name: chain,
            instance,
            key,
            last_seq,
            last_time: time.to_owned(),
            ended,
            findings: BTreeSet::new(),
            first_seq: last_seq.checked_add(1)?.checked_sub(size)?,
            heads: BTreeMap::from([(size, root)]),
        })
    }

    fn add(&mut self, head: LoggedHead, time: &str, root: Hash) {
        self.heads.entry(head.size).or_insert(root);
        if head.last_seq >= self.last_seq {
            (self.last_seq, self.ended) = (head.last_seq, head.ended);
            (self.instance, self.last_time) = (head.instance, time.to_owned());
        }
    }

    /// How many heads there are.
    pub fn count(&self) -> u64 {
        self.heads.len() as u64
    }

    /// The last line that a head has, if it is beyond a number of lines.
    pub(super) fn beyond(&self, size: u64) -> Option<u64> {
        let (last, _) = self.heads.last_key_value()?;
        (*last > size).then(|| self.first_seq.saturating_add(*last).saturating_sub(1))
    }
}

/// Checks a fleet log as any trail, and reads the heads in it. They take 50 bytes of memory each.
pub fn verify_fleet_log(
    directory: &Path,
    options: VerifyOptions,
) -> Result<FleetLogReport, VerifyError> {
    let mut chains: BTreeMap<String, ToldChain> = BTreeMap::new();
    let log = verify_lines(
        directory,
        options,
        |_| {},
        |bytes| {
            let time = line::line_head(bytes).map_or("", |head| head.time);
            match Entry::parse(bytes) {
                Some(Entry::Head(head)) => {
                    let Some(told) = Note::parse(&head.note).and_then(|note| note.head()) else {
                        return;
                    };
                    if let Some(chain) = chains.get_mut(&head.chain) {
                        chain.add(head, time, told.root);
                    } else if let Some(chain) = ToldChain::of(head, time, told.root) {
                        chains.insert(chain.name.clone(), chain);
                    }
                }
                Some(Entry::Finding(finding)) => {
                    if let Some(chain) = chains.get_mut(&finding.chain) {
                        chain.findings.insert(finding.kind);
                    }
                }
                Some(Entry::Acknowledged { .. }) | None => {}
            }
        },
    )?;
    Ok(FleetLogReport { log, chains: chains.into_values().collect() })
}

impl FleetLogReport {
    /// The verdict on the log itself.
    pub fn verdict(&self) -> Verdict {
        self.log.verdict()
    }
}
