//! The process as a whole: allocator, memory protection, panics, files, users.

mod allocator;
pub mod files;
pub mod hardening;
pub mod panics;
pub mod users;
