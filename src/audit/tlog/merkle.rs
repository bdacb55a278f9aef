//! The Merkle tree of RFC 6962 §2.1, kept as the tiles at its right edge (C2SP tlog-tiles).

use std::io;

use crate::audit::chain::Hash;

/// The hashes of a complete tile.
pub(super) const TILE: usize = 256;

/// The hash of a leaf. Its entry is the hash of a line.
pub(super) fn leaf_of(line: &Hash) -> Hash {
    let mut bytes = [0; 33];
    if let Some(entry) = bytes.last_chunk_mut() {
        *entry = line.0;
    }
    Hash::of(&bytes)
}

fn node_of(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    if let Some((first, second)) = bytes.get_mut(1..).and_then(|both| both.split_at_mut_checked(32))
    {
        first.copy_from_slice(&left.0);
        second.copy_from_slice(&right.0);
    }
    Hash::of(&bytes)
}

/// The root over hashes whose number is a power of two; the first one if it is not.
fn root_of_perfect(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_of(left, right)).collect();
    }
    row.first().copied().unwrap_or(Hash::ZERO)
}

/// A run of hashes at one level: a complete tile, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// 0 for leaves. A hash of level *l* stands for 256^*l* leaves.
    pub(super) level: u32,
    /// The number of the tile in its level.
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
}

/// A tree that grows at its right edge. It holds the incomplete tiles only: at most 8 KiB a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// The incomplete tile of each level, from the leaves up.
    edge: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree from the incomplete tiles of its levels.
    pub(super) fn from_edge(size: u64, edge: Vec<Vec<Hash>>) -> Self {
        Self { size, edge }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of a line.
    pub fn push(&mut self, line: &Hash) {
        self.push_into(leaf_of(line), &mut |_| {});
    }

    /// Adds a leaf, and hands over the tiles that it completes.
    pub(super) fn push_into(&mut self, leaf: Hash, complete: &mut impl FnMut(Tile)) {
        self.size += 1;
        let (mut hash, mut level) = (leaf, 0);
        loop {
            if self.edge.len() <= level as usize {
                self.edge.push(Vec::with_capacity(TILE));
            }
            let Some(tile) = self.edge.get_mut(level as usize) else { return };
            tile.push(hash);
            if tile.len() < TILE {
                return;
            }
            let hashes = std::mem::replace(tile, Vec::with_capacity(TILE));
            hash = root_of_perfect(&hashes);
            let index = complete_tiles(self.size, level).saturating_sub(1);
            complete(Tile { level, index, hashes });
            level += 1;
        }
    }

    /// The hash of the whole tree.
    pub fn root(&self) -> Hash {
        let mut root: Option<Hash> = None;
        for tile in &self.edge {
            // Perfect subtrees, the smallest and rightmost one first.
            let mut end = tile.len();
            while end > 0 {
                let start = end & (end - 1);
                let subtree = root_of_perfect(tile.get(start..end).unwrap_or_default());
                root = Some(root.map_or(subtree, |right| node_of(&subtree, &right)));
                end = start;
            }
        }
        root.unwrap_or_else(|| Hash::of(b""))
    }

    /// The incomplete tiles.
    pub(super) fn partial_tiles(&self) -> impl Iterator<Item = Tile> {
        (0..).zip(&self.edge).filter(|(_, hashes)| !hashes.is_empty()).map(|(level, hashes)| Tile {
            level,
            index: complete_tiles(self.size, level),
            hashes: hashes.clone(),
        })
    }

    /// The incomplete tile of a level.
    pub(super) fn edge(&self, level: u32) -> &[Hash] {
        self.edge.get(level as usize).map(Vec::as_slice).unwrap_or_default()
    }
}

/// How many tiles of a level are complete in a tree of that size.
pub(super) fn complete_tiles(size: u64, level: u32) -> u64 {
    size.checked_shr(8 * (level + 1)).unwrap_or(0)
}

/// Where the hashes of a tree are kept.
pub(super) trait TileSource {
    /// The hashes of a tile, as many as the tree has.
    fn tile(&self, level: u32, index: u64) -> io::Result<Vec<Hash>>;
}

/// The hash over the leaves `from..to`, where `from` is 0 or a subtree begins there.
pub(super) fn root_of_range(tiles: &impl TileSource, from: u64, to: u64) -> io::Result<Hash> {
    let count = to.saturating_sub(from);
    if count == 0 {
        return Ok(Hash::of(b""));
    }
    if !count.is_power_of_two() {
        let middle = from + largest_power_below(count);
        let left = root_of_range(tiles, from, middle)?;
        return Ok(node_of(&left, &root_of_range(tiles, middle, to)?));
    }
    let level = count.ilog2() / 8;
    let first = from >> (8 * level);
    let hashes = tiles.tile(level, first / TILE as u64)?;
    let start = usize::try_from(first % TILE as u64).unwrap_or(TILE);
    let length = 1 << (count.ilog2() % 8);
    hashes.get(start..start + length).map(root_of_perfect).ok_or_else(too_short)
}

pub(super) fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a tile of the tree is too short")
}

