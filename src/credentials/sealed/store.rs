//! The sealed store as a file: an age file that one key opens.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    iter,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient};
use zeroize::Zeroizing;

use super::{
    document::{Document, Misfit},
    key::Key,
    replace::replace,
};
use crate::secret::SecretBuffer;

/// A store holds a few sets of a few hundred bytes; more is some other file.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A sealed store and the key to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    file: PathBuf,
    key_file: PathBuf,
}

impl Store {
    /// Names a store; nothing is read.
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

    /// Makes an empty store and, if there is none yet, its key. Overwrites nothing.
    pub fn create(&self) -> Result<Created, StoreError> {
        if self.file.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: self.file.clone() });
        }
        let (key, created) = match Key::create(&self.key_file) {
            Ok(key) => (key, Created::StoreAndKey),
            // A key that systemd or an operator put there, or one that opens another store.
            Err(StoreError::Exists { .. }) => (Key::open(&self.key_file)?, Created::Store),
            Err(error) => return Err(error),
        };
        let failed = |source| StoreError::Write { path: self.file.clone(), source };
        let sealed = seal(&key, &Document::empty()).map_err(failed)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        match opened {
            Ok(mut file) => {
                file.write_all(&sealed).and_then(|()| file.sync_all()).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StoreError::Exists { path: self.file.clone() });
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(created)
    }

    /// Opens the store.
    pub fn read(&self) -> Result<Document, StoreError> {
        self.read_with(&Key::open(&self.key_file)?)
    }

    /// Changes the store in one step, with other writers kept out. If `change` fails, or writing
    /// does, the store is as it was.
    pub fn update<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Document) -> Result<T, E>,
    ) -> Result<T, E> {
        let key = Key::open(&self.key_file)?;
        key.lock()?;
        let mut document = self.read_with(&key)?;
        let answer = change(&mut document)?;
        let failed = |source| StoreError::Write { path: self.file.clone(), source };
        let sealed = seal(&key, &document).map_err(failed)?;
        replace(&self.file, &sealed).map_err(failed)?;
        Ok(answer)
    }

    fn read_with(&self, key: &Key) -> Result<Document, StoreError> {
        let failed = |source| StoreError::Read { path: self.file.clone(), source };
        let file = File::open(&self.file).map_err(failed)?;
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        let mut sealed = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut sealed).map_err(failed)?;
        if sealed.len() > MAX_BYTES {
            return Err(StoreError::TooLarge { path: self.file.clone() });
        }
        let text = unseal(key, &sealed).map_err(|error| match error {
            DecryptError::NoMatchingKeys => {
                StoreError::WrongKey { path: self.file.clone(), key_file: self.key_file.clone() }
            }
            _ => StoreError::Damaged { path: self.file.clone() },
        })?;
        Document::from_bytes(&text)
            .map_err(|source| StoreError::Misfit { path: self.file.clone(), source })
    }
}

/// What [`Store::create`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Both files.
    StoreAndKey,
    /// The store; the key was there.
    Store,
}

fn seal(key: &Key, document: &Document) -> io::Result<Vec<u8>> {
    let text = document.to_bytes()?;
    let recipient = key.recipient();
    let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn Recipient))
        .map_err(io::Error::other)?;
    let mut sealed = Vec::with_capacity(text.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(&text)?;
    writer.finish()?;
    Ok(sealed)
}

fn unseal(key: &Key, sealed: &[u8]) -> Result<SecretBuffer, DecryptError> {
    let decryptor = Decryptor::new_buffered(sealed)?;
    let mut reader = decryptor.decrypt(iter::once(key.identity() as &dyn Identity))?;
    // The text is never longer than what sealed it, so the buffer is never grown.
    let mut text = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut text)?;
    Ok(text)
}

/// Why a sealed store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file would be overwritten.
    #[error("{path} exists already", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file cannot be read.
    #[error("cannot read the key file {path}", path = path.display())]
    KeyUnreadable {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file is open to others.
    #[error("the key file {path} may be read by others than its owner (mode {mode:04o})", path = path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The key file holds no key.
    #[error("{path} is no key file: it should hold one line AGE-SECRET-KEY-1…", path = path.display())]
    NoKey {
        /// The key file.
        path: PathBuf,
    },
    /// The store cannot be read.
    #[error("cannot read the store {path}", path = path.display())]
    Read {
        /// The store.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The store is far too big to be one.
    #[error("{path} is larger than 16 MiB, which no store is", path = path.display())]
    TooLarge {
        /// The store.
        path: PathBuf,
    },
    /// The store was sealed for another key.
    #[error("the key in {key_file} does not open {path}", key_file = key_file.display(), path = path.display())]
    WrongKey {
        /// The store.
        path: PathBuf,
        /// The key file.
        key_file: PathBuf,
    },
    /// The store is cut short, changed, or no age file at all.
    #[error("{path} is damaged, or was never a sealed store", path = path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
    },
    /// What is inside is something else.
    #[error("{path} opens, but holds something else", path = path.display())]
    Misfit {
        /// The store.
        path: PathBuf,
        /// Where.
        #[source]
        source: Misfit,
    },
}

impl StoreError {
    /// What to do about it, as a command or a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::KeyExposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::KeyUnreadable { source, .. } | Self::Read { source, .. }
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Some("`pigello-gateway credentials init` makes a store and its key".to_owned())
            }
            Self::WrongKey { .. } | Self::Damaged { .. } | Self::Misfit { .. } => Some(
                "bring both files back from the same backup, or make a new store with \
                 `pigello-gateway credentials init` under another name"
                    .to_owned(),
            ),
            Self::Exists { .. }
            | Self::Write { .. }
            | Self::KeyUnreadable { .. }
            | Self::NoKey { .. }
            | Self::Read { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}
