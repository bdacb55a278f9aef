//! The tree of the current chain, on the writer's thread: opened with the trail, grown line by line.

use std::{error::Error as StdError, fs, io, path::Path, sync::Arc};

use jiff::Timestamp;

use super::{
    CHECKPOINT, Chain, FOLDER, Head, Note, Signed, SignedHead,
    merkle::{Tile, Tree, leaf_of},
    tiles::{TileFolder, make_folder},
};
use crate::{
    audit::{
        chain::{ChainFields, Hash},
        directory::TrailSegment,
        keys::SigningKey,
        line,
        lines::Lines,
        settings::LogKind,
    },
    domain::LogOrigin,
    process::files,
};

/// The current chain and its tree.
#[derive(Debug)]
pub(in crate::audit) struct TreeLog {
    chain: Chain,
    instance: Arc<str>,
    /// The name of the log.
    origin: String,
    tiles: TileFolder,
    tree: Tree,
    /// Complete tiles that are not written.
    unwritten: Vec<Tile>,
    /// The size of the tree whose tiles are certainly in stable storage.
    durable: u64,
}

/// What the operator calls a trail.
#[derive(Clone, Debug)]
pub(in crate::audit) struct Names<'a> {
    /// What the name of the log begins with.
    pub(in crate::audit) origin: &'a LogOrigin,
    /// The host, the pod, or another name.
    pub(in crate::audit) instance: &'a str,
    /// What the log is about.
    pub(in crate::audit) log: LogKind,
}

/// Where the lines of earlier gateways end.
#[derive(Clone, Copy, Debug)]
pub(in crate::audit) struct TrailEnd {
    /// The last line that was found.
    pub(in crate::audit) last_seq: u64,
    /// The line of this gateway's `start`, behind the markers of the recovery.
    pub(in crate::audit) next_seq: u64,
    /// Lines that were signed are missing or changed.
    pub(in crate::audit) is_cut: bool,
}

impl TreeLog {
    /// Continues the chain of a directory. If there is none that can be continued, begins one with the next
    /// line, and moves the tree of the old one aside.
    pub(in crate::audit) fn open(
        directory: &Path,
        end: TrailEnd,
        names: &Names<'_>,
        key: &SigningKey,
    ) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        let tiles = TileFolder::of(&folder);
        let continued = continued(directory, end, names.origin, key)
            .and_then(|chain| Ok((grown(directory, &tiles, &chain, end.last_seq)?, chain)));
        let (Growth { tree, unwritten, durable }, chain) = match continued {
            Ok(continued) => continued,
            Err(why) => {
                set_aside(directory)?;
                let chain = Chain::begin(directory, end.next_seq)?;
                why.tell(names.log.name(), &chain.name);
                (Growth::default(), chain)
            }
        };
        let origin = names.origin.of(&chain.name);
        let mut log = Self {
            chain,
            instance: names.instance.into(),
            origin,
            tiles,
            tree,
            unwritten,
            durable,
        };
        log.write_tiles()?;
        let verifier_key = format!("{}\n", key.public().verifier_key(&log.origin));
        let key_file = folder.join(KEY);
        if files::read_own(&key_file).ok().as_deref() != Some(verifier_key.as_bytes()) {
            make_folder(&folder)?;
            files::publish(&key_file, verifier_key.as_bytes())?;
        }
        Ok(log)
    }

    /// The chain.
    pub(in crate::audit) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the operator calls this gateway.
    pub(in crate::audit) fn instance(&self) -> &Arc<str> {
        &self.instance
    }

    /// How many leaves of the tree have their tiles in stable storage.
    pub(in crate::audit) fn durable(&self) -> u64 {
        self.durable
    }

    /// Adds lines by their hashes.
    pub(in crate::audit) fn extend(&mut self, lines: impl IntoIterator<Item = Hash>) {
        let Self { tree, unwritten, .. } = self;
        for hash in lines {
            tree.push_into(leaf_of(&hash), &mut |tile| unwritten.push(tile));
        }
    }

    /// Writes the tiles that the lines have completed. They stay queued if this fails.
    pub(in crate::audit) fn write_tiles(&mut self) -> io::Result<()> {
        while let Some(tile) = self.unwritten.last() {
            self.tiles.write(tile)?;
            self.unwritten.pop();
        }
        Ok(())
    }

    /// The head of the tree, signed.
    pub(in crate::audit) fn head(&self, key: &SigningKey) -> SignedHead {
        let (origin, size) = (self.origin.clone(), self.tree.size());
        let note = Head { origin, size, root: self.tree.root() }.sign(key);
        SignedHead { note, tree: self.tree.clone() }
    }
}

/// Why a chain is not continued.
#[derive(Debug)]
enum NewChain {
    /// The trail is new, or was written by a gateway without chains.
    First,
    Copied,
    Cut,
    OtherName,
    Damaged(String),
}

impl NewChain {
    fn tell(&self, log: &str, chain: &str) {
        match self {
            Self::First => tracing::info!(chain, "the {log} begins a chain"),
            Self::Copied => tracing::warn!(
                chain,
                "the directory of the {log} is a copy; it continues in a new chain"
            ),
            Self::Cut => tracing::error!(
                chain,
                "signed lines of the {log} are missing or changed; it continues in a new chain"
            ),
            Self::OtherName => tracing::warn!(
                chain,
                "the last head has another name or another key; the {log} continues in a new chain"
            ),
            Self::Damaged(reason) => tracing::error!(
                chain,
                reason,
                "the tree over the {log} is damaged; it continues in a new chain"
            ),
        }
    }
}

