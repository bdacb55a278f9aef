//! The tiles of a tree on disk (C2SP tlog-tiles).

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::merkle::{TILE, Tile, TileSource, Tree, complete_tiles, consistency_proof, too_short};
use crate::{
    audit::chain::Hash,
    process::files::{open_to_readers, own, read_own},
};

/// The folder with the tiles of a tree.
#[derive(Clone, Debug)]
pub(in crate::audit) struct TileFolder(PathBuf);

impl TileFolder {
    /// The tiles in the folder of a log.
    pub(in crate::audit) fn of(log: &Path) -> Self {
        Self(log.join("tile"))
    }

    /// The path of a complete tile: `1/x001/x234/067` is tile 1,234,067 of level 1.
    fn path(&self, level: u32, index: u64) -> PathBuf {
        let mut groups = vec![format!("{:03}", index % 1000)];
        let mut rest = index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        let mut path = self.0.join(level.to_string());
        path.extend(groups.iter().rev());
        path
    }

    /// The folder of the incomplete forms of a tile.
    fn partial_folder(&self, level: u32, index: u64) -> PathBuf {
        self.path(level, index).with_added_extension("p")
    }

    fn path_of(&self, tile: &Tile) -> PathBuf {
        if tile.hashes.len() == TILE {
            return self.path(tile.level, tile.index);
        }
        self.partial_folder(tile.level, tile.index).join(tile.hashes.len().to_string())
    }

    /// Writes a tile. [`sync`](Self::sync) makes it durable.
    pub(super) fn write(&self, tile: &Tile) -> io::Result<File> {
        let path = self.path_of(tile);
        let open = || own().create(true).truncate(true).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(&self.0);
                make_folder(folder)?;
                open()?
            }
            opened => opened?,
        };
        let bytes: Vec<u8> = tile.hashes.iter().flat_map(|hash| hash.0).collect();
        file.write_all(&bytes)?;
        open_to_readers(&file)?;
        Ok(file)
    }

    /// Makes durable what a tree has beyond a smaller one: the tiles that it completed, which are written, and
    /// its incomplete ones.
    pub(super) fn sync(&self, from: u64, tree: &Tree) -> io::Result<()> {
        let mut folders = Vec::new();
        for level in 0_u32.. {
            let tiles = complete_tiles(from, level)..complete_tiles(tree.size(), level);
            if tiles.end == 0 {
                break;
            }
            for index in tiles {
                let path = self.path(level, index);
                File::open(&path)?.sync_all()?;
                remember(&mut folders, &path);
                match fs::remove_dir_all(self.partial_folder(level, index)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        for tile in tree.partial_tiles() {
            self.write(&tile)?.sync_all()?;
            remember(&mut folders, &self.path_of(&tile));
        }
        folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }

    /// The tree of a size, from its tiles.
    pub(in crate::audit) fn load(&self, size: u64) -> io::Result<Tree> {
        let mut edge = Vec::new();
        for level in 0_u32.. {
            let hashes = size.checked_shr(8 * level).unwrap_or(0);
            if hashes == 0 {
                break;
            }
            edge.push(self.read(
                level,
                hashes / TILE as u64,
                usize::try_from(hashes % TILE as u64).unwrap_or(0),
            )?);
        }
        Ok(Tree::from_edge(size, edge))
    }

    /// The first hashes of a tile, which may since have become complete.
    fn read(&self, level: u32, index: u64, count: usize) -> io::Result<Vec<Hash>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let complete = self.path(level, index);
        let partial = self.partial_folder(level, index).join(count.to_string());
        let bytes = match read_own(&partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => read_own(&complete)?,
            read => read?,
        };
        let (hashes, _) = bytes.as_chunks::<32>();
        let hashes = hashes.get(..count).ok_or_else(too_short)?;
        Ok(hashes.iter().copied().map(Hash).collect())
    }
}

/// Makes a folder of a log, and those above it. Whoever may enter the trail's directory may read it.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => match folder.parent() {
            Some(above) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(above)?;
                make_folder(folder)
            }
            _ => Err(error),
        },
    }
}

