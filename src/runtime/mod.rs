//! What the process as a whole needs.

pub mod hardening;
pub mod panics;
