//! The checked configuration of one credential set. A manager can start with any value of it.

mod member;
mod variables;
mod vault;

use std::{path::PathBuf, time::Duration};

pub use self::member::NotATemplate;
pub use self::variables::{UnusedVariable, unused_vault_variables, vault_address};
pub use self::vault::{
    IncompleteVault, KvVersion, TokenSource, VaultAuth, VaultServer, VaultSettings,
};
use super::set::Identifiers;
use crate::domain::CredentialsName;

/// One `[credentials.…]` table.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The table's name, which is also the set's name in a sealed store.
    pub name: CredentialsName,
    /// The source of the values.
    pub source: SourceSettings,
    /// The identifiers that the configuration itself gives.
    pub fixed: Identifiers,
    /// When the source is read, and how long a set stays in use.
    pub refresh: RefreshSettings,
    /// Where the last set is kept for a restart while the source is away; needs `max_stale`.
    pub keep: Option<Keep>,
}

/// A sealed copy of the last set that a source gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The copy, an age file.
    pub file: PathBuf,
    /// Its key, which is made if it is not there.
    pub key_file: PathBuf,
}

/// The source of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// A folder with one file for each value.
    Directory {
        /// The folder. A leading `$CREDENTIALS_DIRECTORY` stands for the folder that systemd names.
        path: PathBuf,
    },
    /// Variables of this process.
    Environment {
        /// The prefix before the upper-case name of a value: `PIGELLO_` for
        /// `PIGELLO_CLIENT_SECRET`.
        prefix: String,
    },
    /// An encrypted file.
    Sealed {
        /// The store.
        file: PathBuf,
        /// The key that opens it.
        key_file: PathBuf,
    },
    /// A key-value secret in HashiCorp Vault or OpenBao.
    Vault(Box<VaultSettings>),
}

impl SourceSettings {
    /// Checks that variables give all that the configuration leaves to them.
    pub fn check(&self) -> Result<(), IncompleteVault> {
        match self {
            Self::Vault(vault) => vault.server.check(),
            Self::Directory { .. } | Self::Environment { .. } | Self::Sealed { .. } => Ok(()),
        }
    }

    /// Names the source and where in it the set lies, without a secret.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Vault(vault) => vault.identity(),
            Self::Directory { path } | Self::Sealed { file: path, .. } => {
                format!("{} {}", self.kind(), path.display())
            }
            Self::Environment { prefix } => format!("{} {prefix}", self.kind()),
        }
    }

    /// The kind of source, as the configuration writes it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::Environment { .. } => "environment",
            Self::Sealed { .. } => "sealed",
            Self::Vault(_) => "vault",
        }
    }
}

/// When a source is read, and how long a set stays in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefreshSettings {
    /// The time between two reads, up to ten per cent longer or shorter, so that replicas do not read
    /// at the same time. Only a read shows a change in a vault; files are watched as well.
    pub interval: Duration,
    /// How long one read may take.
    pub read_timeout: Duration,
    /// How long files must be unchanged before they are read.
    pub quiet: Duration,
    /// The longest pause between two failing reads; see [`crate::outbound::Backoff`].
    pub retry_cap: Duration,
    /// How long a set stays in use while its source cannot be read. Without it, without limit: the
    /// values do not expire when a vault is away.
    pub max_stale: Option<Duration>,
    /// How long a set stays in use after it was deleted at its source, or reading it was forbidden.
    pub withdrawal_grace: Duration,
    /// How long calls are sent to Pigello while it answers them with 401.
    pub rejection_limit: Duration,
    /// How long the previous version is kept after Pigello accepted the current one.
    pub overlap: Duration,
    /// How long a call that got a 401 waits for a newer version.
    pub hold: Duration,
    /// How many calls may wait like that at once.
    pub holders: usize,
    /// When a new version is used.
    pub adoption: Adoption,
}

/// When a new version is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adoption {
    /// As soon as it is read.
    AtOnce,
    /// As soon as Pigello has accepted it from another gateway of the fleet.
    Proven {
        /// The part of the members that try it, 0 to 1; at least one does.
        canary: f64,
        /// How long this gateway waits for another one's word.
        patience: Duration,
    },
}

impl Default for RefreshSettings {
    fn default() -> Self {
        Self {
            interval: Self::INTERVAL,
            read_timeout: Self::READ_TIMEOUT,
            quiet: Self::QUIET,
            retry_cap: Self::RETRY_CAP,
            max_stale: None,
            withdrawal_grace: Self::WITHDRAWAL_GRACE,
            rejection_limit: Self::REJECTION_LIMIT,
            overlap: Self::OVERLAP,
            hold: Self::HOLD,
            holders: Self::HOLDERS,
            adoption: Adoption::AtOnce,
        }
    }
}

impl RefreshSettings {
    /// A new secret in a vault is in use within little more than a minute, at the cost of one read a
    /// minute for each replica.
    pub const INTERVAL: Duration = Duration::from_mins(1);
    /// A vault that fails over answers again within a few seconds.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
    /// Programs that replace seven files one by one leave milliseconds between them.
    pub const QUIET: Duration = Duration::from_millis(100);
    /// The set is read within half a minute after an outage.
    pub const RETRY_CAP: Duration = Duration::from_secs(30);
    /// Time to undo a deletion by mistake.
    pub const WITHDRAWAL_GRACE: Duration = Duration::from_mins(1);
    /// After it the set is wrong rather than early, and sending it again helps nobody.
    pub const REJECTION_LIMIT: Duration = Duration::from_mins(5);
    /// Longer than a roll-out between a vault and Pigello takes.
    pub const OVERLAP: Duration = Duration::from_mins(10);
    /// Covers a script that changes Pigello first and the vault next.
    pub const HOLD: Duration = Duration::from_millis(1_500);
    /// Enough for a burst; each waiting call costs no more than an open connection.
    pub const HOLDERS: usize = 256;
}
