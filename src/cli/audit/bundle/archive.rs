//! The tar archive of a bundle: written byte for byte the same for the same content, and read one expected file
//! at a time.
//!
//! A reader that expects each file by its name has no use for names with `..`, links, long names and whatever
//! else a tar archive can hold. So it refuses them all in one place ([`Members::next`]), and unpacks nothing.

use std::io::{self, BufRead as _, BufReader, Read, Write};

use tar::{Archive, Entries, Entry, EntryType, Header};

use super::{MANIFEST, manifest::BundledFile, tally::Tally};

/// Writes the files of a bundle.
pub(super) struct BundleWriter<W: Write> {
    to: zstd::Encoder<'static, W>,
    /// How much of the current file is missing, and then of its last block.
    missing: u64,
    padding: usize,
}

impl<W: Write> BundleWriter<W> {
    pub(super) fn new(to: W) -> io::Result<Self> {
        let mut to = zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        to.include_checksum(true)?;
        Ok(Self { to, missing: 0, padding: 0 })
    }

    /// Writes a whole file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.begin(name, content.len() as u64)?;
        self.write_all(content)?;
        self.end()
    }

    /// Begins a file, whose content follows.
    pub(super) fn begin(&mut self, name: &str, bytes: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        self.to.write_all(header.as_bytes())?;
        self.missing = bytes;
        self.padding = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes).unwrap_or(0);
        Ok(())
    }

    /// Ends a file.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.to.write_all(ZEROS.get(..self.padding).unwrap_or_default())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&ZEROS)?;
        self.to.write_all(&ZEROS)?;
        self.to.finish()
    }
}

/// The content of the file that was begun. More than was announced is an error.
impl<W: Write> Write for BundleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.missing {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let written = self.to.write(bytes)?;
        self.missing -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Why a file is no bundle.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedBundle {
    /// It ends early, or its compression or a header is damaged.
    #[error("is damaged or cut off: {0}")]
    Damaged(#[from] io::Error),
    /// Another file, or something that is no file, stands where this one belongs.
    #[error("has something else where `{0}` belongs")]
    Misplaced(&'static str),
    /// A file ends early.
    #[error("is cut off in `{0}`")]
    Short(&'static str),
    /// A file is longer than such a file can be.
    #[error("has a `{0}` that is too long")]
    TooLong(&'static str),
    /// A line is longer than a trail has any, or has no end.
    #[error("has a line in `{0}` that is too long or has no end")]
    Line(&'static str),
    /// The manifest cannot be used.
    #[error("has a manifest that this program cannot use")]
    Manifest,
    /// Something follows the last file.
    #[error("has something behind its last file")]
    Trailing,
}

/// A bundle that is being read.
pub(super) struct BundleReader<R: Read>(Archive<zstd::Decoder<'static, BufReader<R>>>);

impl<R: Read> BundleReader<R> {
    pub(super) fn new(from: R) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::new(from)?.single_frame();
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Self(Archive::new(decoder)))
    }

    pub(super) fn members(&mut self) -> io::Result<Members<'_, R>> {
        Ok(Members(self.0.entries()?.raw(true)))
    }

    /// Checks that the archive ends after the last member, and the file after the archive.
    pub(super) fn end(self) -> Result<(), MalformedBundle> {
        let mut decoder = self.0.into_inner();
        // Of the two blocks of zeros at the end, one was read.
        let mut rest = Vec::new();
        decoder.by_ref().take(BLOCK + 1).read_to_end(&mut rest)?;
        let mut behind = decoder.finish();
        if rest != ZEROS || !behind.fill_buf()?.is_empty() {
            return Err(MalformedBundle::Trailing);
        }
        Ok(())
    }
}

/// The files of a bundle, one after the other.
pub(super) struct Members<'a, R: Read>(Entries<'a, zstd::Decoder<'static, BufReader<R>>>);

impl<'a, R: Read> Members<'a, R> {
    /// The next file, which must be this one.
    fn next(
        &mut self,
        name: &'static str,
    ) -> Result<Entry<'a, zstd::Decoder<'static, BufReader<R>>>, MalformedBundle> {
        let Some(entry) = self.0.next() else { return Err(MalformedBundle::Misplaced(name)) };
        let entry = entry?;
        let is_expected = entry.header().entry_type() == EntryType::Regular
            && *entry.path_bytes() == *name.as_bytes();
        if is_expected { Ok(entry) } else { Err(MalformedBundle::Misplaced(name)) }
    }

    /// Reads the next file, which must be this one, into memory.
    pub(super) fn content(&mut self, name: &'static str) -> Result<Vec<u8>, MalformedBundle> {
        let mut entry = self.next(name)?;
        let size = entry.header().entry_size()?;
        if size > if name == MANIFEST { MOST_MANIFEST } else { MOST_BYTES } {
            return Err(MalformedBundle::TooLong(name));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if content.len() as u64 == size { Ok(content) } else { Err(MalformedBundle::Short(name)) }
    }

    /// Visits each line of the next file, which must be this one, and says whether it is the stated file. Visits
    /// none if the size is another, and ends early when `visit` wants no more.
    pub(super) fn lines(
        &mut self,
        name: &'static str,
        stated: &BundledFile,
        mut visit: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, MalformedBundle> {
        let entry = self.next(name)?;
        let size = entry.header().entry_size()?;
        if size != stated.bytes {
            return Ok(false);
        }
        let mut tally = Tally::default();
        let mut reader = BufReader::with_capacity(BUFFER, entry);
        let mut line = Vec::new();
        while tally.bytes < size {
            line.clear();
            reader.by_ref().take(MOST_LINE).read_until(b'\n', &mut line)?;
            let Some(whole) = line.strip_suffix(b"\n") else {
                let is_short = tally.bytes + (line.len() as u64) < size;
                let is_long = line.len() as u64 == MOST_LINE || !is_short;
                return Err(if is_long {
                    MalformedBundle::Line(name)
                } else {
                    MalformedBundle::Short(name)
                });
            };
            tally.add(whole);
            if !visit(whole) {
                break;
            }
        }
        Ok(tally.as_file(name) == *stated)
    }

    /// There must be no further file.
    pub(super) fn end(mut self) -> Result<(), MalformedBundle> {
        match self.0.next() {
            None => Ok(()),
            Some(_) => Err(MalformedBundle::Trailing),
        }
    }
}

/// The blocks of a tar archive.
const BLOCK: u64 = 512;
const ZEROS: [u8; 512] = [0; 512];
/// The most that a manifest may have. Of its thousand problems and doubts, each takes half a kilobyte.
const MOST_MANIFEST: u64 = 2 << 20;
/// The most that a file other than the lines may have: the page of 1000 records of 2 KiB, and more.
const MOST_BYTES: u64 = 16 << 20;
/// The most that a line may have, with its newline.
const MOST_LINE: u64 = 1 << 20;
/// The writer's compression looks back 2 MiB.
const WINDOW_LOG: u32 = 23;
const BUFFER: usize = 1 << 16;
