//! The process as a whole: allocator, memory protection, panics.

mod allocator;
pub mod hardening;
pub mod panics;
