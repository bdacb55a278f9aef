//! The process as a whole: allocator, memory protection, open files, panics, file modes,
//! files that are read again, files of tokens, users.

mod allocator;
pub mod files;
pub mod hardening;
pub mod open_files;
pub mod panics;
pub mod reread;
pub mod token_file;
pub mod users;
