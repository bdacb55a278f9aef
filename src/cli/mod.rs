//! The commands, one file each.

pub mod credentials;
pub mod mock_upstream;
