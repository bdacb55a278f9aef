//! The process as a whole: allocator, memory protection, open files, panics, file modes, users.

mod allocator;
pub mod files;
pub mod hardening;
pub mod open_files;
pub mod panics;
pub mod users;
