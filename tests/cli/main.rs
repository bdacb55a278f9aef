//! What people meet on the command line: configurations, good and bad, and what is said of them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod config;
mod config_commands;
mod config_layers;
mod config_mutations;
mod docs;
mod explain;
mod leak;
mod memory;
mod program;
mod sources;
