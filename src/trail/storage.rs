//! Where lines go: a file that is only ever appended to.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
};

use super::directory::{Directory, Segment};

/// What the writer needs of a disk. The tests have one that fails on demand.
pub(super) trait Storage: Send + fmt::Debug {
    /// Appends some of the bytes and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when everything appended is in stable storage.
    fn sync(&mut self) -> io::Result<()>;

    /// Checks that what is appended can still be found by those who read the trail.
    fn check(&mut self) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Files {
    /// Locked as long as this is written to.
    _directory: Directory,
    segment: Segment,
    file: File,
}

impl Files {
    pub(super) fn open(directory: Directory, segment: Segment) -> io::Result<Self> {
        let file = segment.append()?;
        Ok(Self { _directory: directory, segment, file })
    }
}

impl Storage for Files {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn check(&mut self) -> io::Result<()> {
        // A file that was removed or moved can still be written to, by us alone.
        let named = self.segment.path.metadata()?;
        let held = self.file.metadata()?;
        if (named.dev(), named.ino()) == (held.dev(), held.ino()) {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "the trail's file was replaced"))
        }
    }
}
