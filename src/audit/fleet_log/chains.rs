//! What a hub knows of the chains of its fleet, and what it finds wrong with them.
//!
//! A head alone proves nothing of the one before it. What can be seen at once is a chain that got shorter, that has
//! other lines at the same length, that two gateways continue, or that fell silent. `audit verify --fleet-log` finds
//! the rest, because it has the lines.
//!
//! Whoever runs the store can show an old record again. So a shorter chain counts only if a process tells of it that
//! started later than the one that told the longer one.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    audit::{
        entry::{Entry, Finding, FindingKind, LoggedHead},
        tlog::{Head, Note, Signed},
    },
    domain::VerifierKey,
    fleet::Seen,
};

/// The chains, by name, and what is wrong.
#[derive(Debug, Default)]
pub(super) struct Chains {
    known: HashMap<String, Known>,
    findings: BTreeMap<(String, FindingKind), Finding>,
}

/// What is known of a chain.
#[derive(Debug)]
struct Known {
    /// The largest head.
    head: LoggedHead,
    /// The hash of its tree.
    root: [u8; 32],
    /// When the store got it, by the store's clock; 0 for one from the log.
    written: u64,
    /// The time since it came, as far as records could be read.
    silent_for: Duration,
    /// The time since the last head of the chain that is in the log.
    logged_ago: Duration,
    is_logged: bool,
    /// The process that tells of the chain now.
    teller: Option<Uuid>,
    /// Those that told of it before, each with the size that it told last.
    tellers_before: Vec<(Uuid, u64)>,
    /// An operator has acknowledged that it is silent.
    may_be_silent: bool,
    /// An operator has acknowledged that it is not what it was: the next head counts as the first.
    begins_anew: bool,
}

/// A head in the record of a member that its own key has signed.
struct Told<'a> {
    seen: &'a Seen,
    head: LoggedHead,
    root: [u8; 32],
}

impl<'a> Told<'a> {
    /// `None` if there is no such head.
    fn of(seen: &'a Seen) -> Option<Self> {
        let trail = seen.record.trail.as_ref()?;
        let text = trail.note.as_ref().filter(|note| note.len() <= MOST_NOTE)?;
        let note = Note::parse(text)?;
        let head = note.head()?;
        let key: VerifierKey = trail.key.as_ref()?.parse().ok()?;
        let is_signed =
            key.name() == head.origin && matches!(note.signed_by(&key), Signed::Yes { .. });
        let is_whole = head.size > 0 && trail.seq >= head.size && is_name(head.chain());
        (is_signed && is_whole).then(|| Self {
            root: head.root.0,
            head: LoggedHead {
                chain: head.chain().to_owned(),
                instance: seen.record.instance.chars().take(MOST_NAME).collect(),
                size: head.size,
                last_seq: trail.seq,
                ended: trail.ended,
                started: seen.record.started,
                interval: Duration::from_millis(trail.interval_ms),
                key,
                note: text.clone(),
            },
            seen,
        })
    }
}

