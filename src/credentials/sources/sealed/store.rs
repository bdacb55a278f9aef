//! The sealed store as a file: an age file that one key opens.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient};
use zeroize::Zeroizing;

use super::{document::Document, error::StoreError, key::StoreKey};
use crate::{process::files, secret::SecretBuffer};

/// A store holds up to some thousand sets of a kilobyte or two; a larger file is not a store.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A sealed store and the key to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedStore {
    file: PathBuf,
    key_file: PathBuf,
}

impl SealedStore {
    /// A store with these files. Reads nothing.
    pub fn new(file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), key_file: key_file.into() }
    }

    /// The encrypted file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file of its key.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// Creates an empty store and, unless it exists, its key. Overwrites nothing.
    pub fn create(&self) -> Result<Created, StoreError> {
        if self.file.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: self.file.clone() });
        }
        let (key, created) = match StoreKey::create(&self.key_file) {
            Ok(key) => (key, Created::StoreAndKey),
            // systemd or an operator put the key there, or it is the key of another store.
            Err(StoreError::Exists { .. }) => (StoreKey::open(&self.key_file)?, Created::Store),
            Err(error) => return Err(error),
        };
        let written = self.write_first(&key);
        if written.is_err() && created == Created::StoreAndKey {
            // A key to nothing. The error to report is the one that led here.
            drop(fs::remove_file(&self.key_file));
        }
        written.map(|()| created)
    }

    /// Writes the empty store, which is not there yet.
    fn write_first(&self, key: &StoreKey) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.file.clone(), source };
        let text = Document::empty().to_bytes().map_err(|error| failed(error.into()))?;
        let sealed = seal(key, &text).map_err(failed)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let mut file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists { path: self.file.clone() },
            _ => failed(error),
        })?;
        let written = file.write_all(&sealed).and_then(|()| file.sync_all());
        if written.is_err() {
            drop(fs::remove_file(&self.file));
        }
        written.map_err(failed)
    }

    /// Opens the store.
    pub fn read(&self) -> Result<Document, StoreError> {
        self.read_with(&StoreKey::open(&self.key_file)?)
    }

    /// Changes the store in one step, and locks out other writers. If `change` or the write fails, the
    /// store is unchanged.
    pub fn update<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<T, E>,
    ) -> Result<T, E> {
        let key = StoreKey::open(&self.key_file)?;
        key.lock()?;
        let mut document = self.read_with(&key)?;
        let answer = change(&mut document)?;
        let failed = |source| StoreError::Write { path: self.file.clone(), source };
        let text = document.to_bytes().map_err(|error| failed(error.into()))?;
        let sealed = seal(&key, &text).map_err(failed)?;
        if sealed.len() > MAX_BYTES {
            // It could not be read again.
            return Err(StoreError::TooLarge { path: self.file.clone() }.into());
        }
        // Of a link, the target is replaced.
        let target = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        files::replace(&target, &sealed).map_err(failed)?;
        Ok(answer)
    }

    fn read_with(&self, key: &StoreKey) -> Result<Document, StoreError> {
        let text = unseal_file(key, &self.file, &self.key_file)?;
        Document::from_bytes(&text)
            .map_err(|source| StoreError::Misfit { path: self.file.clone(), source })
    }
}

/// The files that [`SealedStore::create`] created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The store and the key.
    StoreAndKey,
    /// The store only; the key existed.
    Store,
}

/// Encrypts a text for the key.
pub(in crate::credentials::sources) fn seal(key: &StoreKey, text: &[u8]) -> io::Result<Vec<u8>> {
    let recipient = key.recipient();
    let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn Recipient))
        .map_err(io::Error::other)?;
    let mut sealed = Vec::with_capacity(text.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(text)?;
    writer.finish()?;
    Ok(sealed)
}

/// Decrypts a file. `key_file` is for messages.
pub(in crate::credentials::sources) fn unseal_file(
    key: &StoreKey,
    path: &Path,
    key_file: &Path,
) -> Result<SecretBuffer, StoreError> {
    files::keep_writers_out(path)?;
    let failed = |source| StoreError::Read { path: path.to_owned(), source };
    let file = files::open_named(path).map_err(failed)?;
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let mut sealed = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut sealed).map_err(failed)?;
    if sealed.len() > MAX_BYTES {
        return Err(StoreError::TooLarge { path: path.to_owned() });
    }
    unseal(key, &sealed).map_err(|error| match error {
        DecryptError::NoMatchingKeys => {
            StoreError::WrongKey { path: path.to_owned(), key_file: key_file.to_owned() }
        }
        _ => StoreError::Damaged { path: path.to_owned() },
    })
}

fn unseal(key: &StoreKey, sealed: &[u8]) -> Result<SecretBuffer, DecryptError> {
    let decryptor = Decryptor::new_buffered(sealed)?;
    let mut reader = decryptor.decrypt(iter::once(key.identity() as &dyn Identity))?;
    // The text is shorter than the sealed file, so the buffer never grows.
    let mut text = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut text)?;
    Ok(text)
}