/// Adds the folders from a file up to its level.
fn remember(folders: &mut Vec<PathBuf>, file: &Path) {
    // Four folders are more than any tile below 10^12 leaves has between it and its level.
    for folder in file.ancestors().skip(1).take(5) {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
}

/// A tree with its tiles: what proofs are made from.
#[derive(Debug)]
pub(in crate::audit) struct Tiles<'a> {
    folder: &'a TileFolder,
    tree: &'a Tree,
}

impl<'a> Tiles<'a> {
    pub(in crate::audit) fn new(folder: &'a TileFolder, tree: &'a Tree) -> Self {
        Self { folder, tree }
    }

    /// The tree as it was at a size.
    pub(in crate::audit) fn tree_at(&self, size: u64) -> io::Result<Tree> {
        let mut edge = Vec::new();
        for level in 0_u32.. {
            let hashes = size.checked_shr(8 * level).unwrap_or(0);
            if hashes == 0 {
                break;
            }
            let count = usize::try_from(hashes % TILE as u64).unwrap_or(0);
            let tile = if count > 0 { self.tile(level, hashes / TILE as u64)? } else { Vec::new() };
            edge.push(tile.get(..count).ok_or_else(too_short)?.to_vec());
        }
        Ok(Tree::from_edge(size, edge))
    }

    /// The proof that the tree of `old` leaves is the beginning of this one.
    pub(in crate::audit) fn proof_from(&self, old: u64) -> io::Result<Vec<Hash>> {
        consistency_proof(self, old, self.tree.size())
    }
}

impl TileSource for Tiles<'_> {
    fn tile(&self, level: u32, index: u64) -> io::Result<Vec<Hash>> {
        if index == complete_tiles(self.tree.size(), level) {
            return Ok(self.tree.edge(level).to_vec());
        }
        self.folder.read(level, index, TILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tlog::merkle::leaf_of;

    #[test]
    fn tiles_have_the_paths_of_the_specification() {
        let folder = TileFolder(PathBuf::from("tile"));
        for (level, index, path) in [
            (0, 0, "tile/0/000"),
            (1, 999, "tile/1/999"),
            (0, 1000, "tile/0/x001/000"),
            (2, 1_234_067, "tile/2/x001/x234/067"),
        ] {
            assert_eq!(folder.path(level, index), Path::new(path));
        }
        let partial = Tile { level: 0, index: 273, hashes: vec![Hash::ZERO; 112] };
        assert_eq!(folder.path_of(&partial), Path::new("tile/0/273.p/112"));
    }

    #[test]
    fn a_tree_is_read_back_at_every_published_size() {
        let home = tempfile::tempdir().unwrap();
        let folder = TileFolder::of(home.path());
        let mut tree = Tree::default();
        let (mut published, mut trees) = (0, Vec::new());
        for n in 0..70_000_u64 {
            tree.push_into(leaf_of(&Hash::of(&n.to_be_bytes())), &mut |tile| {
                folder.write(&tile).unwrap();
            });
            if [1, 200, 255, 256, 257, 65_500, 65_536, 65_537, 70_000].contains(&(n + 1)) {
                folder.sync(published, &tree).unwrap();
                published = n + 1;
                trees.push(tree.clone());
            }
        }
        for tree in &trees {
            assert_eq!(folder.load(tree.size()).unwrap().root(), tree.root(), "{}", tree.size());
            let last = Tiles::new(&folder, trees.last().unwrap());
            assert_eq!(last.tree_at(tree.size()).unwrap().root(), tree.root(), "{}", tree.size());
        }
        assert!(home.path().join("tile/0/273.p/112").exists(), "as in the specification");
        assert!(home.path().join("tile/1/001.p/17").exists());
        assert!(home.path().join("tile/2/000.p/1").exists());
        assert!(
            !home.path().join("tile/0/000.p").exists(),
            "complete, so its forms before are gone"
        );
        fs::remove_file(home.path().join("tile/0/255")).unwrap();
        let last = trees.last().unwrap();
        let proof = Tiles::new(&folder, last).proof_from(65_500);
        assert_eq!(proof.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
