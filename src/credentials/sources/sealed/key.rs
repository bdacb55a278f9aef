//! The key of a sealed store: an age X25519 identity in a file of its own, mode 0600.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use age::x25519::{Identity, Recipient};
use jiff::Timestamp;
use rustix::{fs::FlockOperation, io::Errno};
use zeroize::Zeroizing;

use super::error::StoreError;
use crate::{process::files, secret};

/// A key file is a few lines; age's own are under 200 bytes.
const MAX_BYTES: usize = 64 * 1024;

/// The open key file with the identity in it.
pub(in crate::credentials::sources) struct StoreKey {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl StoreKey {
    /// Writes a new key. Never overwrites a file, which may hold the only key of a store.
    pub(in crate::credentials::sources) fn create(path: &Path) -> Result<Self, StoreError> {
        let identity = Identity::generate();
        let mut text = Zeroizing::new(Vec::with_capacity(512));
        let created =
            Timestamp::now().round(jiff::Unit::Second).unwrap_or_else(|_| Timestamp::now());
        let write = |text: &mut Vec<u8>| {
            writeln!(text, "# created: {created}")?;
            writeln!(text, "# public key: {}", identity.to_public())?;
            secret::expose_to(&identity.to_string(), |line| writeln!(text, "{line}"))
        };
        let failed = |source| StoreError::Write { path: path.to_owned(), source };
        write(&mut text).map_err(failed)?;
        let opened =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists { path: path.to_owned() });
            }
            Err(error) => return Err(failed(error)),
        };
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), identity })
    }

    /// Reads a key. Refuses a file that others can read.
    pub(in crate::credentials::sources) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::KeyUnreadable { path: path.to_owned(), source };
        files::keep_writers_out(path)?;
        let file = files::open_named(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::KeyExposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        (&file).take(limit).read_to_end(&mut text).map_err(failed)?;
        let identity = std::str::from_utf8(&text)
            .ok()
            .and_then(parse)
            .ok_or_else(|| StoreError::NoKey { path: path.to_owned() })?;
        Ok(Self { file, path: path.to_owned(), identity })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn recipient(&self) -> Recipient {
        self.identity.to_public()
    }

    /// Locks out other writers of the store until this key is dropped. The lock is on the key file,
    /// because every write replaces the store's file.
    pub(super) fn lock(&self) -> Result<(), StoreError> {
        loop {
            match rustix::fs::flock(&self.file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let path = self.path.clone();
                    return Err(StoreError::KeyUnreadable { path, source: errno.into() });
                }
            }
        }
    }
}

/// The identity of a key file: comments, and one line with the key.
fn parse(text: &str) -> Option<Identity> {
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identity = lines.next()?.parse().ok()?;
    lines.next().is_none().then_some(identity)
}
