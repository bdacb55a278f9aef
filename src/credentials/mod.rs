//! The seven values: their sources, and the version of them that a request uses.
//!
//! A [`CredentialManager`] holds one credential set. It reads the set's source in the background, and
//! gives each request a snapshot, without waiting and without touching the source. A set is whole or
//! absent, so no request is sent with six of the seven headers.
//!
//! From the bottom up; a module imports only from those above it in this list:
//!
//! - [`set`]: the seven values, and how they are put together
//! - [`settings`]: the configuration of a set, checked
//! - [`sources`]: a folder, variables, a sealed store, a vault, and the enum over them
//! - [`rotation`]: the life cycle of a set, without I/O or clock
//! - [`manager`]: background reads, snapshots for requests, and what a 401 leads to

mod set;
mod settings;
mod sources;
mod rotation;
mod manager;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::{outbound::ClientCertificate, secret::SecretMatch};
pub use manager::{
    ChangeCause, CredentialManager, CredentialVerdict, Next, NotRefreshed, OlderVersion, SetHealth,
    SetStatus, Unavailable, VersionChange,
};
pub use rotation::{Lease, RefreshOutcome, SetState};
pub use set::{
    CredentialSet, IdentifierError, Identifiers, IncompleteSet, PartialSet, SetVersion, ValueName,
    ValueProblem, ValueProblems, ValueTrouble,
};
pub use settings::{
    Adoption, IncompleteVault, Keep, KvVersion, NotATemplate, RefreshSettings, Settings,
    SourceSettings, TokenSource, UnusedVariable, VaultAuth, VaultServer, VaultSettings,
    unused_vault_variables, vault_address,
};
pub use sources::{
    DirectoryError, EnvironmentError, KeptError, KeyPlace, KeyReadError, KeySettings, LoadError,
    SourceHold, Sources, VaultError, check_files, expanded, keep_key, load, look_up_wrapping,
    members, read_key, read_key_file, rotate_key, sealed,
};
