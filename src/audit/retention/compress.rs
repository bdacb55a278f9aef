//! Compresses a file of the trail that has ended.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    path::Path,
};

use crate::{
    audit::{directory::TrailSegment, readers::Readers},
    process::files::{NewFile, open_own},
};

/// Puts a compressed file in the place of the original, which is removed only after the copy has been read
/// back and compared. Gives up, and leaves nothing behind, when `is_stopped` says so.
pub(super) fn compress(
    segment: &TrailSegment,
    readers: Readers,
    is_stopped: impl Fn() -> bool,
) -> io::Result<()> {
    let mut original = open_own(&segment.path)?;
    let new = NewFile::create(&segment.compressed().path)?;
    readers.admit(&new.file)?;
    let mut encoder = zstd::Encoder::new(&new.file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut chunk = Vec::new();
    while fill(&mut original, &mut chunk)? > 0 {
        encoder.write_all(&chunk)?;
        if is_stopped() {
            return Ok(());
        }
    }
    encoder.finish()?;
    let copy = zstd::Decoder::new(File::open(new.unfinished())?)?;
    if !same_content(open_own(&segment.path)?, copy)? {
        return Err(io::Error::other("a compressed file differs from its original"));
    }
    new.finish()?;
    fs::remove_file(&segment.path)
}

/// Removes what a compression left that was killed.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in directory.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let is_unfinished = name.to_string_lossy().ends_with(".jsonl.zst.new");
        if is_unfinished {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn same_content(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (n, m) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if left.get(..n) != right.get(..m) {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.clear();
    Read::take(from, CHUNK as u64).read_to_end(buffer)
}

const CHUNK: usize = 1 << 20;
