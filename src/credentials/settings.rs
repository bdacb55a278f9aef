//! What a configuration says about one credential set, checked: if it exists, a manager can start.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    ValueName,
    vault::{IncompleteVault, VaultSettings},
};
use crate::{
    domain::CredentialsName,
    secret::{SecretText, SecretTextError},
};

/// One `[credentials.…]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The table's name. A sealed store is asked for the set of this name.
    pub name: CredentialsName,
    /// Where the values come from.
    pub source: SourceSettings,
    /// Identifiers that stand in the configuration itself.
    pub fixed: Identifiers,
    /// When the source is read again, and how long an old answer is good.
    pub refresh: RefreshSettings,
}

/// Where values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// A folder with one file a value.
    Directory {
        /// The folder. A leading `$CREDENTIALS_DIRECTORY` stands for what systemd set it to.
        path: PathBuf,
    },
    /// Variables of this process.
    Environment {
        /// What stands before the upper-case name of a value: `PIGELLO_` for
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
    /// Checks that the variables say what the configuration leaves to them.
    pub fn check(&self) -> Result<(), IncompleteVault> {
        match self {
            Self::Vault(vault) => vault.check(),
            Self::Directory { .. } | Self::Environment { .. } | Self::Sealed { .. } => Ok(()),
        }
    }

    /// The name of the kind of source, as the configuration writes it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::Environment { .. } => "environment",
            Self::Sealed { .. } => "sealed",
            Self::Vault(_) => "vault",
        }
    }
}

/// The identifiers that stand in the configuration. They are not secret, and still confidential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identifiers([Option<Box<str>>; 7]);

impl Identifiers {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an identifier, over one that was there. The secret is refused.
    pub fn insert(&mut self, name: ValueName, text: &str) -> Result<(), IdentifierError> {
        if name.is_secret() {
            return Err(IdentifierError::Secret);
        }
        let value = SecretText::parse(text.as_bytes()).map_err(IdentifierError::Text)?;
        if let Some(place) = self.0.get_mut(name as usize) {
            // Parsed and written out again, so that a line end at its end is gone here too.
            *place = Some(value.expose_to(|text| text.into()));
        }
        Ok(())
    }

    /// The names of those that are there.
    pub fn names(&self) -> impl Iterator<Item = ValueName> {
        ValueName::ALL.into_iter().filter(|name| self.get(*name).is_some())
    }

    /// The identifier of that name.
    pub fn get(&self, name: ValueName) -> Option<&str> {
        self.0.get(name as usize).and_then(Option::as_deref)
    }
}

impl fmt::Debug for Identifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names().map(ValueName::key)).finish()
    }
}

/// Why a text cannot stand in the configuration as an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// It is the secret.
    #[error(
        "is a secret and never stands in a configuration file; put it in the source of these \
         credentials"
    )]
    Secret,
    /// It cannot be a header's value.
    #[error("{0}")]
    Text(SecretTextError),
}

/// When a source is read again, and how long what it said is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshSettings {
    /// The time between two reads, ten per cent more or less, so that replicas do not march in
    /// step. It is the only way to see a change in a vault; for files it backs up the watch.
    pub interval: Duration,
    /// How long one read may take.
    pub read_timeout: Duration,
    /// How long files must have been left alone before they are read.
    pub quiet: Duration,
    /// The longest pause between attempts while a read keeps failing. Pauses double up to it, and
    /// each is shortened by a random part.
    pub retry_cap: Duration,
    /// How long a set stays in use while its source cannot be read. Without it, for ever: a
    /// vault's outage is no reason to stop, for the values themselves do not expire.
    pub max_stale: Option<Duration>,
    /// How long a set stays in use after it was deleted at its source, or reading it was
    /// forbidden.
    pub withdrawal_grace: Duration,
    /// How long calls are still sent up while Pigello answers them with 401.
    pub rejection_limit: Duration,
    /// How long the version before is kept, once the one after it has worked.
    pub overlap: Duration,
    /// How long a call that got a 401 waits for the source to have a newer version.
    pub hold: Duration,
    /// How many calls may wait so at once.
    pub holders: usize,
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
        }
    }
}

impl RefreshSettings {
    /// A secret that changed in a vault is in use within little more than a minute, and a replica
    /// costs its vault one read a minute.
    pub const INTERVAL: Duration = Duration::from_mins(1);
    /// A vault that fails over answers within a few seconds, or is as good as away.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
    /// Writers that replace seven files one by one leave milliseconds between them.
    pub const QUIET: Duration = Duration::from_millis(100);
    /// After an outage the set is back within half a minute.
    pub const RETRY_CAP: Duration = Duration::from_secs(30);
    /// Time to take back a deletion that was a mistake.
    pub const WITHDRAWAL_GRACE: Duration = Duration::from_mins(1);
    /// Beyond it the set is wrong rather than late, and hammering Pigello with it helps nobody.
    pub const REJECTION_LIMIT: Duration = Duration::from_mins(5);
    /// Longer than any roll-out between a vault and Pigello should take.
    pub const OVERLAP: Duration = Duration::from_mins(10);
    /// Covers an operator's script that changes Pigello first and the vault next.
    pub const HOLD: Duration = Duration::from_millis(1_500);
    /// Enough for a burst, and each costs no more than an open connection.
    pub const HOLDERS: usize = 256;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_refused_and_identifiers_are_checked() {
        let mut fixed = Identifiers::new();
        assert_eq!(fixed.insert(ValueName::ClientSecret, "made-up"), Err(IdentifierError::Secret));
        assert_eq!(
            fixed.insert(ValueName::CustomerId, ""),
            Err(IdentifierError::Text(SecretTextError::Empty))
        );
        fixed.insert(ValueName::CustomerId, "made-up\n").unwrap();
        assert_eq!(fixed.get(ValueName::CustomerId), Some("made-up"));
        assert_eq!(fixed.get(ValueName::ClientSecret), None);
    }
}
