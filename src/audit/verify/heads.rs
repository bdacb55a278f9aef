//! The trees over the lines, held against heads that the gateway signed: those in the checkpoints, the one that
//! it published, and notes that were kept elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{report::ToldReport, told::ToldChain};
use crate::{
    audit::{
        chain::Hash,
        keys::PublicKey,
        line::MarkerFields,
        tlog::{
            CHECKPOINT, Chain, FOLDER, Head, Note, Signed, TileFolder, Tiles, Tree,
            verify_consistency,
        },
    },
    domain::VerifierKey,
    process::files::read_own,
};

/// The heads that a trail is compared with, and the tree of the chain that is being read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    expected: Vec<Expected>,
    /// The published tree, for the lines that were deleted.
    published: Option<Published>,
    growing: Option<Growing>,
    has_begun: bool,
    /// What a fleet log tells of, by the name of the chain, if there is one.
    told: BTreeMap<String, ToldChain>,
    told_report: Option<ToldReport>,
    /// The chains of the trail, and what its gateways are called.
    chains: BTreeSet<String>,
    instances: BTreeSet<String>,
    /// The chains whose every line was read, with the number of their lines.
    whole: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Expected {
    head: Head,
    note: Note,
    /// Somebody kept it elsewhere.
    is_kept: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The trail has not reached it.
    Ahead,
    /// The trail has been compared with it.
    Compared,
}

#[derive(Debug)]
struct Published {
    chain: Chain,
    folder: TileFolder,
    tree: Tree,
}

/// A tree that has every line of its chain so far.
#[derive(Debug)]
struct Growing {
    chain: String,
    first_seq: u64,
    tree: Tree,
}

impl Growing {
    fn next_seq(&self) -> u64 {
        self.first_seq + self.tree.size()
    }
}

/// What the comparison with a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// The line after the last one under the head: its checkpoint.
    pub(super) seq: u64,
    pub(super) agrees: bool,
    pub(super) source: Source,
}

/// Where a head comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The trail's own directory.
    Trail,
    /// Somebody kept its note elsewhere.
    Kept,
    /// A fleet log.
    FleetLog,
}

/// A head that the trail was not compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The trail ends before this line, which the head's checkpoint has.
    Cut { to: u64 },
    /// The trail has no line of that chain.
    OtherChain { chain: String },
    /// The lines under it were deleted, and so were the tiles.
    Deleted { chain: String },
    /// The fleet log has the chain up to `to`, and the trail only up to the line before `from`.
    Lost { chain: String, from: u64, to: u64 },
    /// The fleet log has the chain up to `to`, and the trail has no line that it could be compared with.
    NotCompared { chain: String, to: u64 },
    /// The fleet log tells nothing of this trail.
    Untold,
}

/// What a witness has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Witnessed {
    Yes,
    No,
    Forged,
}

impl Heads {
    /// What the trail's directory has published. A note that the key has not signed says nothing.
    pub(super) fn published(directory: &Path, key: Option<&PublicKey>) -> Self {
        let mut heads = Self::default();
        let folder = directory.join(FOLDER);
        let note = read_own(&folder.join(CHECKPOINT)).ok();
        let note = note.and_then(|note| String::from_utf8(note).ok());
        let Some(note) = note.as_deref().and_then(Note::parse) else { return heads };
        let Some(head) = note.head().filter(|head| trusts(key, &note, head)) else { return heads };
        let tiles = TileFolder::of(&folder);
        let published = Chain::read(directory)
            .filter(|chain| chain.name == head.chain())
            .and_then(|chain| Some((chain, tiles.load(head.size).ok()?)));
        heads.published = published.map(|(chain, tree)| Published { chain, folder: tiles, tree });
        heads.expected.push(Expected { head, note, is_kept: false, state: State::Ahead });
        heads
    }

    /// Adds a note that was kept elsewhere. Returns whether it says something.
    pub(super) fn expect(&mut self, note: Note, key: Option<&PublicKey>) -> bool {
        let Some(head) = note.head().filter(|head| trusts(key, &note, head)) else { return false };
        self.expected.push(Expected { head, note, is_kept: true, state: State::Ahead });
        true
    }

