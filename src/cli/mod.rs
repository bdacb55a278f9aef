//! The subcommands, one file each.

pub mod check;
pub mod config;
mod config_files;
mod failure;

pub use config_files::ConfigFiles;
pub use failure::Failure;