/// 128 bits as hexadecimal digits, as every chain has for a name.
fn is_name(chain: &str) -> bool {
    chain.len() == 32 && chain.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Known {
    fn first(told: &Told<'_>) -> Self {
        Self {
            head: told.head.clone(),
            root: told.root,
            written: told.seen.written,
            silent_for: Duration::ZERO,
            logged_ago: Duration::ZERO,
            is_logged: false,
            teller: Some(told.seen.process),
            tellers_before: Vec::new(),
            may_be_silent: false,
            begins_anew: false,
        }
    }

    fn from_log(head: LoggedHead, root: [u8; 32]) -> Self {
        Self {
            head,
            root,
            written: 0,
            silent_for: Duration::ZERO,
            logged_ago: Duration::ZERO,
            is_logged: true,
            teller: None,
            tellers_before: Vec::new(),
            may_be_silent: false,
            begins_anew: false,
        }
    }

    /// Whether nothing more is expected of it.
    fn is_over(&self) -> bool {
        self.head.ended || self.may_be_silent
    }

    fn takes_it_for_silent(&self) -> bool {
        !self.is_over() && self.silent_for > SILENT_HEADS * self.head.interval.max(RECORD_EVERY)
    }

    /// Notes who tells of the chain. Returns whether two do: one that another has taken over from goes on.
    fn told_by(&mut self, process: Uuid, size: u64) -> bool {
        let Some(teller) = self.teller else {
            self.teller = Some(process);
            return false;
        };
        if teller == process {
            return false;
        }
        if let Some((_, last)) = self.tellers_before.iter().find(|(other, _)| *other == process) {
            return size > *last;
        }
        if self.tellers_before.len() == MOST_TELLERS {
            self.tellers_before.remove(0);
        }
        self.tellers_before.push((teller, self.head.size));
        self.teller = Some(process);
        false
    }

    fn logged(&mut self) -> Entry {
        (self.is_logged, self.logged_ago) = (true, Duration::ZERO);
        Entry::Head(self.head.clone())
    }
}

impl Chains {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.values()
    }

    /// Takes the records of members, and returns what goes into the log.
    pub(super) fn observe(
        &mut self,
        seen: &[Seen],
        passed: Duration,
        now: Timestamp,
    ) -> Vec<Entry> {
        for known in self.known.values_mut() {
            known.silent_for = known.silent_for.saturating_add(passed);
            known.logged_ago = known.logged_ago.saturating_add(passed);
        }
        let mut entries = Vec::new();
        let mut seen: Vec<_> = seen.iter().filter(|seen| !self.is_known(seen)).collect();
        seen.sort_by_key(|seen| seen.written);
        for told in seen.into_iter().filter_map(Told::of) {
            self.take(&told, now, &mut entries);
        }
        let silent = self.known.values().filter(|known| known.takes_it_for_silent());
        let silent: Vec<_> = silent.map(|known| known.head.chain.clone()).collect();
        for chain in silent {
            self.find(&chain, FindingKind::Silent, None, now, &mut entries);
        }
        self.log_some(&mut entries);
        entries
    }

    /// Whether the record says what was known: most records do.
    fn is_known(&self, seen: &Seen) -> bool {
        let Some(trail) = &seen.record.trail else { return true };
        let known = trail.chain.as_ref().and_then(|chain| self.known.get(chain));
        known.is_some_and(|known| {
            known.teller == Some(seen.process)
                && trail.note.as_ref() == Some(&known.head.note)
                && trail.ended == known.head.ended
        })
    }

    fn take(&mut self, told: &Told<'_>, now: Timestamp, entries: &mut Vec<Entry>) {
        let Told { seen, head, root } = told;
        let chain = &head.chain;
        let Some(known) = self.known.get_mut(chain) else {
            if self.has_room() {
                let mut first = Known::first(told);
                entries.push(first.logged());
                self.known.insert(chain.clone(), first);
            }
            return;
        };
        if known.head.key != head.key && !known.begins_anew {
            return self.find(chain, FindingKind::OtherKey, Some(head.size), now, entries);
        }
        let (size, before) = (head.size, known.head.size);
        let is_older = seen.written < known.written;
        let is_cloned = known.told_by(seen.process, size) && !is_older;
        let may_be_old = is_older || head.started <= known.head.started;
        let contradiction = match size.cmp(&before) {
            _ if known.begins_anew => None,
            Ordering::Less if !may_be_old => Some(FindingKind::Shorter),
            Ordering::Equal if *root != known.root => Some(FindingKind::Rewritten),
            Ordering::Less | Ordering::Equal | Ordering::Greater => None,
        };
        let has_grown = size > before || known.begins_anew;
        let has_ended = head.ended && !known.head.ended && size == before;
        if contradiction.is_none() && (has_grown || has_ended) {
            (known.head, known.root, known.written) = (head.clone(), *root, seen.written);
            (known.silent_for, known.is_logged) = (Duration::ZERO, false);
            (known.begins_anew, known.may_be_silent) = (false, false);
            let silent = self.findings.remove(&(chain.clone(), FindingKind::Silent));
            if silent.is_some() {
                let instance = &head.instance;
                tracing::info!(chain, instance, "the silent audit trail is heard of again");
            }
            if silent.is_some() || head.ended {
                entries.push(known.logged());
            }
        }
        for kind in contradiction.into_iter().chain(is_cloned.then_some(FindingKind::Cloned)) {
            self.find(chain, kind, Some(size), now, entries);
        }
    }

    /// Notes what is wrong, once, with the last head that was right before it.
    fn find(
        &mut self,
        chain: &str,
        kind: FindingKind,
        told_size: Option<u64>,
        now: Timestamp,
        entries: &mut Vec<Entry>,
    ) {
        let Some(known) = self.known.get_mut(chain) else { return };
        let key = (chain.to_owned(), kind);
        if self.findings.contains_key(&key) || self.findings.len() >= MOST_FINDINGS {
            return;
        }
        let finding = Finding {
            chain: chain.to_owned(),
            instance: known.head.instance.clone(),
            kind,
            size: known.head.size,
            last_seq: known.head.last_seq,
            told_size,
            since: now,
        };
        tracing::error!(
            chain,
            instance = finding.instance,
            finding = kind.label(),
            last_seq = finding.last_seq,
            "an audit trail of the fleet is not as it was: {}",
            kind.in_words()
        );
        if !known.is_logged {
            entries.push(known.logged());
        }
        entries.push(Entry::Finding(finding.clone()));
        self.findings.insert(key, finding);
    }

    /// The heads that the log is to have: two a second on average, however large the fleet is.
    fn log_some(&mut self, entries: &mut Vec<Entry>) {
        let living = self.known.values().filter(|known| !known.is_over()).count();
        let pause = HEAD_EVERY.saturating_mul(u32::try_from(living).unwrap_or(u32::MAX));
        let due = |known: &&mut Known| !known.is_logged && known.logged_ago >= pause;
        entries.extend(self.known.values_mut().filter(due).map(Known::logged));
    }

    /// The heads that the log does not have yet.
    pub(super) fn last_heads(&mut self) -> Vec<Entry> {
        self.known.values_mut().filter(|known| !known.is_logged).map(Known::logged).collect()
    }

    /// An operator knows what is wrong with a chain. Returns how many findings there were.
    pub(super) fn acknowledge(&mut self, chain: &str) -> usize {
        let mut count = 0;
        for kind in FindingKind::ALL {
            if self.findings.remove(&(chain.to_owned(), kind)).is_none() {
                continue;
            }
            count += 1;
            let Some(known) = self.known.get_mut(chain) else { continue };
            match kind {
                FindingKind::Silent => known.may_be_silent = true,
                FindingKind::Cloned => (known.teller, known.tellers_before) = (None, Vec::new()),
                FindingKind::Shorter | FindingKind::Rewritten | FindingKind::OtherKey => {
                    known.begins_anew = true;
                }
            }
        }
        count
    }

    /// Takes up a line of the log.
    pub(super) fn take_up(&mut self, entry: Entry) {
        match entry {
            Entry::Head(head) => {
                let Some(Head { root, .. }) = Note::parse(&head.note).and_then(|n| n.head()) else {
                    return;
                };
                let chain = head.chain.clone();
                let has_grown = self.known.get(&chain).is_none_or(|it| head.size > it.head.size);
                if has_grown {
                    self.findings.remove(&(chain.clone(), FindingKind::Silent));
                }
                if self.known.contains_key(&chain) || self.has_room() {
                    self.known.insert(chain, Known::from_log(head, root.0));
                }
            }
            Entry::Finding(finding) => {
                if self.findings.len() < MOST_FINDINGS {
                    self.findings.insert((finding.chain.clone(), finding.kind), finding);
                }
            }
            Entry::Acknowledged { chain } => {
                self.acknowledge(&chain);
            }
        }
    }

    /// Whether one more chain can be kept. The one that ended first makes room.
    fn has_room(&mut self) -> bool {
        if self.known.len() < MOST_CHAINS {
            return true;
        }
        let over = self.known.iter().filter(|(_, known)| known.is_over());
        let first = over.min_by_key(|(_, known)| known.head.started);
        let Some(chain) = first.map(|(chain, _)| chain.clone()) else { return false };
        self.known.remove(&chain).is_some()
    }
}

/// A chain is silent without so many heads.
const SILENT_HEADS: u32 = 3;
/// A member's record, which has the head, comes about as often.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// The time between two heads in the log, on average.
const HEAD_EVERY: Duration = Duration::from_millis(500);
/// Chains that are kept in memory: those of a fleet, and of those that have ended the last ones.
const MOST_CHAINS: usize = 20_000;
/// Findings that are kept. An operator has seen enough.
const MOST_FINDINGS: usize = 1_000;
/// Processes that are remembered of a chain.
const MOST_TELLERS: usize = 8;
/// The bytes of a note: an origin, a number, a hash, and a signature.
const MOST_NOTE: usize = 1024;
/// The characters of a member's name.
const MOST_NAME: usize = 256;