/// The chain of the directory, if this gateway may continue it.
fn continued(
    directory: &Path,
    end: TrailEnd,
    origin: &LogOrigin,
    key: &SigningKey,
) -> Result<Chain, NewChain> {
    let chain = Chain::read(directory).ok_or(NewChain::First)?;
    if !chain.is_at_home(directory) {
        return Err(NewChain::Copied);
    }
    if end.is_cut || end.last_seq < chain.first_seq {
        return Err(NewChain::Cut);
    }
    // The name and the key are what a witness knows a log by.
    let own = key.public().verifier_key(&origin.of(&chain.name));
    match published(directory).map(|note| note.signed_by(&own)) {
        None | Some(Signed::Yes { .. }) => Ok(chain),
        Some(Signed::No | Signed::Forged) => Err(NewChain::OtherName),
    }
}

/// A tree, and tiles of it that are not written.
#[derive(Default)]
struct Growth {
    tree: Tree,
    unwritten: Vec<Tile>,
    /// How much of the tree came from tiles.
    durable: u64,
}

/// The tree of a chain up to the last line: from its tiles as far as a head was published, and from the lines
/// after that. Tiles beyond the head may be older than a crash.
fn grown(
    directory: &Path,
    tiles: &TileFolder,
    chain: &Chain,
    last_seq: u64,
) -> Result<Growth, NewChain> {
    let Some(head) = published(directory).and_then(|note| note.head()) else {
        return from_lines(Tree::default(), directory, chain, last_seq, None);
    };
    if chain.first_seq + head.size > last_seq + 1 {
        return Err(NewChain::Cut);
    }
    match tiles.load(head.size) {
        Ok(tree) if tree.root() == head.root => from_lines(tree, directory, chain, last_seq, None),
        _ => {
            tracing::warn!(
                "the tree over the audit trail is damaged; it is made again from the lines"
            );
            from_lines(Tree::default(), directory, chain, last_seq, Some(&head))
        }
    }
}

/// Adds the lines that a tree does not have. It must become the tree of `head` on the way.
fn from_lines(
    tree: Tree,
    directory: &Path,
    chain: &Chain,
    last_seq: u64,
    head: Option<&Head>,
) -> Result<Growth, NewChain> {
    let damaged = |error: &(dyn StdError + 'static)| {
        NewChain::Damaged(crate::error::Chain(error).to_string())
    };
    let mut growth = Growth { durable: tree.size(), tree, unwritten: Vec::new() };
    let next_seq = |tree: &Tree| chain.first_seq + tree.size();
    let segments = TrailSegment::list(directory).map_err(|error| damaged(&error))?;
    let first = segments.iter().rposition(|segment| segment.first_seq <= next_seq(&growth.tree));
    let segments = segments.get(first.unwrap_or(0)..).unwrap_or_default();
    let sizes = segments.iter().filter_map(|segment| segment.path.metadata().ok());
    if sizes.map(|metadata| metadata.len()).sum::<u64>() > MOST_BYTES {
        return Err(NewChain::Damaged("too many lines would have to be read".to_owned()));
    }
    for segment in segments {
        let mut lines = Lines::open(segment, 0).map_err(|error| damaged(&error))?;
        while let Some(text) = lines.next().map_err(|error| damaged(&error))? {
            let Some(head_of_line) = line::line_head(text) else { continue };
            if head_of_line.seq != next_seq(&growth.tree) || head_of_line.seq > last_seq {
                continue;
            }
            let Some(fields) = ChainFields::read(text) else { continue };
            let Growth { tree, unwritten, .. } = &mut growth;
            tree.push_into(leaf_of(&fields.stated), &mut |tile| unwritten.push(tile));
            if head.is_some_and(|head| head.size == tree.size() && head.root != tree.root()) {
                return Err(NewChain::Damaged("the lines do not fit the last head".to_owned()));
            }
        }
    }
    if next_seq(&growth.tree) == last_seq + 1 {
        Ok(growth)
    } else {
        Err(NewChain::Damaged("lines are missing that it does not have".to_owned()))
    }
}

fn published(directory: &Path) -> Option<Note> {
    let note = files::read_own(&directory.join(FOLDER).join(CHECKPOINT)).ok()?;
    Note::parse(std::str::from_utf8(&note).ok()?)
}

/// Moves the tree of a chain that has ended beside the current one.
fn set_aside(directory: &Path) -> io::Result<()> {
    let folder = directory.join(FOLDER);
    if !folder.try_exists()? {
        return Ok(());
    }
    let chain = Chain::read(directory).map_or_else(|| "unknown".to_owned(), |chain| chain.name);
    let mut aside = directory.join(format!("{FOLDER}-{chain}"));
    if aside.try_exists()? {
        aside.set_extension(Timestamp::now().as_microsecond().to_string());
    }
    fs::rename(&folder, aside)
}

/// The key of the log, in [`FOLDER`].
const KEY: &str = "key";
/// Takes a second or two to read, during which the gateway does not serve.
const MOST_BYTES: u64 = 1 << 30;
