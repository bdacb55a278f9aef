//! What the process as a whole needs.

mod allocator;
pub mod hardening;
pub mod panics;