/// The proof that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 6962 §2.1.2).
pub(super) fn consistency_proof(
    tiles: &impl TileSource,
    old: u64,
    new: u64,
) -> io::Result<Vec<Hash>> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    // The part of the new tree that still holds the edge of the old one.
    let (mut from, mut to) = (0, new);
    let mut beside = Vec::new();
    while old < to {
        let middle = from + largest_power_below(to - from);
        if old <= middle {
            beside.push((middle, to));
            to = middle;
        } else {
            beside.push((from, middle));
            from = middle;
        }
    }
    if from > 0 {
        proof.push(root_of_range(tiles, from, to)?);
    }
    for (from, to) in beside.into_iter().rev() {
        proof.push(root_of_range(tiles, from, to)?);
    }
    Ok(proof)
}

/// Whether the proof shows that one tree is the beginning of the other (RFC 9162 §2.1.4.2).
pub(in crate::audit) fn verify_consistency(
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
    proof: &[Hash],
) -> bool {
    if old == 0 || old >= new {
        return proof.is_empty() && (old == 0 || (old == new && old_root == new_root));
    }
    let mut hashes = proof.iter();
    let start = if old.is_power_of_two() { Some(&old_root) } else { hashes.next() };
    let Some(start) = start else { return false };
    let (mut old_at, mut new_at) = (old - 1, new - 1);
    while old_at & 1 == 1 {
        (old_at, new_at) = (old_at >> 1, new_at >> 1);
    }
    let (mut old_hash, mut new_hash) = (*start, *start);
    for hash in hashes {
        if new_at == 0 {
            return false;
        }
        if old_at & 1 == 1 || old_at == new_at {
            old_hash = node_of(hash, &old_hash);
            new_hash = node_of(hash, &new_hash);
            while old_at != 0 && old_at & 1 == 0 {
                (old_at, new_at) = (old_at >> 1, new_at >> 1);
            }
        } else {
            new_hash = node_of(&new_hash, hash);
        }
        (old_at, new_at) = (old_at >> 1, new_at >> 1);
    }
    new_at == 0 && old_hash == old_root && new_hash == new_root
}

/// The largest power of two below a number above 1.
fn largest_power_below(count: u64) -> u64 {
    1 << (count.max(2) - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::HashMap};

    use super::*;

    /// A tree whose tiles are in memory.
    #[derive(Default)]
    struct InMemory {
        tree: Tree,
        tiles: RefCell<HashMap<(u32, u64), Vec<Hash>>>,
    }

    impl InMemory {
        fn of(size: u64) -> Self {
            let mut this = Self::default();
            for n in 0..size {
                let tiles = this.tiles.get_mut();
                this.tree.push_into(leaf_of(&entry(n)), &mut |tile| {
                    tiles.insert((tile.level, tile.index), tile.hashes);
                });
            }
            this
        }
    }

    impl TileSource for InMemory {
        fn tile(&self, level: u32, index: u64) -> io::Result<Vec<Hash>> {
            if index == complete_tiles(self.tree.size(), level) {
                return Ok(self.tree.edge(level).to_vec());
            }
            self.tiles.borrow().get(&(level, index)).cloned().ok_or(io::ErrorKind::NotFound.into())
        }
    }

    fn entry(n: u64) -> Hash {
        Hash::of(&n.to_be_bytes())
    }

    /// The definition of RFC 6962 §2.1, word by word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(b""),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_of(&by_definition(left), &by_definition(right))
            }
        }
    }

    const SIZES: [u64; 16] =
        [0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 66_000];

    #[test]
    fn every_size_has_the_root_of_the_definition() {
        let leaves: Vec<_> = (0..66_000).map(|n| leaf_of(&entry(n))).collect();
        let whole = InMemory::of(66_000);
        for size in SIZES {
            let expected = by_definition(&leaves[..usize::try_from(size).unwrap()]);
            assert_eq!(InMemory::of(size).tree.root(), expected, "grown to {size}");
            assert_eq!(root_of_range(&whole, 0, size).unwrap(), expected, "{size} from tiles");
        }
    }

    #[test]
    fn one_tree_is_proved_to_be_the_beginning_of_another() {
        let whole = InMemory::of(66_000);
        let root = |size| root_of_range(&whole, 0, size).unwrap();
        for new in SIZES {
            let tree = InMemory::of(new);
            for old in SIZES.into_iter().filter(|old| *old <= new) {
                let proof = consistency_proof(&tree, old, new).unwrap();
                let both = ((old, root(old)), (new, root(new)));
                assert!(verify_consistency(both.0, both.1, &proof), "{old} to {new}");
                assert!(proof.len() <= 63);
                let other = Hash::of(b"another tree");
                if old > 0 {
                    assert!(!verify_consistency((old, other), both.1, &proof), "{old} to {new}");
                    assert!(!verify_consistency(both.0, (new, other), &proof), "{old} to {new}");
                    let longer = [proof.as_slice(), &[other]].concat();
                    assert!(!verify_consistency(both.0, both.1, &longer), "{old} to {new}");
                }
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at] = other;
                    assert!(!verify_consistency(both.0, both.1, &changed), "{old} to {new}");
                    changed.remove(at);
                    assert!(!verify_consistency(both.0, both.1, &changed), "{old} to {new}");
                }
            }
        }
    }
}
