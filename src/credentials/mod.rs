//! The seven values: where they come from, and which version of them a request uses.
//!
//! A [`CredentialManager`] holds one credential set. It reads its source in the background, again and again,
//! and a request takes a snapshot of what it holds, which never waits and never touches the
//! source. A set is whole or it is not there: a request with six headers cannot be made.

mod set;
mod settings;
mod set_builder;
mod json_value;
mod directory;
mod environment;
pub mod sealed;
mod vault;
mod source;
mod lease;
mod rotation;
mod watch;
mod write_tracker;
mod status;
mod manager;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use crate::{outbound::ClientCertificate, secret::Sighting};
pub use directory::DirectoryError;
pub use environment::EnvironmentError;
pub use lease::Lease;
pub use manager::{CredentialManager, Next, RefreshOutcome, Unavailable, Verdict};
pub use set::{CredentialSet, IncompleteSet, PartialSet, SetVersion, ValueName};
pub use set_builder::{ValueProblem, ValueProblems, ValueTrouble};
pub use settings::{IdentifierError, Identifiers, RefreshSettings, Settings, SourceSettings};
pub use source::{LoadError, load};
pub use status::{State, Status};
pub use vault::{IncompleteVault, KvVersion, TokenSource, VaultAuth, VaultError, VaultSettings};
