//! The seven values: where they come from, and which version of them a request uses.

mod set;

pub use set::{CredentialSet, IncompleteSet, PartialSet, SetVersion, ValueName};
