//! Why a sealed store cannot be used.

use std::{io, path::PathBuf};

use super::document::Misfit;
use crate::process::files::WritableByOthers;

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
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The key file cannot be read.
    #[error("cannot read the key file {path}", path = path.display())]
    KeyUnreadable {
        /// The key file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Others can read the key file.
    #[error("the key file {path} may be read by others than its owner (mode {mode:04o})", path = path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Others can write the store or its key.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
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
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is too large to be a store.
    #[error("{path} is, or would be, larger than 16 MiB, which no store is", path = path.display())]
    TooLarge {
        /// The store.
        path: PathBuf,
    },
    /// The store has another key.
    #[error("the key in {key_file} does not open {path}", key_file = key_file.display(), path = path.display())]
    WrongKey {
        /// The store.
        path: PathBuf,
        /// The key file.
        key_file: PathBuf,
    },
    /// The store is cut short, changed, or not an age file.
    #[error("{path} is damaged, or was never a sealed store", path = path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
    },
    /// The content is not a store's document.
    #[error("{path} opens, but holds something else", path = path.display())]
    Misfit {
        /// The store.
        path: PathBuf,
        /// The place of the mistake.
        #[source]
        source: Misfit,
    },
}

impl StoreError {
    /// The remedy, as a command or a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::KeyExposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Writable(error) => Some(error.hint()),
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
