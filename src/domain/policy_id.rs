//! The identifier of a configuration on the audit trail.

use std::fmt;

/// The first 16 hexadecimal digits of the hash of the configuration in force. Each record has it, and so has
/// the `configuration` marker of the moment it came into force.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyId(pub [u8; 8]);

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