    /// Adds what a fleet log tells of, if there is one.
    pub(super) fn tell(&mut self, told: Option<Vec<ToldChain>>) {
        self.told_report = told.as_ref().map(|_| ToldReport::default());
        let told = told.into_iter().flatten();
        self.told = told.map(|told| (told.name.clone(), told)).collect();
    }

    /// A gateway started: its line may begin a chain.
    pub(super) fn start(&mut self, seq: u64, marker: &MarkerFields) {
        let Some(chain) = &marker.chain else { return };
        self.chains.insert(chain.clone());
        self.instances.extend(marker.instance.clone());
        let continues = self.growing.as_ref().is_some_and(|growing| growing.chain == *chain);
        if !continues && marker.chain_first_seq == Some(seq) {
            self.end_growing();
            let (chain, tree) = (chain.clone(), Tree::default());
            self.growing = Some(Growing { chain, first_seq: seq, tree });
            self.has_begun = true;
        }
    }

    /// Whether the head in a checkpoint is that of the lines before it. `None` if it cannot be told.
    pub(super) fn checkpoint(&self, marker: &MarkerFields, key: &PublicKey) -> Option<bool> {
        let growing = self.growing.as_ref()?;
        let Some(note) = &marker.note else { return Some(false) };
        let note = Note::parse(note);
        let Some((head, note)) = note.and_then(|note| Some((note.head()?, note))) else {
            return Some(false);
        };
        let is_of_chain =
            head.chain() == growing.chain && marker.chain.as_ref() == Some(&growing.chain);
        let (size, root) = (growing.tree.size(), growing.tree.root());
        let is_head = head.size == size && head.root == root;
        Some(is_of_chain && is_head && trusts(Some(key), &note, &head))
    }

    /// Adds a line, and compares the heads that it completes.
    pub(super) fn line(&mut self, seq: u64, hash: &Hash) -> Vec<Compared> {
        let mut compared = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            self.begin_after_deletion(seq, &mut compared);
        }
        let Some(growing) = self.growing.as_mut().filter(|growing| growing.next_seq() == seq)
        else {
            // Lines are missing, so there is no tree until the next chain.
            self.growing = None;
            return compared;
        };
        growing.tree.push(hash);
        let size = growing.tree.size();
        for expected in self.expected.iter_mut().filter(|expected| expected.head.size == size) {
            if expected.head.chain() == growing.chain && expected.state == State::Ahead {
                let agrees = expected.head.root == growing.tree.root();
                compared.push(expected.compared(growing.first_seq, agrees));
            }
        }
        let told = self.told.get(&growing.chain).and_then(|told| told.heads.get(&size));
        if let (Some(root), Some(report)) = (told, &mut self.told_report) {
            let agrees = *root == growing.tree.root();
            report.add(seq, agrees);
            compared.push(Compared { seq: seq + 1, agrees, source: Source::FleetLog });
        }
        compared
    }

    /// The lines of the chain are over.
    fn end_growing(&mut self) {
        if let Some(Growing { chain, tree, .. }) = self.growing.take() {
            self.whole.insert(chain, tree.size());
        }
    }

    /// The trail begins in the middle of a chain: its tree comes from the tiles. What they say needs no trust,
    /// because the heads after it must fit.
    fn begin_after_deletion(&mut self, seq: u64, compared: &mut Vec<Compared>) {
        let Some(Published { chain, folder, tree }) = &self.published else { return };
        let Some(size) = seq.checked_sub(chain.first_seq).filter(|size| *size <= tree.size())
        else {
            return;
        };
        let tiles = Tiles::new(folder, tree);
        let Ok(begun) = tiles.tree_at(size) else { return };
        for expected in &mut self.expected {
            let Expected { head, state, .. } = expected;
            if head.chain() != chain.name || head.size > size || *state == State::Compared {
                continue;
            }
            let Ok(proof) = Tiles::new(folder, &begun).proof_from(head.size) else { continue };
            let agrees = verify_consistency((head.size, head.root), (size, begun.root()), &proof);
            compared.push(expected.compared(chain.first_seq, agrees));
        }
        let told =
            self.told.get(&chain.name).into_iter().flat_map(|told| told.heads.range(..=size));
        for (told, root) in told {
            let Ok(proof) = Tiles::new(folder, &begun).proof_from(*told) else { continue };
            let agrees = verify_consistency((*told, *root), (size, begun.root()), &proof);
            let last = chain.first_seq.saturating_add(*told).saturating_sub(1);
            if let Some(report) = &mut self.told_report {
                report.add(last, agrees);
            }
            compared.push(Compared { seq: last + 1, agrees, source: Source::FleetLog });
        }
        self.chains.insert(chain.name.clone());
        self.growing =
            Some(Growing { chain: chain.name.clone(), first_seq: chain.first_seq, tree: begun });
    }

    /// The heads of the fleet log that the trail never reached.
    pub(super) fn left_of_fleet_log(&mut self, first_seq: u64) -> Vec<Left> {
        if self.told_report.is_none() {
            return Vec::new();
        }
        let of_end = self.growing.as_ref().map(|it| (it.chain.clone(), it.tree.size()));
        self.whole.extend(of_end);
        let mut left = Vec::new();
        for (chain, told) in &self.told {
            let is_of_gateway = self.instances.contains(&told.instance);
            if let Some(size) = self.whole.get(chain) {
                let from = told.first_seq.saturating_add(*size);
                let lost = told.beyond(*size);
                left.extend(lost.map(|to| Left::Lost { chain: chain.clone(), from, to }));
            } else if self.chains.contains(chain) || (is_of_gateway && told.last_seq >= first_seq) {
                left.push(Left::NotCompared { chain: chain.clone(), to: told.last_seq });
            }
        }
        if !self.chains.iter().any(|chain| self.told.contains_key(chain)) {
            left.push(Left::Untold);
        }
        left
    }

    /// What became of the heads of the fleet log.
    pub(super) fn told_report(&self) -> Option<ToldReport> {
        self.told_report.clone()
    }

    /// The heads that the trail never reached. `first_seq` is its first line.
    pub(super) fn left(&self, first_seq: u64) -> Vec<Left> {
        let ahead = self.expected.iter().filter(|expected| expected.state == State::Ahead);
        let judge = |expected: &Expected| {
            let chain = expected.head.chain().to_owned();
            match &self.growing {
                Some(growing) if growing.chain == chain => {
                    Left::Cut { to: growing.first_seq + expected.head.size }
                }
                _ if first_seq > 1 || self.was_interrupted(&chain) => Left::Deleted { chain },
                _ => Left::OtherChain { chain },
            }
        };
        ahead.filter(|expected| expected.head.size > 0).map(judge).collect()
    }

    /// Whether lines are missing in the trail's own chain. That is a finding already.
    fn was_interrupted(&self, chain: &str) -> bool {
        let of_trail =
            self.published.as_ref().is_some_and(|published| published.chain.name == chain);
        self.growing.is_none() && of_trail
    }

    /// What a witness signed of the notes that were kept, or else of the published one.
    pub(super) fn witnessed(&self, witness: &VerifierKey) -> Witnessed {
        let has_kept = self.expected.iter().any(|expected| expected.is_kept);
        let mut answer = Witnessed::No;
        for expected in self.expected.iter().filter(|expected| expected.is_kept == has_kept) {
            match expected.note.signed_by(witness) {
                Signed::Yes { .. } => answer = Witnessed::Yes,
                Signed::No => {}
                Signed::Forged => return Witnessed::Forged,
            }
        }
        answer
    }
}

impl Expected {
    fn compared(&mut self, first_seq: u64, agrees: bool) -> Compared {
        self.state = State::Compared;
        let source = if self.is_kept { Source::Kept } else { Source::Trail };
        Compared { seq: first_seq + self.head.size, agrees, source }
    }
}

/// Without a key, every note is trusted to show what is wrong.
fn trusts(key: Option<&PublicKey>, note: &Note, head: &Head) -> bool {
    key.is_none_or(|key| {
        let mut keys = key.all().map(|key| key.verifier_key(&head.origin));
        keys.any(|key| matches!(note.signed_by(&key), Signed::Yes { .. }))
    })
}
